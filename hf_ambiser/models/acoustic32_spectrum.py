"""MFCC, loudness and zero-crossing rate of frames, and regression derivatives over time."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


PRE_EMPHASIS = 0.97
MEL_BANDS = 26
CEPSTRA = 12
LIFTER = 22
# Smallest band power: that of one step of 16-bit audio. Only digital silence is lower.
MEL_FLOOR = 2.0**-30
# Intensity at which loudness is 1, and the exponent of Stevens' power law.
REFERENCE_INTENSITY = 1e-6
LOUDNESS_EXPONENT = 0.3
# Number of frames on each side that a derivative uses.
DELTA_REACH = 2


def cut_frames(waveform: Tensor, frame_length: int, hop_length: int) -> Tensor:
    """Cut `(samples,)` into `(T, frame_length)`; frames lie completely inside, and a shorter one is zero-padded."""
    missing = frame_length - len(waveform)
    if missing > 0:
        waveform = torch.nn.functional.pad(waveform, (0, missing))
    return waveform.unfold(0, frame_length, hop_length)


def mfcc(frames: Tensor, sampling_rate: int) -> Tensor:
    """Compute mel-frequency cepstral coefficients 1 to 12, `(T, frame_length)` to `(T, 12)`.

    They are computed as in HTK and openSMILE's `MFCC12`: pre-emphasis within the frame (the first sample is its own
    predecessor), Hamming window, power spectrum of the next power of two, 26 triangular bands from 0 Hz to half the
    sampling rate, equidistant and linear in `1127 ln(1 + f / 700)`, natural logarithm, orthonormal cosine transform,
    lifter of 22.
    """
    window, filters, cosines = _mfcc_tables(frames.shape[1], sampling_rate)
    previous = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * previous) * window, n=2 * (len(filters) - 1))
    power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
    return (power @ filters).clamp_min(MEL_FLOOR).log() @ cosines


@lru_cache(maxsize=8)
def _mfcc_tables(frame_length: int, sampling_rate: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return window `(frame_length,)`, mel filters `(bins, 26)`, liftered cosine transform `(26, 12)`; float32."""
    transform = 2 ** math.ceil(math.log2(frame_length))
    hertz = torch.arange(transform // 2 + 1, dtype=torch.float64) * sampling_rate / transform
    mel = 1127 * torch.log1p(hertz / 700)
    # A band rises from its first edge to the next one and falls to the one after that.
    edges = torch.linspace(0, float(mel[-1]), MEL_BANDS + 2, dtype=torch.float64)
    place = mel[:, None] / edges[1] - torch.arange(1, MEL_BANDS + 1)
    order = torch.arange(1, CEPSTRA + 1, dtype=torch.float64)
    band = torch.arange(MEL_BANDS, dtype=torch.float64)[:, None] + 0.5
    lifter = 1 + LIFTER / 2 * torch.sin(math.pi * order / LIFTER)
    cosines = math.sqrt(2 / MEL_BANDS) * torch.cos(math.pi * order * band / MEL_BANDS) * lifter
    return hamming(frame_length), (1 - place.abs()).clamp_min(0).float(), cosines.float()


def hamming(length: int) -> Tensor:
    """Return a symmetric Hamming window, `(length,)` float32."""
    return torch.hamming_window(length, periodic=False, dtype=torch.float64).float()


def loudness(frames: Tensor) -> Tensor:
    """Compute `(I / 1e-6) ** 0.3` with `I` the Hamming-weighted mean of squares, `(T, frame_length)` to `(T,)`.

    openSMILE documents this narrow-band approximation for `cIntensity`, but as shipped (2.6) that component reads only
    the first sample of a frame. Samples are in [-1, 1]; a full-scale sine has about 51.
    """
    window = hamming(frames.shape[1])
    return (frames.square() @ (window / window.sum()) / REFERENCE_INTENSITY) ** LOUDNESS_EXPONENT


def zero_crossing_rate(frames: Tensor) -> Tensor:
    """Count changes of sign per sample, in [0, 1], `(T, frame_length)` to `(T,)`; 0 counts as positive."""
    negative = frames < 0
    return (negative[:, 1:] != negative[:, :-1]).sum(1) / frames.shape[1]


def derivatives(values: Tensor) -> Tensor:
    """Compute derivatives by regression over five frames, `(T, D)` to `(T, D)`; the first and last frame are repeated.

    `d[t] = sum_n n (c[t + n] - c[t - n]) / (2 sum_n n ** 2)` with n = 1, 2 is the change per frame.
    """
    reach = torch.arange(-DELTA_REACH, DELTA_REACH + 1)
    around = torch.arange(len(values))[:, None] + reach
    weights = (reach / reach.square().sum()).to(values.dtype)
    return torch.einsum("tnd,n->td", values[around.clamp(0, len(values) - 1)], weights)
