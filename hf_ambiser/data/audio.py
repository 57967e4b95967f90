"""Check and convert the audio of utterances; `corpus_rows` uses it to build data sets.

Audio that is already 16 kHz mono keeps its samples bit for bit, and loses what its file holds beside them (tags,
pictures, bytes behind the end). Other audio is converted (channels averaged, resampled) and stored as 16-bit FLAC.
Audio that cannot be used gives an `AudioProblem` with one of the reasons in `schema.REASONS`; nothing is guessed or
repaired. No file ends a build: what a header says is never relied on, and no file needs more than bounded memory.
"""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hf_ambiser.data.cut_short import length_of
from hf_ambiser.data.cut_short.flac import with_length
from hf_ambiser.data.resampling import by_torchaudio, resample
from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.data.sound_file import HIGHEST, LOWEST, NotWhole, SoundFile, words
from hf_ambiser.hub.audio_metadata import samples_only


# Audio whose peak is lower (-80 dB of full scale, about three steps of 16-bit audio) holds only dither, no speech.
SILENCE_PEAK = 1e-4
# A hot recording may pass full scale by some dB. What is 30 dB above it is on another scale, mostly that of integers.
LOUDEST = 32.0
LARGEST_SAMPLE = 2.0**31  # older data sets may be on the scale of integers, which some models put right
MIN_DURATION = 0.1  # seconds
# Samples of a channel, before and after resampling: 2.3 h at 16 kHz. An utterance is in memory as a whole.
LONGEST = 2**27
LARGEST = 2**30  # bytes of a file

