"""WAV, RF64, W64, AIFF, CAF and AU: the header of the samples says how many bytes follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Literal

from hf_ambiser.data.cut_short.length import UNKNOWN, Length


# Sizes that a writer to a pipe leaves in the header, because it cannot go back to it: they promise nothing.
_UNKNOWN = (0, 0x7FFFFFFF, 0x80000000)
# Bytes, but at most a hundredth; some writers count their header in, and two milliseconds are no loss.
_SLACK = 64
_LARGEST = 0xFFFFF000  # sox and ffmpeg write a size a little below 2^32
_MOST_CHUNKS = 10_000  # a file that seems to have more is no audio, and would take long to look through


@dataclass(frozen=True)
class _Form:
    """How the chunks of a container are written.

    Args:
        samples: Name of the chunk that holds the samples.
        order: Order of the bytes of a number.
        first: Where the first chunk begins.
        name: Bytes of a chunk's name.
        size: Bytes of its size.
        counted: Bytes of its own head that a size counts in.
        align: Chunks begin at multiples of it.
    """

    samples: bytes
    order: Literal["little", "big"]
    first: int = 12
    name: int = 4
    size: int = 4
    counted: int = 0
    align: int = 2


_WAV = _Form(b"data", "little")
_AIFF = _Form(b"SSND", "big")
_CAF = _Form(b"data", "big", first=8, size=8, align=1)
_W64 = _Form(b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a", "little", 40, 16, 8, counted=24, align=8)


def length_of_chunks(head: bytes, file: IO[bytes], start: int, end: int) -> Length | None:
    """Compare the bytes of samples that a header promises with those that are there, with some slack.

    Args:
        head: The first twelve bytes.
        file: The file.
        start: Where they stand.
        end: Its size.

    Returns:
        None if it is of another kind.
    """
    if head[:4] in (b".snd", b"dns."):
        order: Literal["little", "big"] = "big" if head[:1] == b"." else "little"
        size = int.from_bytes(head[8:12], order)
        return _compared(size, end - start - int.from_bytes(head[4:8], order), 4)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
        form = _WAV
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        form = _AIFF
    elif head[:4] == b"caff":
        form = _CAF
    elif head == b"riff.\x91\xcf\x11\xa5\xd6(\xdb":
        form = _W64
    else:
        return None
    return _walked(form, file, start, end)


def _walked(form: _Form, file: IO[bytes], start: int, end: int) -> Length:
    at, of_64_bits = start + form.first, 0
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(form.name + form.size)
        if len(head) < form.name + form.size:
            return UNKNOWN
        name, size = head[: form.name], int.from_bytes(head[form.name :], form.order) - form.counted
        begin = at + len(head)
        if name == form.samples:
            if size == 0xFFFFFFFF and form is _WAV and of_64_bits:
                return _compared(of_64_bits, end - begin, 8)
            return _compared(size, end - begin, form.size)
        if name == b"ds64":
            of_64_bits = int.from_bytes(file.read(16)[8:], "little")
        if not 0 <= size <= end - begin:
            return UNKNOWN
        at = begin + size + -size % form.align
    return UNKNOWN


def _compared(size: int, there: int, width: int) -> Length:
    """Compare a promised size, a number of `width` bytes, with what is there."""
    if width == 4 and (size in _UNKNOWN or size > _LARGEST):
        return UNKNOWN
    if width == 8 and not 0 < size < 2**63:
        return UNKNOWN
    if there + min(_SLACK, size // 100) >= size:
        return Length()
    return Length(f"it was cut short: its header promises {size} bytes of samples, and {max(0, there)} are there")
