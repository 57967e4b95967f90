"""Finds audio files that were cut short: decoders read what is left of them as if it were all.

What can be known depends on the container. Each file here has the rule of some of them.
"""

from __future__ import annotations

import os
from typing import IO

from hf_ambiser.data.cut_short.chunks import length_of_chunks
from hf_ambiser.data.cut_short.films import length_of_matroska, length_of_mp4
from hf_ambiser.data.cut_short.flac import length_of_flac
from hf_ambiser.data.cut_short.length import Length
from hf_ambiser.data.cut_short.mp3 import length_of_mp3
from hf_ambiser.data.cut_short.ogg import length_of_ogg


__all__ = ["Length", "length_of", "missing_samples"]

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # what an MP4 or QuickTime file begins with


def length_of(file: IO[bytes]) -> Length:
    """Say what a file's container promises, and whether it is there. The place in the file stays.

    Args:
        file: A binary file that can be read from anywhere.
    """
    place = file.tell()
    try:
        end = file.seek(0, os.SEEK_END)
        start = _behind_tags(file)
        file.seek(start)
        return _of_kind(file.read(12), file, start, end)
    finally:
        file.seek(place)


def missing_samples(file: IO[bytes]) -> str:
    """Say how much is missing of an audio file; "" if nothing is known to be."""
    return length_of(file).missing


def _of_kind(head: bytes, file: IO[bytes], start: int, end: int) -> Length:
    if head[:4] == b"OggS":
        return length_of_ogg(file, start)
    if head[:4] == b"fLaC":
        return length_of_flac(file, start)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return length_of_matroska(file, start, end)
    if head[4:8] in _BOXES:
        return length_of_mp4(file, start, end)
    if found := length_of_chunks(head, file, start, end):
        return found
    return length_of_mp3(file, start, end)


def _behind_tags(file: IO[bytes]) -> int:
    """Return where the audio begins: behind ID3 tags, which players skip."""
    start = 0
    while True:
        file.seek(start)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return start
        size = 0
        for byte in head[6:10]:  # seven bits each
            size = size << 7 | byte & 127
        start += 10 + size
