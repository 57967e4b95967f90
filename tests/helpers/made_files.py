"""Made audio files of every container that libsndfile writes, and what may be wrong with them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import soundfile


# Ending, format, subtype. Tests of cut files use all of them.
KINDS = (
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAVEX", "PCM_24"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "IMA_ADPCM"),
    ("wav", "WAV", "MS_ADPCM"),
    ("wav", "WAV", "GSM610"),
    ("wav", "WAV", "ULAW"),
    ("wav", "RF64", "PCM_16"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
    ("au", "AU", "G721_32"),
    ("w64", "W64", "PCM_16"),
    ("caf", "CAF", "ALAC_16"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
)
NAMES = [f"{form}-{subtype}" for _, form, subtype in KINDS]


def sound(seconds: float = 0.5, rate: int = 16000, channels: int = 1, seed: int = 0) -> np.ndarray:
    """A tone with noise, `(T, channels)` float32 with a peak near 0.4."""
    t = np.arange(round(seconds * rate))[:, None] / rate
    noise = np.random.default_rng(seed).normal(size=(len(t), channels))
    return (0.3 * np.sin(2 * np.pi * 220 * t) + 0.02 * noise).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = 16000, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def flac_that_promises(data: bytes, samples: int) -> bytes:
    """Write another number of samples, of 36 bits, into a FLAC file."""
    field = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return data[:18] + field.to_bytes(8, "big") + data[26:]


def mp3_that_promises(data: bytes, frames: int) -> bytes:
    """Write another number of frames into the Xing header of an MP3 file."""
    at = max(data.find(b"Xing"), data.find(b"Info"))
    assert at > 0
    return data[: at + 8] + frames.to_bytes(4, "big") + data[at + 12 :]


def faults(data: bytes, form: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name of a fault and the file that has it."""
    for share in (0.0, 0.003, 0.05, 0.4, 0.7, 0.97):
        yield f"cut at {share}", data[: int(len(data) * share)]
    middle = len(data) // 2
    yield "zeros in the middle", data[:middle] + bytes(300) + data[middle + 300 :]
    yield "a hole", data[:middle] + data[middle + 301 :]
    yield "noise in the head", data[:4] + np.random.default_rng(1).bytes(40) + data[44:]
    yield "twice", data + data
    yield "text", b"version https://git-lfs.github.com/spec/v1\n"
    if form == "FLAC":
        for samples in (0, 1, 1000, 7999, 8001, 2**35, 2**36 - 1):
            yield f"promises {samples}", flac_that_promises(data, samples)
    if form == "MP3":
        for frames in (0, 1, 5, 1000, 2**31, 2**32 - 1):
            yield f"promises {frames}", mp3_that_promises(data, frames)
