"""Keeps the audio that a build has made, so that an utterance is converted once and not for each row with it."""

from __future__ import annotations

import tempfile
from pathlib import Path


class AudioStore:
    """Encoded audio in one nameless file, which is gone with the process, however that ends.

    Args:
        folder: Where the file is; None: in the system's folder for temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(prefix="hf_ambiser_", dir=folder)
        self._end = 0

    def add(self, data: bytes) -> int:
        """Keep audio, and return where it begins.

        Raises:
            OSError: If the disk is full.
        """
        start = self._end
        self._file.seek(start)
        self._file.write(data)
        self._end += len(data)
        return start

    def get(self, start: int, size: int) -> bytes:
        """Return the audio that begins there."""
        self._file.seek(start)
        return self._file.read(size)
