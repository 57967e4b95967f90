"""A mixture of two Gaussians over the losses of all labels: which of them are clean (section 3.1).

scikit-learn has one, and is no dependency of the package; two components in one dimension are these few lines.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


# As in the paper's program: a floor under the variances, and an end after so many steps.
FLOOR = 5e-4
STEPS = 10
TOLERANCE = 1e-2


def clean_probability(loss: Tensor) -> Tensor:
    """Return the probability `(N,)`, float32, that each loss is of the component with the smaller mean.

    Losses `(N,)` are scaled to [0, 1] first. The components begin at 0 and 1 with equal weights and the variance of
    all losses, so the answer does not depend on random numbers. If all losses are equal, all are clean.
    """
    low, high = loss.min(), loss.max()
    if high <= low:
        return torch.ones_like(loss, dtype=torch.float32)
    x = ((loss - low) / (high - low)).double()
    weight = x.new_tensor([0.5, 0.5])
    mean = x.new_tensor([0.0, 1.0])
    variance = (x.var(correction=0) + FLOOR).expand(2)
    before = -math.inf
    for _ in range(STEPS):
        log_joint = _log_joint(x, weight, mean, variance)
        likelihood = float(torch.logsumexp(log_joint, dim=1).mean())
        belief = torch.softmax(log_joint, dim=1)
        total = belief.sum(dim=0).clamp(min=1e-12)
        weight, mean = total / len(x), (belief * x[:, None]).sum(dim=0) / total
        variance = (belief * (x[:, None] - mean) ** 2).sum(dim=0) / total + FLOOR
        if abs(likelihood - before) < TOLERANCE:
            break
        before = likelihood
    return torch.softmax(_log_joint(x, weight, mean, variance), dim=1)[:, int(mean.argmin())].float()


def _log_joint(x: Tensor, weight: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return log(weight_j N(x_i; mean_j, variance_j)), `(N, 2)`."""
    return weight.log() - 0.5 * ((x[:, None] - mean) ** 2 / variance + (2 * math.pi * variance).log())
