"""The squared maximum mean discrepancy of two samples."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_discrepancy(x: Tensor, y: Tensor, bandwidth: float | None = None, kernels: int = 1) -> Tensor:
    """Return the squared maximum mean discrepancy of two samples in Gaussian kernels, from 0 to 2.

    It is the biased estimate `mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`, which is never negative and exists for
    samples of one utterance.

    Args:
        x: `(n, D)`, n >= 1.
        y: `(m, D)`, m >= 1.
        bandwidth: sigma > 0 of `k(a, b) = exp(-|a - b|^2 / (2 sigma^2))`; None: the median distance of two different
            rows of both samples, which gets no gradient.
        kernels: Number of kernels that are averaged. Kernel i (0, 1, ...) has `2^(i - kernels // 2) sigma^2`.

    Returns:
        A scalar, float32.
    """
    both = torch.cat([x, y]).float()
    distance = (both[:, None] - both[None]).square().sum(dim=-1)  # differences first: close rows keep their digits
    if bandwidth is None:
        upper = torch.triu_indices(len(both), len(both), offset=1, device=both.device)
        variance = distance.detach()[upper[0], upper[1]].median().clamp(min=1e-12)
    else:
        variance = distance.new_tensor(bandwidth**2)
    kernel = torch.stack([(-distance / (2 ** (i - kernels // 2 + 1) * variance)).exp() for i in range(kernels)])
    kernel, n = kernel.mean(dim=0), len(x)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
