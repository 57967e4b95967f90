"""The augmentations as pure functions of arrays: speed, tempo, pitch, reverberation, noise, gain.

Each takes float32 and returns float32, leaves its input unchanged and draws no random numbers. All but speed and tempo
keep the length.
They are written for speed: an epoch augments thousands of utterances of some 2.5 s, on the CPU cores that also decode
audio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft


Array = np.ndarray

# Exponent b of the power spectrum 1 / f^b.
COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
_POOL = 2**18  # 16 s at 16 kHz: 1 MiB per colour, made once per process
_POOL_FLOOR_HZ = 50.0  # the spectrum is flat below, else brown noise is mostly rumble that no microphone records
_DRIFT_S = 0.064  # the pitch shifter may be ahead of or behind its input by this much
_FADE_S = 0.016
_MAX_GRAIN_S = 0.5


def mean_power(waveform: Array) -> float:
    """Return the mean square, 0 for an empty array. NumPy sums it: the order of BLAS depends on its threads."""
    return float(np.add.reduce(np.square(waveform))) / max(len(waveform), 1)


@lru_cache(maxsize=8)
def noise_pool(colour: str, seed: int, sampling_rate: int = 16000) -> Array:
    """Return circular float32 noise of unit power and spectrum 1 / f^b; read-only, made once per process."""
    if colour not in COLOURS:
        raise ValueError(f"Noise colour {colour!r} is not known; allowed are {sorted(COLOURS)}.")
    white = np.random.Generator(np.random.SFC64([seed, list(COLOURS).index(colour)])).standard_normal(_POOL)
    frequency = np.maximum(np.fft.rfftfreq(_POOL, 1 / sampling_rate), _POOL_FLOOR_HZ)
    spectrum = scipy.fft.rfft(white) * frequency ** (-COLOURS[colour] / 2)
    spectrum[0] = 0
    pool = scipy.fft.irfft(spectrum, _POOL)
    pool = (pool / np.sqrt(np.mean(pool**2))).astype(np.float32)
    pool.setflags(write=False)
    return pool


def take_noise(pool: Array, start: int, length: int) -> Array:
    """Return `length` samples of a circular pool from `start` on; a longer request begins the pool again."""
    if start + length <= len(pool):
        return pool[start : start + length]
    return np.resize(np.concatenate([pool[start:], pool[:start]]), length)


def add_noise(waveform: Array, noise: Array, snr_db: float) -> Array:
    """Add noise, scaled so that 10 log10(signal power / noise power) over the waveform is `snr_db`.

    If the waveform or the noise is silent, there is no such ratio and the waveform is returned as it is.
    """
    signal, level = mean_power(waveform), mean_power(noise)
    if signal <= 0 or level <= 0:
        return waveform.copy()
    scaled = noise * np.float32(math.sqrt(signal / level) * 10 ** (-snr_db / 20))
    scaled += waveform
    return scaled


def apply_gain(waveform: Array, gain_db: float) -> Array:
    """Multiply the waveform by 10^(gain_db / 20); samples are not limited to 1."""
    return waveform * np.float32(10 ** (gain_db / 20))


def reverberate(waveform: Array, delays: Sequence[int], signs: Sequence[float], t60: float, wet: float) -> Array:
    """Convolve with a synthetic room response that falls by 60 dB in `t60` samples; the waveform keeps its power.

    The response is the product of m two-tap filters 1 + s_i g(d_i) z^-d_i with g(d) = 10^(-3 d / t60). The product
    has a tap of size g(D) at each of the 2^m sums D of delays, so its envelope is exactly exponential. It costs m
    passes over the waveform instead of 2^m or an FFT. Tap 0 is the direct sound; `wet` scales all others.

    Args:
        waveform: `(T,)`.
        delays: m delays in samples, 1 or more each.
        signs: m times +1 or -1.
        t60: Reverberation time in samples.
        wet: 0 (the waveform as it is) to 1.
    """
    length = len(waveform)
    room = waveform.copy()
    echo = np.empty_like(room)
    for delay, sign in zip(delays, signs, strict=True):
        if delay < length:
            np.multiply(room[:-delay], np.float32(sign * 10 ** (-3 * delay / t60)), out=echo[delay:])
            room[delay:] += echo[delay:]
    # waveform + wet * (room - waveform), in place
    room *= np.float32(wet)
    np.multiply(waveform, np.float32(1 - wet), out=echo)
    room += echo
    before, after = mean_power(waveform), mean_power(room)
    if after > 0:
        room *= np.float32(math.sqrt(before / after))
    return room


def samples_at_speed(samples: int, speed: float) -> int:
    """Return the length of `samples` samples after `change_speed` or `change_tempo`, 1 or more."""
    return max(1, round(samples / speed))


def change_speed(waveform: Array, speed: float) -> Array:
    """Play the waveform `speed` times as fast: shorter, and every frequency times `speed` (Ko et al., 2015).

    Tempo, pitch and formants change together, as with a tape. It is read with linear interpolation; frequencies above
    half the sampling rate / speed fold back.

    Args:
        waveform: `(T,)`.
        speed: Above 0; 1 leaves the waveform as it is.

    Returns:
        `(max(1, round(T / speed)),)`.

    Raises:
        ValueError: If `speed` is not above 0.
    """
    if not speed > 0:
        raise ValueError(f"speed is {speed}; allowed is above 0.")
    length = samples_at_speed(len(waveform), speed)
    if length == len(waveform):
        return waveform.copy()
    position = np.arange(length, dtype=np.float64) * speed
    return _read_positions(waveform, np.minimum(position, len(waveform) - 1, out=position))


def change_tempo(waveform: Array, tempo: float, sampling_rate: int = 16000) -> Array:
    """Speak `tempo` times as fast, with the same pitch and formants (Ko et al., 2015).

    As in `shift_pitch`, pieces of the waveform are laid one over the other, where its jumps sound slightly rough.

    Args:
        waveform: `(T,)`.
        tempo: Above 0; 1 leaves the waveform as it is.
        sampling_rate: Hz.

    Returns:
        `(max(1, round(T / tempo)),)`.

    Raises:
        ValueError: If `tempo` is not above 0.
    """
    if not tempo > 0:
        raise ValueError(f"tempo is {tempo}; allowed is above 0.")
    length = samples_at_speed(len(waveform), tempo)
    if abs(length - len(waveform)) < 2 or min(length, len(waveform)) < 4:
        return change_speed(waveform, tempo)  # too short for pieces
    return _at_length(waveform, 1 / tempo, length, sampling_rate)


def shift_pitch(waveform: Array, semitones: float, sampling_rate: int = 16000) -> Array:
    """Multiply every frequency by 2^(semitones / 12); length and speed stay the same.

    The waveform is read `ratio` times as fast, with linear interpolation, and the result is brought back to its length
    (`_at_length`). The first and the last sample stay in place. As in any such shifter, the jumps are not aligned to
    the periods of the voice, which sounds slightly rough, and frequencies above half the sampling rate / ratio fold
    back.

    Raises:
        ValueError: If `semitones` is outside -12..12.
    """
    if not -12 <= semitones <= 12:
        raise ValueError(f"semitones is {semitones}; allowed is -12..12.")
    length, ratio = len(waveform), 2.0 ** (semitones / 12)
    fast = _read_at(waveform, ratio)
    if abs(ratio - 1) * length < 1 or len(fast) < 2:
        return waveform.copy()
    return _at_length(fast, ratio, length, sampling_rate)


def _at_length(fast: Array, ratio: float, length: int, sampling_rate: int) -> Array:
    """Return a waveform, `ratio` times as long, with the frequencies that it has.

    It is read at its own speed. Before the reading position is `_DRIFT_S` away from the right place it jumps, with a
    short cross-fade: a delay line with two moving taps.

    Args:
        fast: `(T,)`, 2 or more.
        ratio: Not 1.
        length: Samples of the result, about `ratio` T.
        sampling_rate: Hz.
    """
    # Grain m covers output samples m * hop .. m * hop + hop + fade and reads `fast` from start[m] on.
    grain = min(int(_DRIFT_S * sampling_rate / abs(ratio - 1)), int(_MAX_GRAIN_S * sampling_rate), length // 2)
    grain = max(grain, 2)
    fade = min(int(_FADE_S * sampling_rate), grain // 2)
    hop = grain - fade
    count = max(1, math.ceil((length - fade) / hop))
    position = np.arange(count) * hop
    needed = np.minimum(grain, length - position)
    start = np.rint((position - (ratio - 1) * grain / 2) / ratio).astype(np.intp)  # drift is 0 in mid-grain
    start = np.maximum(np.minimum(start, len(fast) - needed), 0)
    start[-1] = max(len(fast) - needed[-1], 0)
    start[0] = 0
    padded = np.concatenate([fast, np.zeros(grain, dtype=np.float32)])
    grains = np.lib.stride_tricks.sliding_window_view(padded, grain)[start]
    rise = _fade_in(fade)
    grains[1:, :fade] *= rise
    grains[1:, :fade] += grains[:-1, hop:] * rise[::-1]
    out = np.empty((count * hop) + fade, dtype=np.float32)
    out[: count * hop].reshape(count, hop)[:] = grains[:, :hop]
    out[count * hop :] = grains[-1, hop:]
    return out[:length]


@lru_cache(maxsize=4)
def _fade_in(length: int) -> Array:
    """Return a raised cosine from 0 to 1; it and its mirror image sum to 1."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(length, 1))).astype(np.float32)


def _read_at(waveform: Array, ratio: float) -> Array:
    """Return `waveform(ratio * j)` for every j inside it, linearly interpolated."""
    position = np.arange(int((len(waveform) - 1) / ratio) + 1, dtype=np.float64)
    position *= ratio
    return _read_positions(waveform, position)


def _read_positions(waveform: Array, position: Array) -> Array:
    """Return the waveform at positions in samples, 0 to T - 1 in float64, linearly interpolated."""
    index = position.astype(np.intp)
    # Rounding may put the last position on the last sample, which has no right neighbour.
    np.minimum(index, max(len(waveform) - 2, 0), out=index)
    step = np.append(np.diff(waveform), np.float32(0))
    out = step.take(index)
    out *= np.subtract(position, index, dtype=np.float32, casting="same_kind")
    out += waveform.take(index)
    return out
