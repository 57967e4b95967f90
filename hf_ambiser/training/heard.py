"""Which emotions were heard in an utterance: several may be, and no share is told."""

from __future__ import annotations

from torch import Tensor


def heard(shares: Tensor, more_than: float) -> Tensor:
    """Return 1 for each class with more than a share of the votes, else 0, `(B, K)` float32.

    The classes with the largest share are heard in any case, so that no utterance with votes is without an emotion.

    Args:
        shares: Shares of the votes, `(B, K)`; a row of zeros stays zeros.
        more_than: A share in [0, 1); 0: a single vote is enough.
    """
    top = shares >= shares.amax(dim=-1, keepdim=True) - 1e-6
    return (((shares > more_than) | top) & (shares > 0)).float()
