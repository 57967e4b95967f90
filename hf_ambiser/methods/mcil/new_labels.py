"""The labels that M classifiers give together: one value per utterance, no averaging over utterances."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


FORMS = ("votes", "mean", "majority")


def counted(logits: Tensor) -> Tensor:
    """Return how many of M classifiers take each class for the best, `(R, K)` int64, of logits `(M, R, K)`."""
    return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).sum(dim=0)


def new_labels(logits: Tensor, form: str) -> Tensor:
    """Return the label of each utterance, `(R, K)` float32, rows that sum to 1.

    Args:
        logits: `(M, R, K)` of M classifiers.
        form: One of `FORMS`. Of classes with equally many votes, `majority` takes the one with the largest mean
            probability.
    """
    mean = torch.softmax(logits.float(), dim=-1).mean(dim=0)
    if form == "mean":
        return mean
    votes = counted(logits).float()
    if form == "votes":
        return votes / len(logits)
    # A mean probability is a fraction of a vote, so it decides between equal numbers only.
    return F.one_hot((votes + mean).argmax(dim=-1), logits.shape[-1]).float()
