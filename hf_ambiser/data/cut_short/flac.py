"""FLAC: the first block says how many samples there are, unless the file was written into a pipe."""

from __future__ import annotations

import os
from typing import IO

from hf_ambiser.data.cut_short.length import Length


# Zero says by the format that the number is unknown; some writers set all of its 36 bits.
_BITS = 36
_PLACEHOLDERS = (0, 2**_BITS - 1)
_FIELD_AT = 18  # behind `fLaC`, the head of the first block and ten bytes: rate, channels, bits, and the samples


def length_of_flac(file: IO[bytes], start: int) -> Length:
    """Return the number of samples that the first block promises. A cut within a frame fails when it is decoded."""
    file.seek(start + _FIELD_AT)
    field = file.read(8)
    total = int.from_bytes(field, "big") % 2**_BITS
    if len(field) < 8:
        return Length(known=False, least=0)
    is_known = total not in _PLACEHOLDERS
    return Length(known=is_known, least=total if is_known else 0, flac_at=start)


def with_length(data: bytes, start: int, samples: int) -> bytes:
    """Write the number of samples into the first block of a FLAC file, whose stream begins at `start`."""
    start += _FIELD_AT
    field = _field_with(data[start : start + 8], samples)
    return data[:start] + field + data[start + 8 :]


class WithoutLength:
    """A FLAC file as if its length were unknown: libsndfile then decodes all of it, whatever the first block says."""

    def __init__(self, file: IO[bytes], start: int) -> None:
        self._file, self._at = file, start + _FIELD_AT
        file.seek(self._at)
        self._field = _field_with(file.read(8), 0)
        file.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As that of a binary file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As that of a binary file."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """As that of a binary file, with zeros where the length stands."""
        begin = self._file.tell()
        data = bytearray(self._file.read(size))
        for i, byte in enumerate(self._field, self._at - begin):
            if 0 <= i < len(data):
                data[i] = byte
        return bytes(data)


def _field_with(field: bytes, samples: int) -> bytes:
    return (int.from_bytes(field, "big") >> _BITS << _BITS | samples).to_bytes(8, "big")
