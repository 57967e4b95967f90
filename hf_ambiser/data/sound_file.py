"""Reads audio files whose headers may lie, for builds and for answers alike: in blocks, with libsndfile.

No reader here relies on the length that a header says: soundfile would make room for all of it at once, and 36 bits of
a FLAC file can ask for 256 GB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import soundfile

from hf_ambiser.data.cut_short import Length, length_of
from hf_ambiser.data.cut_short.flac import WithoutLength


# Below it there is no speech to hear; nobody records above it. Between them, the length after resampling is bounded.
LOWEST, HIGHEST = 2_000, 768_000  # Hz
BLOCK = 2**18  # samples of all channels together


class NotWhole(ValueError):
    """An audio file does not hold all that it promises; the message needs no name before it."""


class _Forward(soundfile.SoundFile):
    """Reads a file from its beginning to its end.

    soundfile seeks after each block if it can, and that fails where a header says no length, as in FLAC that was
    written into a pipe, and for codecs of telephones (GSM 6.10, G.721), in which nobody can seek.
    """

    def seekable(self) -> bool:
        """No."""
        return False


class _Source:
    """A binary file in which a seek before its beginning does nothing.

    libsndfile tries that in some broken files, and soundfile would print a traceback for it.
    """

    def __init__(self, file: IO[bytes] | WithoutLength) -> None:
        self._file, self.tell, self.read = file, file.tell, file.read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As that of a binary file."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError, ValueError):
            return self._file.tell()


class SoundFile:
    """An audio file that libsndfile can decode.

    Args:
        source: Its path, or a binary file that can be read from anywhere.
        length: What its container says of its length.

    Attributes:
        rate: Sampling rate in Hz, as the file says it.
        channels: Number of channels.
        kind: The format in libsndfile's words.
        promised: Samples of a channel that a header promises; 0 if none does.
        read: Samples of a channel until now.

    Raises:
        RuntimeError, TypeError, ValueError: If libsndfile cannot open it; `words` has the reason.
    """

    def __init__(self, source: Path | IO[bytes], length: Length) -> None:
        self.length, self.read = length, 0
        with ExitStack() as opened:
            if self._is_bounded:
                file = opened.enter_context(source.open("rb")) if isinstance(source, Path) else source
                self._file = opened.enter_context(_Forward(_Source(WithoutLength(file, length.flac_at))))
            else:
                given = source if isinstance(source, Path) else _Source(source)
                self._file = opened.enter_context(_Forward(given))
            self._opened = opened.pop_all()
        self.rate, self.channels, self.kind = self._file.samplerate, self._file.channels, self._file.format
        self.promised = self._file.frames if length.least is None else length.least

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield blocks `(T, channels)` float32 up to the end.

        Raises:
            NotWhole: At the end, if more or fewer samples can be decoded than are promised.
            RuntimeError: If libsndfile cannot decode a block.
        """
        size = max(1, BLOCK // self.channels)
        bounded = self._is_bounded
        while not bounded or self.read < self.promised:
            wanted = min(size, self.promised - self.read) if bounded else size
            block = self._file.read(wanted, dtype="float32", always_2d=True)
            if not len(block):
                break
            self.read += len(block)
            yield block
        if self.read < self.promised:
            raise NotWhole(f"it is not whole: it promises {self.promised} samples, and {self.read} can be decoded")
        if bounded and self._goes_on():
            raise NotWhole(f"not all of it would be read: it promises {self.promised} samples, and has more")

    @property
    def _is_bounded(self) -> bool:
        """Whether it is FLAC that says how many samples it has, after which libsndfile would stop."""
        return self.length.flac_at >= 0 and bool(self.length.least)

    def _goes_on(self) -> bool:
        try:
            return len(self._file.read(1, dtype="float32", always_2d=True)) > 0
        except RuntimeError:  # what stands behind the frames is no sound
            return False


def length_of_source(source: Path | IO[bytes]) -> Length:
    """Say what the container promises, of a path or of a binary file that can be read from anywhere."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return length_of(file)
    return length_of(source)


def words(error: BaseException) -> str:
    """Say what is wrong without what differs from build to build: a path, or the address of an object in memory."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(getattr(error, "error_string", "") or type(error).__name__).strip(" .")
