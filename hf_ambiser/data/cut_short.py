"""Finds WAV and AIFF files that were cut short: libsndfile reads what is left of them as if it were all."""

from __future__ import annotations

import os
from typing import IO


# Sizes that a writer to a pipe leaves in the header, because it cannot go back to it: they promise nothing.
_UNKNOWN = (0, 0x7FFFFFFF, 0x80000000)
_SLACK = 64  # bytes; some writers count their header in, and two milliseconds are no loss
_LARGEST = 0xFFFFF000  # sox and ffmpeg write a size a little below 2^32


def missing_samples(file: IO[bytes]) -> str:
    """Say how much is missing of a WAV or AIFF file; "" if nothing is, or if it is of another kind.

    The header of the samples says how many bytes follow it, and the file ends more than 64 bytes before that. The
    place in the file stays.

    Args:
        file: A binary file that can be read from anywhere.
    """
    place = file.tell()
    try:
        return _missing(file)
    finally:
        file.seek(place)


def _missing(file: IO[bytes]) -> str:
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    form, samples, order = file.read(12), b"data", "little"
    if form[:4] == b"FORM" and form[8:] in (b"AIFF", b"AIFC"):
        samples, order = b"SSND", "big"
    elif form[:4] != b"RIFF" or form[8:] != b"WAVE":
        return ""
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], order)  # type: ignore[arg-type]
        begin = file.tell()
        if head[:4] == samples:
            there = end - begin
            if size in _UNKNOWN or size > _LARGEST or there + _SLACK >= size:
                return ""
            return f"it was cut short: its header promises {size} bytes of samples, and {there} are there"
        file.seek(begin + size + size % 2)
    return ""
