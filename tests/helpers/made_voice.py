"""Speech-like signals of known pitch, 16 kHz, float32 in [-1, 1], with the true F0 of every sample."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter


RATE = 16000
# Formants and bandwidths in Hz.
VOWELS = {
    "a": ((700, 80), (1200, 90), (2600, 120), (3500, 150)),
    "i": ((280, 60), (2250, 90), (2900, 120), (3500, 150)),
    "u": ((310, 60), (870, 90), (2250, 120), (3500, 150)),
}


def contour(f0, seconds: float) -> np.ndarray:
    """F0 of every sample: constant, or from one value to another, even on a logarithmic scale."""
    start, end = f0 if isinstance(f0, tuple) else (f0, f0)
    n = round(seconds * RATE)
    return start * (end / start) ** (np.arange(n) / n)


def tone(f0, seconds: float = 1.0, level: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """A sine, or a sweep of one."""
    hertz = contour(f0, seconds)
    return (level * np.sin(2 * np.pi * np.cumsum(hertz) / RATE)).astype(np.float32), hertz


def vowel(f0, name: str = "a", seconds: float = 1.0, level: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """A band-limited pulse train through four formant filters."""
    hertz = contour(f0, seconds)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    wave = np.zeros(len(hertz))
    for harmonic in range(1, int(7600 / hertz.min()) + 1):
        wave += np.cos(harmonic * phase) * (harmonic * hertz < 7600)
    for formant, bandwidth in VOWELS[name]:
        radius = np.exp(-np.pi * bandwidth / RATE)
        poles = [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2]
        wave = lfilter([sum(poles)], poles, wave)
    wave = lfilter([1], [1, -0.9], wave)
    return (level * wave / np.abs(wave).max()).astype(np.float32), hertz


def noise(seconds: float = 1.0, level: float = 0.1, seed: int = 0) -> np.ndarray:
    """White noise with `level` as its standard deviation."""
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def utterance(seed: int = 0) -> np.ndarray:
    """About two seconds: vowels that glide and differ in level, with hiss and silence between them."""
    rng = np.random.default_rng(seed)
    parts = [np.zeros(2000, dtype=np.float32)]
    for name in ("a", "i", "u"):
        start, end = rng.uniform(100, 250, 2)
        parts.append(vowel((start, end), name, rng.uniform(0.2, 0.5), rng.uniform(0.1, 0.4))[0])
        parts.append(noise(rng.uniform(0.05, 0.15), 0.02, seed))
    wave = np.concatenate([*parts, np.zeros(2000, dtype=np.float32)])
    return wave + noise(len(wave) / RATE, 1e-4, seed + 1)[: len(wave)]
