"""Divergences between logits and distributions: one value a row, in float32, no averaging."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def kl(logits: Tensor, target: Tensor) -> Tensor:
    """Return `sum_c t_c log(t_c / p_c)`, `(B,)` in nats, for p = softmax(logits `(B, K)`) and targets t `(B, K)`."""
    return (torch.xlogy(target, target) - target * F.log_softmax(logits, dim=-1)).sum(dim=-1)


def reverse_kl(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Return `sum_c p_c log(p_c / s_c)`, `(B,)` in nats, with s the target mixed with `smoothing` of uniform."""
    log_p = F.log_softmax(logits, dim=-1)
    mixed = (1 - smoothing) * target + smoothing / target.shape[-1]
    return (log_p.exp() * (log_p - mixed.log())).sum(dim=-1)


def jensen_shannon(logits: Tensor, target: Tensor) -> Tensor:
    """Return `(KL(t | m) + KL(p | m)) / 2` with `m = (t + p) / 2`, `(B,)` in nats, at most log 2.

    Args:
        logits: `(B, K)`.
        target: t, `(B, K)`, rows that sum to 1; a row of zeros gives a finite value.
    """
    log_p = F.log_softmax(logits, dim=-1)
    p = log_p.exp()
    # log m from logarithms: where t_c is 0 and p_c is tiny, log(p_c / 2) is exact and its gradient finite.
    log_m = torch.logaddexp(log_p, target.clamp(min=1e-38).log()) - math.log(2)
    to_target = (torch.xlogy(target, target) - target * log_m).sum(dim=-1)
    return (to_target + (p * (log_p - log_m)).sum(dim=-1)) / 2


def class_distances(shares: Tensor) -> Tensor:
    """Return `(K, K)` distances in [0, 1]: 1 - cosine between the columns of vote shares `(N, K)`.

    Two emotions that raters hear in the same utterances are near. A class without any vote is at 1 from all others.
    """
    product = shares.double().T @ shares.double()
    length = product.diagonal().sqrt()
    scale = length[:, None] * length[None, :]
    cosine = torch.where(scale > 0, product / scale.clamp(min=1e-12), 0.0)
    distance = (1 - cosine).clamp(0.0, 1.0)
    distance.fill_diagonal_(0.0)
    return distance.float()


def sinkhorn_cost(logits: Tensor, target: Tensor, distance: Tensor, blur: float, steps: int) -> Tensor:
    """Return the cost `(B,)` of moving softmax(logits `(B, K)`) to the targets `(B, K)` (Cuturi 2013, Eq. 2).

    The plan P has the answer and the target as its margins and minimises `<P, D> - blur max(D) H(P)`; the value is
    `<P, D>`. Sinkhorn's iterations run on logarithms, and the gradient goes through them.

    Args:
        logits: `(B, K)`.
        target: `(B, K)`, rows that sum to 1.
        distance: D, `(K, K)`, zeros on the diagonal.
        blur: Weight of the entropy, above 0; the smaller, the closer to the exact cost and the more steps it takes.
        steps: Iterations.
    """
    epsilon = blur * distance.max().clamp(min=1e-12)
    log_p = F.log_softmax(logits, dim=-1)
    log_t = target.clamp(min=1e-30).log()
    kernel = (-distance / epsilon)[None]
    to_p, to_t = torch.zeros_like(log_p), torch.zeros_like(log_t)
    for _ in range(steps):
        to_p = log_p - torch.logsumexp(kernel + to_t[:, None, :], dim=2)
        to_t = log_t - torch.logsumexp(kernel + to_p[:, :, None], dim=1)
    plan = (kernel + to_p[:, :, None] + to_t[:, None, :]).exp()
    return (plan * distance).sum(dim=(1, 2))
