"""Losses as functions of tensors: no model, no trainer, no averaging over the batch.

Each returns one value per sample; the trainer averages over micro-batches and ranks
(`AmbiSERTrainer.effective_mean`). All compute in float32, whatever the model's precision, also under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def shares(votes: Tensor) -> Tensor:
    """Return votes `(B, K)` as shares that sum to 1, float32; a row without votes stays zeros."""
    votes = votes.float()
    return votes / votes.sum(dim=1, keepdim=True).clamp(min=1e-12)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against a distribution, `-sum_c target_c log softmax(logits)_c`.

    Args:
        logits: `(B, K)`.
        target: `(B, K)`, rows that sum to 1; a row of zeros gives 0.

    Returns:
        `(B,)` in nats, float32.
    """
    return -(target.float() * F.log_softmax(logits.float(), dim=-1)).sum(dim=-1)


def instance_contrast(
    anchor: Tensor, bank: Tensor, positive: Tensor, temperature: float, own: Tensor | None = None
) -> Tensor:
    """InfoNCE between a sample and its own augmented copy (IPR, Eq. 5 as printed).

    The two readings of its denominator differ in the bank: the augmented copies alone, or clean samples and copies,
    of which the anchor itself is left out.

    Args:
        anchor: `(A, D)` L2-normalised embeddings of this rank's clean samples.
        bank: `(M, D)` L2-normalised embeddings over which the denominator is summed, of all ranks.
        positive: `(A,)` row of the bank that is each anchor's augmented copy.
        temperature: tau > 0.
        own: `(A,)` each anchor's own row in the bank; None: the bank holds copies only.

    Returns:
        `(A,)` in nats, float32.
    """
    similarity = _similarity(anchor, bank) / temperature
    if own is not None:
        itself = F.one_hot(own, num_classes=len(bank)).bool()
        similarity = similarity.masked_fill(itself, float("-inf"))
    return F.cross_entropy(similarity, positive, reduction="none")


def pseudo_label_contrast(
    anchor: Tensor, anchor_label: Tensor, own: Tensor, bank: Tensor, bank_label: Tensor, temperature: float
) -> Tensor:
    """Supervised contrast with pseudo labels (IPR, section 2.3): samples with the same pseudo label are positives.

    For anchor i, P(i) are the other samples with its pseudo label, and A(i) are all other samples. The loss is
    `-1/|P(i)| sum_{p in P(i)} log( exp(x_i.x_p / tau) / sum_{a in A(i)} exp(x_i.x_a / tau) )`. An anchor without a
    positive contributes 0.

    Args:
        anchor: `(A, D)` L2-normalised embeddings of this rank's samples, clean and augmented.
        anchor_label: `(A,)` their pseudo labels.
        own: `(A,)` each anchor's own row in the bank.
        bank: `(M, D)` L2-normalised embeddings of all ranks.
        bank_label: `(M,)` their pseudo labels.
        temperature: tau > 0.

    Returns:
        `(A,)` in nats, float32.
    """
    similarity = _similarity(anchor, bank) / temperature
    itself = F.one_hot(own, num_classes=len(bank)).bool()
    log_share = similarity - torch.logsumexp(similarity.masked_fill(itself, float("-inf")), dim=1, keepdim=True)
    positive = (anchor_label[:, None] == bank_label[None, :]) & ~itself
    total = log_share.masked_fill(~positive, 0.0).sum(dim=1)
    return -total / positive.sum(dim=1).clamp(min=1)


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return `(A, M)` dot products in float32: autocast would round them, and a small tau enlarges the rounding."""
    with torch.autocast(device_type=a.device.type, enabled=False):
        return a.float() @ b.float().T
