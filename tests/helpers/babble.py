"""Made sound that changes like speech, so that recordings can be recognised."""

from __future__ import annotations

import numpy as np


RATE = 16000


def babble(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Sound that changes like speech: pieces of 80 to 250 ms, each of other harmonics and loudness."""
    rng, pieces = np.random.default_rng(seed), []
    while sum(map(len, pieces)) < seconds * RATE:
        t = np.arange(int(RATE * rng.uniform(0.08, 0.25))) / RATE
        pitch, weights = rng.uniform(90, 250), rng.exponential(size=20) ** 2
        tone = sum(w * np.sin(2 * np.pi * pitch * (k + 1) * t) for k, w in enumerate(weights))
        pieces.append(10 ** rng.uniform(-1.5, -0.5) * tone / np.abs(tone).max() * np.hanning(len(t)) ** 0.7)
    return np.concatenate(pieces).astype(np.float32)[: int(seconds * RATE)]
