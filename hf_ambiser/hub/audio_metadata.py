"""Finds and leaves out what an audio file holds beside its samples: tags, pictures, bytes behind the end.

Such parts can hold a path, a name, a token or a pickle of the machine on which a recording was edited. Of WAV only the
chunks `fmt`, `fact` and `data` are samples, of FLAC only STREAMINFO and the frames.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import numpy as np


# Bytes of the description of samples in a WAV file, by its format: IMA ADPCM, GSM 6.10, G.721, extensible; the longest
# is that of MS ADPCM.
_FMT, _LONGEST_FMT = {0x11: 20, 0x31: 20, 0x40: 20, 0xFFFE: 40}, 50
_PLAIN = (1, 3, 6, 7)  # PCM, float, A-law and mu-law need no more than 16 bytes
# What the FLAC library writes into each file: its own name and no comment.
_VENDOR = re.compile(rb"reference libFLAC [0-9.]{1,12} [0-9]{8}")
_STREAMINFO, _PADDING, _COMMENTS = 0, 1, 4


class CannotSearch(ValueError):
    """Audio of a kind whose parts are not known here; `kind` is its format."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"audio of the kind {kind} may hold texts that cannot be searched")
        self.kind = kind


def beside_samples(data: bytes, frames: int | None = None) -> list[tuple[str, bytes]]:
    """List the parts of an audio file that are no samples, as (name of the part, its bytes).

    Args:
        data: The file.
        frames: How many samples a channel has, from somebody who has decoded the file; None: it is decoded.

    Raises:
        CannotSearch: If it is neither WAV nor FLAC.
        RuntimeError: If it is no audio (soundfile's error).
    """
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as file:
        kind = file.format
    start = _tags_before(data)
    parts = [("bytes before the start", data[:start])] if start else []
    rest = data[start:]
    if _is_wav(rest):
        return parts + _wav(rest)[1]
    if rest[:4] == b"fLaC":
        return parts + list(_flac(rest, frames))
    raise CannotSearch(kind)


def samples_only(data: bytes, frames: int | None = None) -> bytes:
    """Return audio with bit for bit the same samples and nothing beside them.

    Audio that has nothing beside them keeps its bytes. WAV loses its other chunks. FLAC is encoded again, which loses
    no sample. Other kinds are stored as FLAC or, where that is not exact (OGG, MP3: their samples are real numbers),
    as WAV of 32 or 64-bit floats, which is larger.

    Args:
        data: The file.
        frames: As for `beside_samples`.

    Raises:
        RuntimeError: If it is no audio (soundfile's error).
        ValueError: If the samples cannot be kept as they are.
    """
    rest = data[_tags_before(data) :]
    attempts = ["FLAC", "FLOAT", "DOUBLE"]
    try:
        if not beside_samples(data, frames):
            return data
        if _is_wav(rest):
            attempts.insert(0, "the chunks")
    except CannotSearch:
        pass
    want = _samples(data)
    for attempt in attempts:
        made = _wav(rest)[0] if attempt == "the chunks" else _written_again(data, attempt)
        if made is not None and _same(want, made):
            return made
    raise ValueError("its samples cannot be stored bit for bit without what stands beside them")


def _samples(data: bytes) -> tuple[np.ndarray, int]:
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float64", always_2d=True)
    return samples, rate


def _same(want: tuple[np.ndarray, int], made: bytes) -> bool:
    try:
        samples, rate = _samples(made)
    except RuntimeError:
        return False
    return rate == want[1] and np.array_equal(samples, want[0], equal_nan=True)


