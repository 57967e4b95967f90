"""Dirichlet distributions over the shares of votes, given as logits z with parameters alpha = exp(z)."""

from __future__ import annotations

import torch
from torch import Tensor


# exp of it is the largest sum of parameters that float32 still tells from that sum and one vote.
LARGEST_LOGIT = 12.0


def concentration(logits: Tensor) -> Tensor:
    """Return alpha = exp(z), `(B, K)` float32, z = logits `(B, K)` cut at +-`LARGEST_LOGIT`."""
    return logits.float().clamp(-LARGEST_LOGIT, LARGEST_LOGIT).exp()


def negative_log_likelihood(logits: Tensor, votes: Tensor) -> Tensor:
    """Return -log P(votes | alpha), `(B,)` in nats, of votes `(B, K)` under the Dirichlet-multinomial distribution.

    `P = Gamma(a0) / Gamma(a0 + n) prod_k Gamma(alpha_k + n_k) / Gamma(alpha_k)` with `a0 = sum_k alpha_k` and n votes,
    for the votes in the order in which they came (no multinomial coefficient, which does not depend on alpha).

    Args:
        logits: log alpha, `(B, K)`.
        votes: n_k, `(B, K)`, fractions allowed; a row of zeros gives 0.
    """
    alpha, votes = concentration(logits), votes.float()
    total, n = alpha.sum(dim=-1), votes.sum(dim=-1)
    each = torch.lgamma(alpha + votes) - torch.lgamma(alpha)
    return torch.lgamma(total + n) - torch.lgamma(total) - each.sum(dim=-1)


def distance_to_uniform(logits: Tensor) -> Tensor:
    """Return KL(Dir(alpha) | Dir(1, ..., 1)), `(B,)` in nats: what the network claims to know."""
    alpha = concentration(logits)
    flat = torch.distributions.Dirichlet(torch.ones_like(alpha), validate_args=False)
    return torch.distributions.kl_divergence(torch.distributions.Dirichlet(alpha, validate_args=False), flat)


def uncertainty(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split the entropy of the answer into that of the votes and that of the model.

    With `p ~ Dir(alpha)`: `H(E p) = E H(p) + I`. `E H(p)` is how much raters are expected to disagree; the mutual
    information I is how little the model knows what they would say, and it goes to 0 as a0 grows.

    Args:
        logits: log alpha, `(B, K)`, the model's logits.

    Returns:
        Entropy of the answer, expected entropy of the votes, mutual information: each `(B,)` in nats.
    """
    alpha = concentration(logits).double()
    total = alpha.sum(dim=-1, keepdim=True)
    mean = alpha / total
    whole = -torch.xlogy(mean, mean).sum(dim=-1)
    votes = (mean * (torch.digamma(total + 1) - torch.digamma(alpha + 1))).sum(dim=-1)
    return whole.float(), votes.float(), (whole - votes).clamp(min=0).float()
