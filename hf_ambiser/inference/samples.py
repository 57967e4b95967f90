"""The one rule for samples: integers become floats of full scale 1, channels are averaged, the rest is refused."""

from __future__ import annotations

import numpy as np

from hf_ambiser.data.audio import are_whole, off_scale
from hf_ambiser.inference.no_audio import NoAudio


_PCM = {"int8": (0, 2**7), "uint8": (2**7, 2**7), "int16": (0, 2**15), "int32": (0, 2**31)}
# What has more is taken for samples along the other axis, whose average over time would be no sound.
MOST_CHANNELS = 32
# With more rows, (channels, samples) is more probably a stack of utterances, whose average would be no sound.
_MOST_ROWS = 2
_CURE = "allowed: floating point in [-1, 1], or PCM of type int8, uint8, int16 or int32"


def as_mono(samples: np.ndarray) -> np.ndarray:
    """Turn samples into `(T,)` float32 of full scale 1.

    Args:
        samples: `(T,)` or `(T, channels)`, floating point or PCM integers.

    Raises:
        NoAudio: If they are of another type, NaN, infinite or far above full scale.
    """
    kind = samples.dtype.name
    if kind in _PCM:
        middle, scale = _PCM[kind]
        samples = (samples.astype(np.float32) - middle) / scale
    elif samples.dtype.kind != "f":
        raise NoAudio("invalid", f"its samples are of type {kind}; {_CURE}")
    bad = int((~np.isfinite(samples)).sum())
    if bad:
        raise NoAudio("invalid", f"{bad} of {samples.size} samples are NaN or infinite")
    peak = float(np.abs(samples).max(initial=0.0))
    if wrong := off_scale(peak, peak > 1 and are_whole(samples)):
        raise NoAudio("invalid", f"{wrong}. Divide 16-bit integers by 32768 first")
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    return np.ascontiguousarray(mono, dtype=np.float32)


def channels_last(array: np.ndarray) -> np.ndarray:
    """Turn an array `(T,)`, `(T, channels)` or `(channels, T)` into one of the first two forms.

    The shorter axis is that of the channels. `(channels, T)` may have one or two: a stack of N utterances has the same
    form, and must not become one recording.

    Raises:
        NoAudio: If the array has another form, both axes are as long, or it may be a stack of utterances.
    """
    if array.ndim == 1:
        return array
    if array.ndim != 2 or array.shape[0] == array.shape[1] or array.size == 0:
        raise NoAudio(
            "invalid",
            f"its array has shape {array.shape}; allowed: (samples,), (samples, channels) or (channels, samples)",
        )
    rows, columns = array.shape
    if _MOST_ROWS < rows < columns:
        raise NoAudio(
            "invalid",
            f"its array has shape {array.shape}, which may be {rows} recordings or {rows} channels of one. Give"
            " recordings as a list, `list(array)`, and channels as (samples, channels), `array.T`",
        )
    if min(rows, columns) > MOST_CHANNELS:
        raise NoAudio(
            "invalid", f"its array has shape {array.shape}; allowed: at most {MOST_CHANNELS} channels, beside samples"
        )
    return array if rows > columns else array.T
