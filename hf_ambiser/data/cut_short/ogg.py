"""OGG (Vorbis, Opus, FLAC): pages have numbers and a checksum, and the last one is marked as the last."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from hf_ambiser.data.cut_short.length import UNKNOWN, Length


_MARK, _HEAD, _BLOCK = b"OggS", 27, 2**16
_FIRST, _LAST = 2, 4  # flags of a page
_SOUND = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass
class _Stream:
    first: int
    last: int
    lost: int = 0
    ended: bool = False


def length_of_ogg(file: IO[bytes], start: int) -> Length:
    """Say whether the stream of sound has all its pages, from the first to the one that is marked as the last.

    A page whose checksum is wrong counts as missing, for decoders leave it out without a word. Of several streams,
    one after the other, libsndfile reads the first alone.
    """
    streams: list[_Stream] = []
    of_serial: dict[int, _Stream] = {}
    for flags, serial, number, body in _pages(file, start):
        if flags & _FIRST:
            of_serial.pop(serial, None)
            if body.startswith(_SOUND):
                of_serial[serial] = _Stream(number, number, ended=bool(flags & _LAST))
                streams.append(of_serial[serial])
        elif stream := of_serial.get(serial):
            stream.lost += max(0, number - stream.last - 1)
            stream.last, stream.ended = number, bool(flags & _LAST)
    if not streams:
        return UNKNOWN
    if len(streams) > 1:
        return Length(f"it holds {len(streams)} streams of sound, and only the first would be read; divide it")
    (stream,) = streams
    if stream.lost:
        return Length(f"{stream.lost} of its {stream.last - stream.first + 1} pages are missing or damaged")
    if not stream.ended:
        return Length(f"it was cut short: none of its {stream.last - stream.first + 1} pages is marked as the last")
    return Length()


def _pages(file: IO[bytes], at: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield flags, serial number of the stream, number and body of each whole page whose checksum is right."""
    while (at := _next_mark(file, at)) >= 0:
        file.seek(at)
        head = file.read(_HEAD)
        table = file.read(head[26]) if len(head) == _HEAD else b""
        body = file.read(sum(table))
        whole = len(head) == _HEAD and len(table) == head[26] and len(body) == sum(table)
        if whole and _checksum(head[:22] + bytes(4) + head[26:] + table + body) == head[22:26]:
            yield head[5], int.from_bytes(head[14:18], "little"), int.from_bytes(head[18:22], "little"), body
            at += _HEAD + len(table) + len(body)
        else:
            at += len(_MARK)


def _next_mark(file: IO[bytes], at: int) -> int:
    """Return where the next page may begin, or -1."""
    while True:
        file.seek(at)
        block = file.read(_BLOCK)
        found = block.find(_MARK)
        if found >= 0:
            return at + found
        if len(block) < _BLOCK:
            return -1
        at += _BLOCK - len(_MARK) + 1


def _checksum(page: bytes) -> bytes:
    """CRC-32 as Ogg has it: that of zlib with the bits of each byte reversed, from 0 and not inverted."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "little").translate(_REVERSED)[::-1]
