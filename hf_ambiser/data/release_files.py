"""What the readers of releases share: audio is found by its name, tables are read, small faults are counted."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hf_ambiser.data.lost_votes import LostVotes
from hf_ambiser.data.schema import Listed


# If an utterance has several audio files, the first of these endings is used.
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def audio_files(root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Yield the audio files below a folder, in order of folder and name, without hidden files.

    macOS writes `._name.wav` beside `name.wav` into its archives; such a file holds no audio.
    """
    # The audio may lie elsewhere, behind a link. A folder is read once, so a link to a folder above it ends there.
    seen = {os.path.realpath(root)}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders.sort()
        for name in list(subfolders):
            place = os.path.realpath(os.path.join(folder, name))
            if place in seen or name == "__MACOSX":
                subfolders.remove(name)
            seen.add(place)
        for name in sorted(names):
            if Path(name).suffix.lower() in suffixes and not name.startswith("."):
                yield Path(folder, name)


def of_form(paths: Iterable[Path], form: re.Pattern[str]) -> Iterator[Path]:
    """Yield the files whose name, without its ending, has this form."""
    return (path for path in paths if form.fullmatch(path.stem))


def first_file(folder: Path, *names: str) -> Path | None:
    """Return the first of these files that is in the folder, None if none is."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_rows(
    path: Path, needed: Iterable[str], *, delimiter: str = ",", encoding: str = "utf-8-sig"
) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yield (line, column -> cell) for each row of a release's table; None for a row that does not fit the header.

    Cells are without white space at their ends. Bytes that are not in the encoding become replacement characters.

    Raises:
        ValueError: If the header lacks one of the needed columns, or has one twice, or a cell has no end.
    """
    with open(path, newline="", encoding=encoding, errors="replace") as file:
        reader = _lines(path, csv.reader(file, delimiter=delimiter))
        header = [name.strip() for name in next(reader, (0, []))[1]]
        if missing := [name for name in needed if name not in header]:
            raise ValueError(
                f"{path} lacks the column(s) {missing}; its header is {header!r:.500}. Take the file from the"
                " release again, as it is there."
            )
        if twice := [name for name in needed if header.count(name) > 1]:
            raise ValueError(f"{path} has the column(s) {twice} more than once. Take it from the release again.")
        for line, row in reader:
            if any(cell.strip() for cell in row):
                fits = len(row) == len(header)
                cells = dict(zip(header, (cell.strip() for cell in row), strict=True)) if fits else None
                yield line, cells


def _lines(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each row. An error of the `csv` module names no file, so it becomes one that does."""
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}, cannot be read as a table ({error}). Take it from the release again."
        ) from None


class NotKept:
    """What of a release is in no utterance: each thing is listed with its reason, and its votes are lost for that.

    A line that cannot be read tells no vote.
    """

    def __init__(self) -> None:
        self.listed: list[Listed] = []
        self.lost = LostVotes()

    def add(self, name: str, reason: str, detail: str, source: str, ratings: Iterable[tuple[str, ...]] = ()) -> None:
        """List something, and count its ratings, each given by its labels."""
        self.listed.append(Listed(name, reason, detail, source))
        self.lost.add_ratings(reason, ratings)


class Remarks:
    """Counts small faults of a release by kind: thousands of one kind become one note, which names the first ones."""

    SHOWN = 3

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}

    def add(self, kind: str, place: str) -> None:
        """Count a fault of this kind; `kind` goes on after its number, "ratings have no label"."""
        self._places.setdefault(kind, []).append(place)

    def notes(self) -> list[str]:
        """One sentence a kind."""
        sentences = []
        for kind, places in self._places.items():
            more = f" and {len(places) - self.SHOWN} more" if len(places) > self.SHOWN else ""
            sentences.append(f"{len(places)} {kind}: {', '.join(places[: self.SHOWN])}{more}")
        return sentences


def versus(what: str, ours: int, published: int) -> str:
    """Compare a count with a published one, in words."""
    if ours == published:
        return f"{what}: same ({ours})"
    return f"{what}: differs: ours {ours}, published {published} (difference {ours - published:+d})"
