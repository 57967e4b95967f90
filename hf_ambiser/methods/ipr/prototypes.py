"""Prototype arithmetic of IPR: class means, moving averages, and which sample moves which prototype."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def class_sums(embedding: Tensor, label: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Return per class the sum of embeddings `(K, D)` and the number of samples `(K,)`, for the means of Eq. 2.

    Args:
        embedding: `(N, D)`.
        label: `(N,)` class of each sample.
        n_classes: K.
    """
    member = F.one_hot(label, n_classes).float()
    return member.T @ embedding.float(), member.sum(dim=0)


def who_moves_what(
    update: str, classified: Tensor, classified_copy: Tensor, nearest: Tensor, nearest_copy: Tensor, n_classes: int
) -> Tensor:
    """Return `(N, K)` bool: whether sample i moves prototype c.

    Args:
        update: `classifier_agreement` (Eq. 4), `prototype_agreement` (introduction) or `proportional` (section 3.5).
        classified: `(N,)` the classifier's class of the clean sample.
        classified_copy: `(N,)` that of its augmented copy.
        nearest: `(N,)` the nearest prototype of the clean sample.
        nearest_copy: `(N,)` that of its augmented copy.
        n_classes: K.
    """
    if update == "proportional":
        return torch.ones(len(classified), n_classes, dtype=torch.bool, device=classified.device)
    if update == "prototype_agreement":
        classified, classified_copy = nearest, nearest_copy
    same = classified == classified_copy
    return F.one_hot(classified, n_classes).bool() & same[:, None]


def moving_average(prototypes: Tensor, embedding: Tensor, share: Tensor, moves: Tensor, gamma: float) -> Tensor:
    """Apply Eq. 4 to the samples of one optimiser step.

    If n samples move class c, `p_c <- Normalize(gamma^n p_c + (1 - gamma^n) mean_i(k_i s_ic))`. For n = 1 this is
    Eq. 4. For n > 1 all samples have the same weight, whereas Eq. 4 applied to one after the other would give later
    ones more weight and would normalise in between. Classes that no sample moves keep their prototype.

    Args:
        prototypes: `(K, D)` unit vectors.
        embedding: `(N, D)` unit vectors k_i.
        share: `(N, K)` ambiguous soft labels s_ic.
        moves: `(N, K)` bool.
        gamma: In [0, 1].

    Returns:
        `(K, D)` unit vectors, float32.
    """
    weight = share.float() * moves
    n = moves.sum(dim=0)
    mean = (weight.T @ embedding.float()) / n.clamp(min=1)[:, None]
    decay = torch.pow(torch.tensor(gamma, device=n.device), n.float())[:, None]
    moved = F.normalize(decay * prototypes.float() + (1 - decay) * mean, dim=-1)
    return torch.where((n > 0)[:, None], moved, prototypes.float())
