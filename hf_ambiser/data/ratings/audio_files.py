"""Find the audio file, or the part of one, that a row of a table names, below one folder.

A cell is never made into a path: the folder is listed, and the cell is looked up in the list. So `..` or an absolute
path leads nowhere else.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hf_ambiser.data.audio import AudioProblem
from hf_ambiser.data.ratings.audio_parts import Recording, part_of
from hf_ambiser.data.schema import REASONS
from hf_ambiser.untrusted.names import why_no_name


# Endings of audio files. What soundfile cannot decode among them is listed when the audio is checked.
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aif", ".aiff", ".au", ".m4a")


@dataclass(frozen=True)
class AudioFile:
    """The audio of an utterance.

    Args:
        id: The utterance's id.
        path: The file that it is, or is in.
        read: Returns the encoded audio, or why there is none; None: the file is it.
    """

    id: str
    path: Path
    read: Callable[[], bytes | AudioProblem] | None = None


@dataclass(frozen=True)
class NoAudio:
    """Why a cell names no audio file: a key of `schema.REASONS`, and details."""

    reason: str
    detail: str

    def __post_init__(self) -> None:
        assert self.reason in REASONS, self.reason


class AudioFinder(Protocol):
    """Where the audio of a table's utterances is.

    `root` is the folder that it is below, `files` what no row may leave out: audio without ratings is listed.
    """

    root: Path
    files: list[AudioFile]

    def find(self, cell: str, start: str = "", end: str = "") -> AudioFile | NoAudio:
        """Find the audio that a row names, or say why there is none."""


class AudioFolder:
    """The audio files below a folder.

    An utterance's id is the file's path below the folder without its ending, or with it if two
    files differ in it only.

    Raises:
        FileNotFoundError: If there is no such folder, or no audio file below it.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise FileNotFoundError(
                f"--audio {root} is {'no folder' if root.exists() else 'not there'}. Give the folder with the audio"
                " files that the table names."
            )
        self.root = root
        paths = sorted(_audio_below(root))
        if not paths:
            raise FileNotFoundError(
                f"--audio {root} holds no audio file at any depth ({', '.join(SUFFIXES)}). Give the folder with the"
                " audio files that the table names."
            )
        whole = {path.relative_to(root).as_posix(): path for path in paths}
        short = Counter(without_ending(name) for name in whole)
        self.files = []
        self._by_name: dict[str, list[tuple[tuple[str, ...], AudioFile]]] = {}
        for name, path in whole.items():
            bare = without_ending(name)
            file = AudioFile(name if short[bare] > 1 or bare in whole else bare, path)
            self.files.append(file)
            parts = _parts(name)
            for name in {parts[-1], without_ending(parts[-1])}:
                self._by_name.setdefault(name, []).append((parts[:-1], file))
        self._found: dict[str, AudioFile | NoAudio] = {}
        self._parts: dict[tuple[str, str, str], AudioFile | NoAudio] = {}
        self._recordings: dict[Path, Recording] = {}

    def find(self, cell: str, start: str = "", end: str = "") -> AudioFile | NoAudio:
        """Find the file that a cell names, with or without its ending and the folders above it.

        Args:
            cell: The name.
            start: Begin of a part of it in seconds; without `start` and `end` it is all of the file.
            end: End of the part in seconds.
        """
        if cell not in self._found:
            self._found[cell] = self._find(cell)
        file = self._found[cell]
        if not (start or end) or isinstance(file, NoAudio):
            return file
        if (cell, start, end) not in self._parts:
            self._parts[cell, start, end] = self._part(file, start, end)
        return self._parts[cell, start, end]

    def _part(self, file: AudioFile, start: str, end: str) -> AudioFile | NoAudio:
        if file.path not in self._recordings:
            self._recordings[file.path] = Recording.of(file.path)
        recording = self._recordings[file.path]
        if recording.problem:
            return NoAudio("unreadable_audio", recording.problem)
        part = part_of(recording, start, end)
        if isinstance(part, str):
            return NoAudio("no_such_part", part)
        return file if part is None else AudioFile(file.id + part.suffix, file.path, part.read)

    def _find(self, cell: str) -> AudioFile | NoAudio:
        # A table of another machine may hold whole paths; only their last parts can mean something here.
        name = re.sub(r"^(?:[A-Za-z]:)?/+", "", cell.replace("\\", "/"))
        if why := why_no_name(name, below=True):
            return NoAudio("malformed_id", f"the name {why}")
        *folders, last = _parts(name)
        hits = self._by_name.get(last) or self._by_name.get(without_ending(last), [])
        exact = [file for above, file in hits if above == tuple(folders)]
        if len(exact) == 1:
            return exact[0]
        # The folders of the cell and of the file are compared from the right, as far as both have some.
        agree = [
            (shared, file)
            for above, file in hits
            for shared in [min(len(above), len(folders))]
            if not shared or above[-shared:] == tuple(folders[-shared:])
        ]
        most = max((shared for shared, _ in agree), default=0)
        best = [file for shared, file in agree if shared == most]
        if not best:
            return NoAudio("label_without_audio", "no audio file below --audio has that name")
        if len(best) > 1:
            shown = ", ".join(file.path.relative_to(self.root).as_posix() for file in best[:3])
            return NoAudio("ambiguous_audio", f"{len(best)} files have that name: {shown}")
        return best[0]


def name_without_place(cell: str) -> str:
    """Return a name for lists that may be published: of a whole path only the last part, for it tells of a machine."""
    whole = re.match(r"(?:[A-Za-z]:)?[\\/]|~", cell)
    return re.split(r"[\\/]", cell)[-1] if whole else cell


def _audio_below(root: Path) -> list[Path]:
    """List audio files at any depth. Links are followed; a folder is read once, so a link upwards ends there."""
    found, seen = [], {os.path.realpath(root)}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        for name in sorted(subfolders):
            place = os.path.realpath(os.path.join(folder, name))
            if place in seen:
                subfolders.remove(name)
            seen.add(place)
        found += [
            Path(folder, name)
            for name in names
            if without_ending(name) not in ("", name) and not name.startswith("._") and _is_text(name)
        ]
    return found


def _is_text(name: str) -> bool:
    """Whether a name is Unicode; others cannot stand in a table, nor in a data set."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parts(path: str) -> tuple[str, ...]:
    """Split a path; letters with accents are compared as one letter, however the disk writes them."""
    return tuple(unicodedata.normalize("NFC", path.replace("\\", "/")).split("/"))


def without_ending(name: str) -> str:
    """Return the name of an audio file without its ending; other names as they are."""
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
