"""Changes the sampling rate of whole utterances, with bounded cost for any rate."""

from __future__ import annotations

from math import gcd

import numpy as np

from hf_ambiser.data.schema import SAMPLING_RATE


# torchaudio's filter has (rate / g) x (16000 / g) weights, where g is their greatest common divisor: 70,560 at
# 44,100 Hz, and 353 million, in several copies, at 22,051 Hz. Up to this number they take some 150 MB.
MOST_WEIGHTS = 2**24


def by_torchaudio(rate: int) -> bool:
    """Whether torchaudio resamples this rate (Hz), as it did in all data sets before; libsoxr does it for the others.

    The usual rates (8, 11.025, 12, 22.05, 24, 32, 37.8, 44.1, 48, 88.2, 96, 176.4, 192 kHz) are among these.
    """
    g = gcd(rate, SAMPLING_RATE)
    return (rate // g) * (SAMPLING_RATE // g) <= MOST_WEIGHTS


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample `(T,)` at `rate` Hz to `(T * 16000 / rate,)` float32 at 16 kHz."""
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if not by_torchaudio(rate):
        import soxr

        return soxr.resample(samples, rate, SAMPLING_RATE)
    # Imported here: torchaudio fails beside a torch that it was not built for, and most corpora do not need it.
    import torch
    from torchaudio.functional import resample as torch_resample

    return torch_resample(torch.from_numpy(samples), rate, SAMPLING_RATE).numpy()
