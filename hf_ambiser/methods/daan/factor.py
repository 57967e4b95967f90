"""The dynamic adversarial factor omega, from what the discriminators of an epoch got wrong."""

from __future__ import annotations

import torch
from torch import Tensor


def domain_distance(mistakes: Tensor) -> Tensor:
    """Return the A-distance `2 (1 - 2 e)` of errors or losses e `(...)`, at least 0."""
    return (2 * (1 - 2 * mistakes)).clamp(min=0)


def next_omega(omega: Tensor, mistakes: Tensor, of_local: bool) -> Tensor:
    """Return omega of the next epoch: a share of the global and the mean class-wise distance.

    Args:
        omega: Scalar, the present one, which stays if no discriminator tells the domains apart.
        mistakes: `(1 + K,)` error or loss of the global discriminator and of those of the K classes.
        of_local: Whether it is the share of the class-wise distance; False: that of the global one (Eq. 8).
    """
    distance = domain_distance(mistakes)
    parts = torch.stack([distance[0], distance[1:].mean()])
    return torch.where(parts.sum() > 0, parts[int(of_local)] / parts.sum().clamp(min=1e-12), omega)
