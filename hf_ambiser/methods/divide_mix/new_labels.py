"""The labels of clean and of noisy utterances (section 3.2 of DivideMix)."""

from __future__ import annotations

from torch import Tensor


def sharpened(label: Tensor, temperature: float) -> Tensor:
    """Return `p^(1/T)`, scaled to sum to 1, of distributions p `(B, K)`."""
    powered = label ** (1 / temperature)
    return powered / powered.sum(dim=-1, keepdim=True).clamp(min=1e-12)


def refined(label: Tensor, clean: Tensor, answer: Tensor, temperature: float) -> Tensor:
    """Return co-refined labels `(B, K)`: `w y + (1 - w) p`, sharpened.

    Args:
        label: y, `(B, K)`.
        clean: w, `(B,)`, the probability by which the other network takes the label for clean.
        answer: p, the network's own answer `(B, K)`.
        temperature: T.
    """
    return sharpened(clean[:, None] * label + (1 - clean[:, None]) * answer, temperature)


def guessed(own: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Return co-guessed labels `(B, K)`: the mean of both networks' answers `(B, K)`, sharpened."""
    return sharpened((own + other) / 2, temperature)
