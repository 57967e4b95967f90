"""Check and convert the audio of utterances; `corpus_rows` uses it to build data sets.

Audio that is already 16 kHz mono keeps its samples bit for bit, and loses what its file holds beside them (tags,
pictures, bytes behind the end). Other audio is converted (channels averaged, resampled) and stored as 16-bit FLAC.
Audio that cannot be used gives an `AudioProblem` with one of the reasons in `schema.REASONS`; nothing is guessed or
repaired.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hf_ambiser.data.cut_short import missing_samples
from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.hub.audio_metadata import samples_only


# Audio whose peak is lower (-80 dB of full scale, about three steps of 16-bit audio) holds only dither, no speech.
SILENCE_PEAK = 1e-4
# A hot recording may pass full scale by some dB. What is 30 dB above it is on another scale, mostly that of integers.
LOUDEST = 32.0
MIN_DURATION = 0.1  # seconds

RESAMPLED = "resampled"
DOWNMIXED = "averaged to mono"


@dataclass(frozen=True)
class AudioProblem:
    """Why the audio of an utterance cannot be used: a key of `schema.REASONS`, and details."""

    reason: str
    detail: str


@dataclass(frozen=True)
class CheckedAudio:
    """The usable audio of one utterance.

    Args:
        data: Encoded bytes to store: the original samples, or 16-bit FLAC after a conversion.
        suffix: File ending that fits `data`, with its dot.
        duration: Seconds.
        conversions: Which of `RESAMPLED` and `DOWNMIXED` were done; empty if the samples are the original ones.
        detail: The same in words, e.g. `44100 Hz to 16000 Hz`; empty if nothing was done.
        stripped: Whether the file held something beside its samples, which `data` does not hold.
        samples: `(T,)` float32 at 16 kHz, before they are stored with 16 bits if they were converted.
    """

    data: bytes
    suffix: str
    duration: float
    conversions: tuple[str, ...] = ()
    detail: str = ""
    stripped: bool = False
    samples: np.ndarray | None = field(default=None, compare=False, repr=False)


def inspect_audio(
    source: bytes | Path | str, min_duration: float = MIN_DURATION, keep_metadata: bool = False
) -> CheckedAudio | AudioProblem:
    """Decode and check the audio of one utterance, and convert it to 16 kHz mono if it has another form.

    These problems are found: `unreadable_audio` (no such file, soundfile cannot decode it, or a WAV or AIFF file was
    cut short), `empty_audio` (no sample), `invalid_audio` (NaN or infinity), `silent_audio` (peak under `SILENCE_PEAK`
    in every channel, or in their mean), `too_short_audio` (under `min_duration` seconds). Several channels are
    averaged; another sampling rate is changed by `torchaudio.functional.resample`.

    Args:
        source: The encoded bytes, or the path of the file.
        min_duration: Shortest usable duration in seconds.
        keep_metadata: Whether audio that needs no conversion keeps its bytes, with all that they hold.

    Returns:
        The audio to store, or the first problem that was found.
    """
    import soundfile

    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        if not data:
            return AudioProblem("unreadable_audio", "the file is empty (0 bytes)")
        if cut := missing_samples(io.BytesIO(data)):
            return AudioProblem("unreadable_audio", cut)
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, kind = file.samplerate, file.format
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:  # its text holds an address in memory, another one in each build
        return AudioProblem("unreadable_audio", f"libsndfile cannot read it ({error.error_string.strip(' .')})")
    except (OSError, RuntimeError) as error:
        return AudioProblem("unreadable_audio", str(error))

    if len(samples) == 0:
        return AudioProblem("empty_audio", "0 samples")
    bad = int((~np.isfinite(samples)).sum())
    if bad:
        return AudioProblem("invalid_audio", f"{bad} of {samples.size} samples are NaN or infinite")
    peak = float(np.abs(samples).max())
    if peak > LOUDEST:
        return AudioProblem("invalid_audio", f"its samples reach {peak:.4g}, and full scale is 1")
    if peak < SILENCE_PEAK:
        return AudioProblem("silent_audio", f"peak {peak:.1e} is below {SILENCE_PEAK:.0e} of full scale")
    duration = len(samples) / rate
    if duration < min_duration:
        return AudioProblem("too_short_audio", f"{duration:.3f} s is below {min_duration} s")

    channels = samples.shape[1]
    if channels == 1 and rate == SAMPLING_RATE:
        suffix = Path(source).suffix.lower() if not isinstance(source, bytes) else f".{kind.lower()}"
        try:
            stored = data if keep_metadata else samples_only(data, len(samples))
        except (RuntimeError, ValueError) as error:
            return AudioProblem("unreadable_audio", str(error))
        if stored != data and stored[:4] != data[:4]:
            suffix = ".flac" if stored[:4] == b"fLaC" else ".wav"
        return CheckedAudio(stored, suffix, duration, stripped=stored != data, samples=samples[:, 0])
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
    data, duration = encode_flac(mono), len(mono) / SAMPLING_RATE
    return CheckedAudio(data, ".flac", duration, tuple(conversions), ", ".join(details), samples=mono)


def decode(data: bytes, what: str = "audio") -> np.ndarray:
    """Decode the stored audio of one utterance (a row's `audio["bytes"]`): `(T,)` float32 in [-1, 1] at 16 kHz.

    Args:
        data: The encoded bytes.
        what: What a message calls them.

    Raises:
        ValueError: If they cannot be decoded, or are not 16 kHz mono; a built data set holds no such audio.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, TypeError) as error:  # None, or what is no audio any more
        raise ValueError(
            f"{what} cannot be decoded ({getattr(error, 'error_string', error)}), so its data set is spoilt. Restore"
            " it from a copy, or build it again (--overwrite)."
        ) from error
    if rate != SAMPLING_RATE or samples.shape[1] != 1:
        raise ValueError(
            f"{what} has {samples.shape[1]} channel(s) at {rate} Hz, expected 1 at {SAMPLING_RATE} Hz. Build the data"
            " set with `hf-ambiser build`, or convert the audio with hf_ambiser.data.audio.inspect_audio first."
        )
    return np.ascontiguousarray(samples[:, 0])


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample `(T,)` at `rate` Hz to `(T * 16000 / rate,)` float32 at 16 kHz."""
    # Imported here: torchaudio fails beside a torch that it was not built for, and most corpora do not need it.
    import torch
    from torchaudio.functional import resample as torch_resample

    wave = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    return torch_resample(wave, rate, SAMPLING_RATE).numpy()


def encode_flac(samples: np.ndarray) -> bytes:
    """Encode mono `(T,)` at 16 kHz as 16-bit FLAC; values beyond full scale (resampling overshoots) are cut off."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1.0, 1.0), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
