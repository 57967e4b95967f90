"""Reading and checking audio: what is listed, what is converted, what is left exactly as it came.

A clip that is already 16 kHz mono keeps its original bytes. Any other is converted (channels averaged, resampled) and
stored as 16-bit FLAC. A clip that cannot be used comes back as an `AudioProblem` with one of the reasons of
`schema.REASONS`; nothing is guessed or repaired.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ambiser.data.schema import SAMPLING_RATE


# Below this peak (-80 dB of full scale, about three steps of 16-bit audio) there is no speech, only dither.
SILENCE_PEAK = 1e-4
MIN_DURATION = 0.1  # seconds

RESAMPLED = "resampled"
DOWNMIXED = "averaged to mono"


@dataclass(frozen=True)
class AudioProblem:
    """Why a clip cannot be used: a key of `schema.REASONS` and the particulars."""

    reason: str
    detail: str


@dataclass(frozen=True)
class CheckedAudio:
    """A usable clip.

    Args:
        data: Encoded bytes to store: the original ones, or 16-bit FLAC when converted.
        suffix: File ending that fits `data`, with its dot.
        duration: Seconds.
        conversions: What was done, of `RESAMPLED` and `DOWNMIXED`; empty when the bytes are the original ones.
        detail: The same in words, e.g. `44100 Hz to 16000 Hz`; empty when nothing was done.
    """

    data: bytes
    suffix: str
    duration: float
    conversions: tuple[str, ...] = ()
    detail: str = ""


def inspect_audio(source: bytes | Path | str, min_duration: float = MIN_DURATION) -> CheckedAudio | AudioProblem:
    """Decode, check and, where needed, convert one clip.

    Listed: `unreadable_audio` (no such file, or soundfile cannot decode it), `empty_audio` (no sample),
    `invalid_audio` (NaN or infinity), `silent_audio` (peak under `SILENCE_PEAK` in every channel),
    `too_short_audio` (under `min_duration` seconds). Converted: more than one channel (averaged), another rate than
    16 kHz (`torchaudio.functional.resample`).

    Args:
        source: The encoded file or its path.
        min_duration: Shortest usable clip in seconds.
    """
    import soundfile

    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        if not data:
            return AudioProblem("unreadable_audio", "the file is empty (0 bytes)")
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, kind = file.samplerate, file.format
            samples = file.read(dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:  # soundfile's errors are RuntimeErrors
        return AudioProblem("unreadable_audio", str(error))

    if len(samples) == 0:
        return AudioProblem("empty_audio", "0 samples")
    bad = int((~np.isfinite(samples)).sum())
    if bad:
        return AudioProblem("invalid_audio", f"{bad} of {samples.size} samples are NaN or infinite")
    peak = float(np.abs(samples).max())
    if peak < SILENCE_PEAK:
        return AudioProblem("silent_audio", f"peak {peak:.1e} is below {SILENCE_PEAK:.0e} of full scale")
    duration = len(samples) / rate
    if duration < min_duration:
        return AudioProblem("too_short_audio", f"{duration:.3f} s is below {min_duration} s")

    channels = samples.shape[1]
    if channels == 1 and rate == SAMPLING_RATE:
        suffix = Path(source).suffix.lower() if not isinstance(source, bytes) else f".{kind.lower()}"
        return CheckedAudio(data, suffix, duration)
    conversions, details = [], []
    mono = samples.mean(axis=1)
    if channels > 1:
        conversions.append(DOWNMIXED)
        details.append(f"{channels} channels to 1")
        if float(np.abs(mono).max()) < SILENCE_PEAK:
            return AudioProblem("silent_audio", f"the mean of its {channels} channels is silent")
    if rate != SAMPLING_RATE:
        conversions.append(RESAMPLED)
        details.append(f"{rate} Hz to {SAMPLING_RATE} Hz")
        mono = resample(mono, rate)
    return CheckedAudio(encode_flac(mono), ".flac", len(mono) / SAMPLING_RATE, tuple(conversions), ", ".join(details))


def decode(data: bytes) -> np.ndarray:
    """Samples `(T,)` float32 in [-1, 1] at 16 kHz of one stored clip (a row's `audio["bytes"]`).

    Raises:
        ValueError: If the clip is not 16 kHz mono, which no built data set holds.
    """
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    if rate != SAMPLING_RATE or samples.shape[1] != 1:
        raise ValueError(
            f"audio has {samples.shape[1]} channel(s) at {rate} Hz, expected 1 at {SAMPLING_RATE} Hz. Build the data"
            " set with `hf-ambiser build`, or convert the clip with hf_ambiser.data.audio.inspect_audio first."
        )
    return np.ascontiguousarray(samples[:, 0])


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """`(T,)` at `rate` Hz to `(T * 16000 / rate,)` float32."""
    # Late: importing torchaudio beside a torch it was not built for fails, and most corpora need no resampling.
    import torch
    from torchaudio.functional import resample as torch_resample

    wave = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    return torch_resample(wave, rate, SAMPLING_RATE).numpy()


def encode_flac(samples: np.ndarray) -> bytes:
    """Mono `(T,)` at 16 kHz as 16-bit FLAC; values beyond full scale (resampling overshoots) are clipped."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1.0, 1.0), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
