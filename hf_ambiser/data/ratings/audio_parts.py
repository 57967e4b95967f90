"""A part of a recording as an utterance: tables and annotations on a time line name it by its start and end."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from hf_ambiser.data.audio import AudioProblem
from hf_ambiser.data.cut_short import missing_samples


# An end may be behind the recording's by this much (seconds), because programs round; it is then the recording's.
_SLACK = 0.05
# Kind of samples -> how they are read and stored without a change. All others are stored as 32-bit float.
_EXACT = {"PCM_S8": ("int16", "PCM_16"), "PCM_U8": ("int16", "PCM_16"), "PCM_16": ("int16", "PCM_16")}
_EXACT |= {"PCM_24": ("int32", "PCM_24")}
_FLAC_CHANNELS = 8


@dataclass(frozen=True)
class Recording:
    """What the header of a recording says: seconds, or why it cannot be read."""

    path: Path
    seconds: float = 0.0
    problem: str = ""

    @classmethod
    def of(cls, path: Path) -> Recording:
        """Read the header."""
        import soundfile

        try:
            with path.open("rb") as file:
                if cut := missing_samples(file):
                    return cls(path, problem=cut)
            about = soundfile.info(path)
        except soundfile.LibsndfileError as error:
            return cls(path, problem=f"libsndfile cannot read it ({error.error_string.strip(' .')})")
        except OSError as error:
            return cls(path, problem=f"it cannot be read ({error.strerror})")
        return cls(path, about.frames / about.samplerate)


@dataclass(frozen=True)
class Part:
    """A part of a recording.

    Args:
        path: The recording.
        start: Its begin in seconds.
        end: Its end in seconds.
    """

    path: Path
    start: float
    end: float

    @property
    def suffix(self) -> str:
        """What its utterance's id has behind the recording's: start and end in milliseconds."""
        return f"_{round(self.start * 1000):08d}_{round(self.end * 1000):08d}"

    def read(self) -> bytes | AudioProblem:
        """Return the samples of the part, at the rate and with the channels of its recording, encoded."""
        import soundfile

        try:
            with soundfile.SoundFile(self.path) as file:
                first, last = round(self.start * file.samplerate), round(self.end * file.samplerate)
                dtype, subtype = _EXACT.get(file.subtype, ("float32", "FLOAT"))
                file.seek(min(first, file.frames))
                samples = file.read(last - first, dtype=dtype, always_2d=True)
                rate, channels = file.samplerate, file.channels
        except soundfile.LibsndfileError as error:
            return AudioProblem("unreadable_audio", f"libsndfile cannot read it ({error.error_string.strip(' .')})")
        except OSError as error:
            return AudioProblem("unreadable_audio", f"it cannot be read ({error.strerror})")
        if len(samples) < last - first - _SLACK * rate:
            return AudioProblem("unreadable_audio", f"of {last - first} samples of the part, {len(samples)} are there")
        out = io.BytesIO()
        kind = "FLAC" if subtype != "FLOAT" and channels <= _FLAC_CHANNELS else "WAV"
        soundfile.write(out, samples, rate, format=kind, subtype=subtype)
        return out.getvalue()


def part_of(recording: Recording, start: str, end: str) -> Part | str | None:
    """Return the part that a row names, why there is none, or None: it is the whole recording."""
    seconds = [_seconds(text) for text in (start, end)]
    first, last = seconds
    if first is None or last is None:
        return f"start {start[:30]!r} and end {end[:30]!r} must both be seconds, from 0"
    if first >= last:
        return f"it starts at {first:g} s and ends at {last:g} s"
    if last > recording.seconds + _SLACK:
        return f"it ends at {last:.3f} s, and the recording at {recording.seconds:.3f} s"
    last = min(last, recording.seconds)
    if first >= last:
        return f"it starts at {first:.3f} s, where the recording ends"
    return Part(recording.path, first, last) if first or last < recording.seconds - 1e-3 else None


def _seconds(text: str) -> float | None:
    if not re.fullmatch(r"\d{1,9}(?:\.\d*)?(?:[eE]-?\d{1,2})?", text, re.ASCII):
        return None
    return value if math.isfinite(value := float(text)) else None
