"""Schedules as pure functions of the epoch."""

from __future__ import annotations

import math


def exponential_ramp(epoch: float, n_epochs: float, maximum: float, base: float) -> float:
    """IPR, Eq. 7 as we read it: `min(w_m (r^(e_c / (e_m / 2)) - 1) / (r - 1), w_m)`.

    It is 0 at epoch 0 and `maximum` from half of the epochs on.

    Args:
        epoch: e_c, current epoch from 0.
        n_epochs: e_m > 0, number of epochs.
        maximum: w_m.
        base: r > 0, growth factor; 1 is the limit, a straight line.

    Raises:
        ValueError: If `n_epochs` or `base` is not positive.
    """
    if n_epochs <= 0 or base <= 0:
        raise ValueError(f"exponential_ramp needs n_epochs > 0 and base > 0, got {n_epochs} and {base}.")
    x = epoch / (n_epochs / 2)
    grown = x if base == 1 else (base**x - 1) / (base - 1)
    return min(maximum * grown, maximum)


def sigmoid_growth(progress: float, steepness: float) -> float:
    """Ganin et al. (2016), section 5.2.2: `2 / (1 + exp(-gamma p)) - 1`, from 0 at the beginning to nearly 1.

    Args:
        progress: p, the share of the training that is done, 0..1.
        steepness: gamma > 0; the paper has 10.
    """
    return 2 / (1 + math.exp(-steepness * progress)) - 1