RESAMPLED = "resampled"
RESAMPLED_BY_SOXR = "resampled by libsoxr"
DOWNMIXED = "averaged to mono"
CLIPPED = "cut off at full scale"


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
        conversions: Which of `RESAMPLED`, `RESAMPLED_BY_SOXR`, `DOWNMIXED` and `CLIPPED` were done; empty if the
            samples are the original ones.
        detail: The same in words, e.g. `44100 Hz to 16000 Hz`; empty if nothing was done.
        stripped: Whether the file held something beside its samples, which `data` does not hold.
        samples: `(T,)` float32 at 16 kHz, before they are stored with 16 bits if they were converted.
        length_known: Whether the file says how long it is, so that it would be known if it were cut short.
        length_written: Whether `data` says how many samples it has, and the file (FLAC) did not.
    """

    data: bytes
    suffix: str
    duration: float
    conversions: tuple[str, ...] = ()
    detail: str = ""
    stripped: bool = False
    samples: np.ndarray | None = field(default=None, compare=False, repr=False)
    length_known: bool = True
    length_written: bool = False


class _Unusable(Exception):
    """Raised with the key of `schema.REASONS` and the details of an `AudioProblem`."""


def inspect_audio(
    source: bytes | Path | str, min_duration: float = MIN_DURATION, keep_metadata: bool = False
) -> CheckedAudio | AudioProblem:
    """Decode and check the audio of one utterance, and convert it to 16 kHz mono if it has another form.

    These problems are found: `unreadable_audio` (no such file, no regular file, one of more than `LARGEST` bytes,
    soundfile cannot decode it, or it was cut short), `empty_audio` (no sample), `invalid_audio` (NaN or infinity,
    samples far above full scale or in whole numbers, a sampling rate outside 2 to 768 kHz), `silent_audio` (peak under
    `SILENCE_PEAK` in every channel, or in their mean), `too_short_audio` (under `min_duration` seconds),
    `too_long_audio` (more than `LONGEST` samples of a channel). Several channels are averaged; another sampling rate
    is changed (`resampling.resample`).

    Args:
        source: The encoded bytes, or the path of the file.
        min_duration: Shortest usable duration in seconds.
        keep_metadata: Whether audio that needs no conversion keeps its bytes, with all that they hold.

    Returns:
        The audio to store, or the first problem that was found. Its details are the same in each build: no path, no
        address in memory.
    """
    import soundfile

    try:
        if isinstance(source, bytes):
            return _inspected(source, None, min_duration, keep_metadata)
        path = Path(source)
        return _inspected(_bytes_of(path), path.suffix.lower(), min_duration, keep_metadata)
    except _Unusable as problem:
        return AudioProblem(*problem.args)
    except NotWhole as error:
        return AudioProblem("unreadable_audio", str(error))
    except soundfile.LibsndfileError as error:
        return AudioProblem("unreadable_audio", f"libsndfile cannot read it ({words(error)})")
    except MemoryError:
        return AudioProblem("unreadable_audio", "it needs more memory than there is")
    except (OSError, RuntimeError, ValueError) as error:
        return AudioProblem("unreadable_audio", words(error))


def _bytes_of(path: Path) -> bytes:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for, a device has no end
        raise _Unusable("unreadable_audio", "it is no regular file, but a folder, a pipe or a device")
    if about.st_size > LARGEST:
        raise _Unusable("unreadable_audio", f"the file has {about.st_size} bytes; allowed: at most {LARGEST}")
    return path.read_bytes()


def _inspected(given: bytes, suffix: str | None, min_duration: float, keep_metadata: bool) -> CheckedAudio:
    data = given
    if not data:
        raise _Unusable("unreadable_audio", "the file is empty (0 bytes)")
    length = length_of(io.BytesIO(data))
    if length.missing:
        raise _Unusable("unreadable_audio", length.missing)
    with SoundFile(io.BytesIO(data), length) as file:
        rate, channels, kind = file.rate, file.channels, file.kind
        mono, peak = _mono(file)
    duration = len(mono) / rate
    if duration < min_duration:
        raise _Unusable("too_short_audio", f"{duration:.3f} s is below {min_duration} s")

    if channels == 1 and rate == SAMPLING_RATE:
        if length_missing := length.flac_at >= 0 and not file.promised:
            data = with_length(data, length.flac_at, len(mono))  # readers of the data set believe what it says
        stored = data if keep_metadata else _samples_only(data, len(mono))
        if stored[:4] != given[:4]:
            suffix = ".flac" if stored[:4] == b"fLaC" else ".wav"
        elif suffix is None:
            suffix = f".{kind.lower()}"
        return CheckedAudio(
            stored, suffix, duration, stripped=stored != data, samples=mono, length_known=length.known,
            length_written=length_missing,
        )  # fmt: skip
    conversions, details = [], []
    if channels > 1:
        conversions.append(DOWNMIXED)
        details.append(f"{channels} channels to 1")
        if float(np.abs(mono).max()) < SILENCE_PEAK:
            raise _Unusable("silent_audio", f"the mean of its {channels} channels is silent")
    if rate != SAMPLING_RATE:
        conversions.append(RESAMPLED if by_torchaudio(rate) else RESAMPLED_BY_SOXR)
        details.append(f"{rate} Hz to {SAMPLING_RATE} Hz")
        mono = resample(mono, rate)
    if peak > 1 and (reached := float(np.abs(mono).max(initial=0.0))) > 1:
        conversions.append(CLIPPED)
        details.append(f"{reached:.3g} times full scale to 1")
    data, duration = encode_flac(mono), len(mono) / SAMPLING_RATE
    return CheckedAudio(
        data, ".flac", duration, tuple(conversions), ", ".join(details), samples=mono, length_known=length.known
    )


def _mono(file: SoundFile) -> tuple[np.ndarray, float]:
    """Return all samples `(T,)`, the mean of the channels, and the peak over the channels."""
    if not LOWEST <= file.rate <= HIGHEST:
        raise _Unusable("invalid_audio", f"its sampling rate is {file.rate} Hz; allowed: {LOWEST} to {HIGHEST} Hz")
    blocks: list[np.ndarray] = []
    bad, peak, whole = 0, 0.0, True
    for block in file.blocks():
        if max(file.read, file.read * SAMPLING_RATE / file.rate) > LONGEST:
            minutes = LONGEST / max(file.rate, SAMPLING_RATE) / 60
            raise _Unusable("too_long_audio", f"it is longer than {minutes:.0f} min")
        with np.errstate(all="ignore"):  # of what is listed below
            bad += int((~np.isfinite(block)).sum())
            peak = max(peak, float(np.abs(block).max()))
            whole = whole and are_whole(block)
            blocks.append(block[:, 0] if file.channels == 1 else block.mean(axis=1))
    if not file.read:
        raise _Unusable("empty_audio", "0 samples")
    if bad:
        samples = file.read * file.channels
        raise _Unusable("invalid_audio", f"{bad} of {samples} samples are NaN or infinite")
    if wrong := off_scale(peak, whole):
        raise _Unusable("invalid_audio", wrong)
    if peak < SILENCE_PEAK:
        raise _Unusable("silent_audio", f"peak {peak:.1e} is below {SILENCE_PEAK:.0e} of full scale")
    return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks)), peak


def are_whole(samples: np.ndarray) -> bool:
    """Whether all samples are whole numbers, as those of silence and of integers that became floats are."""
    return bool((samples == np.rint(samples)).all())


def off_scale(peak: float, whole: bool) -> str:
    """Say why samples are on another scale than that of full scale 1, mostly on that of integers; "" if they are not.

    Args:
        peak: The largest absolute value.
        whole: Whether they are whole numbers alone.
    """
    if peak > LOUDEST:
        return f"its samples reach {peak:.4g}, and full scale is 1"
    if peak > 1 and whole:
        return f"its samples are whole numbers up to {peak:.4g}, and full scale is 1"
    return ""


def _samples_only(data: bytes, samples: int) -> bytes:
    try:
        return samples_only(data, samples)
    except ValueError as error:
        raise _Unusable("unreadable_audio", str(error)) from None


def decode(data: bytes, what: str = "audio") -> np.ndarray:
    """Decode the stored audio of one utterance (a row's `audio["bytes"]`): `(T,)` float32 in [-1, 1] at 16 kHz.

    Args:
        data: The encoded bytes.
        what: What a message calls them.

    Raises:
        ValueError: If they cannot be decoded, are not 16 kHz mono, or hold NaN, infinity or samples above any scale of
            integers; a data set that is built now holds no such audio.
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
    if not float(np.abs(samples).max(initial=0.0)) <= LARGEST_SAMPLE:  # also NaN
        raise ValueError(
            f"{what} holds samples that are NaN, infinite or above {LARGEST_SAMPLE:.0f}, and full scale is 1. Build"
            " the data set again; `hf-ambiser build` lists such audio."
        )
    return np.ascontiguousarray(samples[:, 0])


def encode_flac(samples: np.ndarray) -> bytes:
    """Encode mono `(T,)` at 16 kHz as 16-bit FLAC; values beyond full scale (resampling overshoots) are cut off."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1.0, 1.0), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
