"""The enhanced inter-class difference loss of SLC, Eq. 9-10."""

from __future__ import annotations

import torch
from torch import Tensor


def inter_class_difference(probability: Tensor, label: Tensor, beta: float, form: str = "y_k") -> Tensor:
    """Return `sum_j sum_k (exp(u_jk) - 1)` with `u_jk = max{0, (1 - y_j) (p_j + beta) - y_k p_k}`.

    It pushes down the probability of a class that few raters heard until it is `beta` below that of each class that
    they did hear. `form="y_j"` has `- y_j p_k` at the end, as Eq. 10 is printed.

    Each value lies in `[0, K^2 (exp(1 + beta) - 1))`; the paper's bound, with `exp(2)`, holds only for `beta <= 1`.

    Args:
        probability: p, softmax of the logits, `(B, K)`.
        label: y, rows that sum to 1, `(B, K)`.
        beta: Margin, 0 or more.
        form: `y_k` or `y_j`.

    Returns:
        `(B,)` float32, not averaged.
    """
    with torch.autocast(device_type=probability.device.type, enabled=False):
        p, y = probability.float(), label.float()
        heard = y[:, None, :] if form == "y_k" else y[:, :, None]
        u = ((1 - y) * (p + beta))[:, :, None] - heard * p[:, None, :]
        return torch.expm1(u.clamp_min(0)).sum(dim=(1, 2))
