"""MP3: a Xing, Info or VBRI header says how many frames follow it, and each frame says how long it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from hf_ambiser.data.cut_short.length import UNKNOWN, Length


# kbit/s by the index in a frame's head, for (MPEG 1, layer) and the lower rates of MPEG 2 and 2.5.
_KBITS = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)
_BEHIND = (b"TAG", b"APETAGEX", b"LYRICS", b"ID3")  # tags that may stand behind the last frame
# libsndfile reckons the length of a file without a header from its size, and may stop some frames early.
_SLACK = 3
# Samples that a header may say do not belong to the recording: 12 bits each before and behind it, and a decoder's own.
_GAPS = 2 * 4095 + 529


@dataclass(frozen=True)
class _Frame:
    """The head of a frame: its length in bytes, its samples, and what all frames of a file have in common."""

    size: int
    samples: int
    kind: tuple[int, int, int]
    mono: bool


def length_of_mp3(file: IO[bytes], start: int, end: int) -> Length:
    """Compare the frames that a header promises with those that are there; without a header, look at the last frame.

    Without a header, a file that was cut between two frames cannot be told from a whole one.

    Returns:
        `UNKNOWN` if the file does not begin with a frame, its bit rate is free, or something else stands between its
        frames.
    """
    file.seek(start)
    first = _frame(file.read(4))
    if first is None:
        return UNKNOWN
    file.seek(start)
    promised = _promised(file.read(min(first.size, 256)), first)
    there, cut, clean = 0, False, True
    for what in _walk(file, start, end, first):
        there += what == "frame"
        cut |= what == "cut"
        clean &= what != "other"
    if promised is None:
        if cut:
            return Length(f"it was cut short: the last of its {there + 1} frames is not whole")
        return Length(known=False, least=max(0, there - _SLACK) * first.samples if clean else 0)
    there -= 1  # the header stands in a frame of its own
    if cut and promised > there:
        return Length(f"it was cut short: its header promises {promised} frames, and {there} whole ones are there")
    if clean and promised > there + 1:  # some writers count the header in, or begin to count at zero
        return Length(f"it was cut short: its header promises {promised} frames, and {there} are there")
    if clean and promised < there - 1:
        return Length(f"not all of it would be read: its header promises {promised} frames, and {there} are there")
    if clean and promised > there:
        return Length(least=max(0, there * first.samples - _GAPS))
    return Length(known=clean)


def _walk(file: IO[bytes], at: int, end: int, first: _Frame) -> Iterator[str]:
    """Yield `frame` for each whole frame, `cut` for one that goes on behind the end, `other` for what is none."""
    while end - at >= 4:
        file.seek(at)
        head = file.read(8)
        frame = _frame(head)
        if frame is None or frame.kind != first.kind:
            if not head.startswith(_BEHIND) and head.strip(b"\0"):
                yield "other"
            return
        if at + frame.size > end:
            yield "cut"
            return
        yield "frame"
        at += frame.size


def _frame(head: bytes) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, speed, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or speed == 3:
        return None
    mpeg1 = version == 3
    rate = _RATES[speed] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 1152 if layer == 2 or mpeg1 else 576
    bit_rate = _KBITS[mpeg1, layer][bits] * 1000
    size = (12 * bit_rate // rate + padding) * 4 if layer == 1 else samples // 8 * bit_rate // rate + padding
    return _Frame(size, samples, (version, layer, speed), head[3] >> 6 == 3)


def _promised(data: bytes, frame: _Frame) -> int | None:
    """Return the number of frames that a header in the first frame promises; None without one, or if it says 0."""
    mpeg1 = frame.kind[0] == 3
    at = 4 + ((17 if frame.mono else 32) if mpeg1 else (9 if frame.mono else 17))
    count = b""
    if data[at : at + 4] in (b"Xing", b"Info") and data[at + 7 : at + 8] and data[at + 7] & 1:
        count = data[at + 8 : at + 12]
    elif data[36:40] == b"VBRI":
        count = data[50:54]
    return int.from_bytes(count, "big") or None
