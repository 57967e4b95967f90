"""MP4 (m4a, mov, 3gp) and Matroska (webm, mka): every part of a file says how many bytes it has."""

from __future__ import annotations

from typing import IO

from hf_ambiser.data.cut_short.length import UNKNOWN, Length


_MOST_PARTS = 10_000_000
# The boxes at the top of a file; anything else there was put behind it.
_BOXES = "ftyp styp pdin moov moof mfra mdat imda sidx ssix prft emsg meta udta uuid free skip wide pnot".split()
_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


def length_of_mp4(file: IO[bytes], start: int, end: int) -> Length:
    """Say whether the last box is whole.

    A file in fragments, as it is recorded or sent, has no number of them: it may have been cut between two, unless
    the list of its fragments stands at its end.
    """
    at, seen = start, set()
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            break
        size, name = int.from_bytes(head[:4], "big"), head[4:8].decode("latin-1")
        if name not in _BOXES:
            break
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        if size < 8:  # 0: up to the end of the file, wherever that is
            return UNKNOWN
        if at + size > end:
            return _too_few("box", size, end - at)
        seen.add(name)
        at += size
    return UNKNOWN if "moov" not in seen or ("moof" in seen and "mfra" not in seen) else Length()


def length_of_matroska(file: IO[bytes], start: int, end: int) -> Length:
    """Say whether the segment is whole; where it does not say its size, as a browser records it, the last element."""
    at = start
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(12)
        n = _width(head[:1])
        m = _width(head[n : n + 1])
        if not (n and m) or n > 4 or len(head) < n + m:
            break
        name, begin = head[:n], at + n + m
        size = int.from_bytes(head[n : n + m], "big") & ((1 << 7 * m) - 1)
        if size == (1 << 7 * m) - 1:  # unknown: what follows are its parts
            if name not in (_SEGMENT, _CLUSTER):
                break
            at = begin
            continue
        if begin + size > end:
            return _too_few("element", size, end - begin)
        if name == _SEGMENT:
            return Length()
        at = begin + size
    return UNKNOWN


def _width(first: bytes) -> int:
    """Return how many bytes a name or size of Matroska has: as many as its first byte has leading zeros, and one."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _too_few(what: str, size: int, there: int) -> Length:
    return Length(f"it was cut short: its last {what} promises {size} bytes, and {there} are there")
