"""Recordings in tar archives, as WebDataset has them: found once by their headers, then read from their places."""

from __future__ import annotations

import os
import tarfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hf_ambiser.inference.inputs import SUFFIXES, shown
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording


class TarSource:
    """Members of archives that have the ending of a recording, in the order of the archives and their members.

    Other members (labels, texts) are counted. An archive that breaks off, or cannot be opened, is an input of its own
    behind those that were found in it.

    Args:
        root: Folder that the paths begin at.
        paths: The archives, relative to `root`.
    """

    kind = "tar archives"

    def __init__(self, root: Path, paths: list[str]) -> None:
        self.left_out = {"members that are no recordings": 0}
        self._root, self._paths = root, paths
        self._names: list[str] = []
        # Place of each input: its archive, and its first byte and number of bytes there.
        self._archives, self._starts, self._sizes = array("i"), array("q"), array("q")
        self._problems: dict[int, NoAudio] = {}
        for number in range(len(paths)):
            self._index(number)

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> Iterator[str]:
        """See `Source`."""
        yield from self._names

    def recordings(self, start: int, stop: int) -> Iterator[Recording]:
        """See `Source`."""
        for i in range(start, min(stop, len(self))):
            yield Recording(self._names[i], self._problems.get(i) or self._read(i))

    def _open(self, path: str) -> IO[bytes]:
        return (self._root / path).open("rb")

    def _index(self, number: int) -> None:
        path = self._paths[number]
        members = 0
        try:
            with self._open(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep every header
                    members += 1
                    if os.path.splitext(member.name)[1].lower() not in SUFFIXES:
                        self.left_out["members that are no recordings"] += not member.isdir()
                    elif member.isreg() and not member.issparse():
                        self._add(number, f"{path}/{member.name}", member.offset_data, member.size)
                    else:
                        why = NoAudio("unreadable", "it is a link or another special member of its archive")
                        self._add(number, f"{path}/{member.name}", problem=why)
        except (tarfile.TarError, OSError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            why = NoAudio("unreadable", f"the archive cannot be read after {members} members ({words})")
            self._add(number, path, problem=why)

    def _add(self, archive: int, name: str, start: int = 0, size: int = 0, problem: NoAudio | None = None) -> None:
        if problem is not None:
            self._problems[len(self._names)] = problem
        self._names.append(shown(name))
        self._archives.append(archive)
        self._starts.append(start)
        self._sizes.append(size)

    def _read(self, i: int) -> bytes | NoAudio:
        try:
            with self._open(self._paths[self._archives[i]]) as archive:
                # A header may lie: room is made for what is there, and not for what it says.
                there = max(0, archive.seek(0, os.SEEK_END) - self._starts[i])
                if there < self._sizes[i]:
                    return NoAudio("unreadable", f"its archive ends after {there} of its {self._sizes[i]} bytes")
                archive.seek(self._starts[i])
                return archive.read(self._sizes[i])
        except OSError as error:
            return NoAudio("unreadable", f"its archive cannot be read ({error.strerror or type(error).__name__})")
        except MemoryError:
            return NoAudio("unreadable", f"its {self._sizes[i]} bytes need more memory than there is")
