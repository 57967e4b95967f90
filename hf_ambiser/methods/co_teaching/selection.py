"""How many utterances are kept, and which."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def keep_rate(epoch: int, forget_rate: float, ramp_epochs: int) -> float:
    """Return R(T) = 1 - min(T / T_k tau, tau) of Algorithm 1; T is the number of finished epochs, so R starts at 1."""
    return 1 - min(epoch / ramp_epochs * forget_rate, forget_rate)


def n_kept(n: int, rate: float) -> int:
    """Round R(T) n to the nearest whole number, halves up, at least 1."""
    return max(1, math.floor(rate * n + 0.5))


def easiest(index: Tensor, loss: Tensor, rate: float, n_table: int) -> Tensor:
    """Return `(n_table,)` bool: whether an utterance is in the share `rate` with the smallest losses.

    The order of the rows does not matter: of equal losses the lower index is kept.

    Args:
        index: `(n,)` utterances.
        loss: `(n,)` their losses.
        rate: R(T).
        n_table: Number of utterances in the label table.
    """
    order = torch.argsort(index, stable=True)
    order = order[torch.argsort(loss[order], stable=True)]
    kept = torch.zeros(n_table, dtype=torch.bool, device=index.device)
    kept[index[order[: n_kept(len(order), rate)]]] = True
    return kept