def _written_again(data: bytes, how: str) -> bytes | None:
    """Encode the samples as FLAC of their own width, or as WAV of floats; None if FLAC has no such width."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as file:
        width = file.subtype
    exact = how == "FLAC" and width in ("PCM_S8", "PCM_16", "PCM_24")
    if how == "FLAC" and not exact:
        return None
    # Not `file.read`: of an MP3 it gives other samples than `soundfile.read`, by which all our readers decode.
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int32" if exact else "float64", always_2d=True)
    sink = io.BytesIO()
    if exact:
        soundfile.write(sink, samples, rate, format="FLAC", subtype=width)
        return sink.getvalue()
    soundfile.write(sink, samples, rate, format="WAV", subtype=how)
    return _wav(sink.getvalue())[0]  # the library adds a chunk with the time of day


def _tags_before(data: bytes) -> int:
    """Return the number of bytes before the audio: ID3 tags, which players skip."""
    start = 0
    while data[start : start + 3] == b"ID3" and len(data) >= start + 10:
        size = 0
        for byte in data[start + 6 : start + 10]:  # seven bits each
            size = size << 7 | byte & 127
        start += 10 + size
    return start


# ---- WAV -----------------------------------------------------------------------------------------------------------


def _is_wav(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def _wav(data: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the file with the chunks of the samples alone, and everything else."""
    kept: dict[bytes, bytes] = {}
    parts: list[tuple[str, bytes]] = []
    at, end = 12, 8 + int.from_bytes(data[4:8], "little")
    while at < len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body, after = data[at + 8 : at + 8 + size], at + 8 + size + size % 2
        wanted = name in (b"fmt ", b"fact", b"data") and name not in kept
        if wanted and len(data) >= at + 8 and (name == b"data" or at < end):
            kept[name] = body[: _needed(name, body)]
            if extra := body[len(kept[name]) :]:
                parts.append((f"chunk {name.decode()}", extra))
            if padding := data[at + 8 + size : after].strip(b"\0"):
                parts.append((f"chunk {name.decode()}", padding))
        else:
            what = name.decode() if re.fullmatch(rb"[\w ]{4}", name) and at < end else ""
            parts.append((f"chunk {what}" if what else "bytes behind the end", data[at:after]))
        at = after
    body = b"".join(
        name + len(kept[name]).to_bytes(4, "little") + kept[name] + b"\0" * (len(kept[name]) % 2)
        for name in (b"fmt ", b"fact", b"data")
        if name in kept
    )
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WAVE" + body, parts


def _needed(name: bytes, body: bytes) -> int:
    """Return how many bytes of a chunk say something about the samples."""
    if name == b"data":
        return len(body)
    if name == b"fact":
        return 4
    form = int.from_bytes(body[:2], "little")
    if form in _PLAIN:
        return 18 if body[16:18] == b"\0\0" else 16
    return _FMT.get(form, _LONGEST_FMT)


# ---- FLAC ----------------------------------------------------------------------------------------------------------


def _flac(data: bytes, frames: int | None) -> Iterator[tuple[str, bytes]]:
    at, last = 4, False
    while not last and at + 4 <= len(data):
        kind, last = data[at] & 127, bool(data[at] & 128)
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        body = data[at + 4 : at + 4 + size]
        if not _is_plain(kind, body):
            yield f"block {kind}", body
        at += 4 + size
    end = _end_of_frames(data, at, len(_samples(data)[0]) if frames is None else frames)
    if end < len(data):
        yield "bytes behind the end", data[end:]


def _is_plain(kind: int, body: bytes) -> bool:
    """Whether a block can hold nothing that somebody wrote."""
    if kind == _COMMENTS:
        size = int.from_bytes(body[:4], "little")
        return body[4 + size :] == b"\0\0\0\0" and _VENDOR.fullmatch(body[4 : 4 + size]) is not None
    return (kind == _STREAMINFO and len(body) == 34) or (kind == _PADDING and not body.strip(b"\0"))


def _end_of_frames(data: bytes, start: int, n: int) -> int:
    """Return where the last frame ends: up to there a reader needs every byte to decode `n` samples."""

    def whole(end: int) -> bool:
        try:
            return len(_samples(data[:end])[0]) == n
        except RuntimeError:
            return False

    if not whole(len(data) - 1):
        return len(data)
    low, high = start, len(data) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if whole(middle) else (middle + 1, high)
    return high
