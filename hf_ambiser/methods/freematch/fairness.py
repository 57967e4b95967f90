"""The fairness of classes: the mean answer to copies against what the model mostly answers."""

from __future__ import annotations

import torch
from torch import Tensor


def shares_by_count(expectation: Tensor, histogram: Tensor) -> Tensor:
    """Return SumNorm(p / h) `(K,)`: mean probabilities p divided by how often a class is the answer, h; sums to 1.

    A class that is never the answer (h = 0) gets 0.
    """
    ratio = torch.where(histogram > 0, expectation / histogram.clamp(min=1e-12), torch.zeros_like(expectation))
    return ratio / ratio.sum().clamp(min=1e-12)


def fairness(expectation: Tensor, histogram: Tensor, answers: Tensor) -> Tensor:
    """Return `-H(SumNorm(p~ / h~), SumNorm(p^ / h^))` (Eq. 11), a scalar in nats; H is cross-entropy.

    Args:
        expectation: p~, `(K,)` moving average of the probabilities of the weak view.
        histogram: h~, `(K,)` moving average of the shares of its answers.
        answers: Probabilities of the strong view, `(n, K)`, n >= 1, of the confident utterances. Their mean is p^, the
            shares of their largest classes are h^, which has no gradient.
    """
    counts = torch.bincount(answers.argmax(dim=-1), minlength=answers.shape[-1]).to(answers.dtype)
    of_copies = shares_by_count(answers.mean(dim=0), counts / len(answers))
    return (shares_by_count(expectation, histogram) * (of_copies + 1e-12).log()).sum()
