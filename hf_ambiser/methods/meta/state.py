"""The label logits and weights of utterances: their initial values, their gradients, and a step of their optimiser.

All functions work on rows of tensors and know no trainer. The loss of one utterance is Eq. 6,
`J = -sum_c s_c log y_c / w` with `s = softmax(l)` (Eq. 7). No other utterance uses its l and w, so their gradient is
that of J alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_ambiser.training.class_weights import ClassBalance, inverse_frequency


# A step multiplies w by at most e, so that nothing overflows: the gradient has no bound when w is close to 0.
LARGEST_LOG_STEP = 1.0
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8


def initial_weights(labels: Tensor, form: str) -> Tensor:
    """Return `(N,)` w before training; in the paper it depends on the largest class of each label (Eq. 5).

    Args:
        labels: `(N, K)`, one-hot or shares.
        form: `eq4`: the count of the utterance's class, divided by the mean of this over utterances (mean 1, Eq. 8);
            `table3`: count * K / N, as in the paper's Table 3; `expected`: 1 over the expected class weight
            of `training.class_weights`, which for one-hot labels is `table3`; `ones`.
    """
    if form == "ones":
        return torch.ones(len(labels), device=labels.device)
    if form == "expected":
        return 1 / ClassBalance(inverse_frequency(labels.sum(dim=0))).utterance_weight(labels)
    count = labels.sum(dim=0)[labels.argmax(dim=1)]
    return count / (count.mean() if form == "eq4" else len(labels) / labels.shape[1])


def gradients(target: Tensor, weight: Tensor, log_probability: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of Eq. 6 in l and in log w.

    `dJ/dl_c = s_c (-log y_c - CE) / w` and `dJ/dlog w = -CE / w`, with `CE = -sum_c s_c log y_c`.

    Args:
        target: s, `(n, K)`.
        weight: w, `(n,)`.
        log_probability: log y, `(n, K)`.

    Returns:
        `(n, K)` and `(n,)`.
    """
    cross_entropy = -(target * log_probability).sum(dim=1)
    of_logits = target * (-log_probability - cross_entropy[:, None]) / weight[:, None]
    return of_logits, -cross_entropy / weight


@dataclass(frozen=True)
class RowOptimizer:
    """SGD or Adam on rows of a table. Each row counts its own steps; a row that is not in a step does not change.

    The moments of a parameter `x` are the columns `x_mean` and `x_square` of the table; SGD has none.
    """

    kind: str

    def columns(self, name: str, like: Tensor) -> dict[str, Tensor]:
        """Return the columns for a parameter `(N, ...)`, filled with zeros."""
        if self.kind == "sgd":
            return {}
        return {f"{name}_mean": torch.zeros_like(like), f"{name}_square": torch.zeros_like(like)}

    def step(
        self, name: str, gradient: Tensor, rate: float, moments: Mapping[str, Tensor], steps: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the change of the parameter's rows `(n, ...)`, and their new moments.

        Args:
            name: Name of the parameter.
            gradient: `(n, ...)`.
            rate: Learning rate.
            moments: Rows `(n, ...)` of the columns from `columns`.
            steps: `(n,)` number of steps of each row, including this one.
        """
        if self.kind == "sgd":
            return -rate * gradient, {}
        (mean_decay, square_decay), t = ADAM_BETAS, steps.view(-1, *[1] * (gradient.ndim - 1)).float()
        mean = torch.lerp(gradient, moments[f"{name}_mean"], mean_decay)
        square = torch.lerp(gradient.square(), moments[f"{name}_square"], square_decay)
        unbiased = mean / (1 - mean_decay**t), square / (1 - square_decay**t)
        change = -rate * unbiased[0] / (unbiased[1].sqrt() + ADAM_EPSILON)
        return change, {f"{name}_mean": mean, f"{name}_square": square}


def moved_weight(weight: Tensor, change: Tensor) -> Tensor:
    """Return weights `(n,)` after a step in log w; they stay above 0 for any step."""
    return weight * change.clamp(-LARGEST_LOG_STEP, LARGEST_LOG_STEP).exp()


def with_mean_one(weight: Tensor) -> Tensor:
    """Scale w so that its mean over the utterances is 1 (Eq. 8); the sum is float64, because N may be millions."""
    return (weight / weight.double().mean()).float()


def balanced(weight: Tensor, classes: Tensor, began: Tensor) -> Tensor:
    """Scale w within each class, so that the class keeps its initial weight in the loss; not in the paper.

    An utterance counts 1 / w in the loss; the mean of this over each class stays as it was.

    Args:
        weight: `(N,)`.
        classes: `(N,)` class of each utterance's label in the data.
        began: `(K,)` initial w of each class.
    """
    counts = torch.bincount(classes, minlength=len(began)).clamp(min=1)
    mean = torch.zeros_like(began, dtype=torch.float64).index_add(0, classes, 1 / weight.double()) / counts
    return (weight * (mean * began)[classes]).float()
