"""The reader of tables of corpus releases (CSV), in which each line is one row.

Users open such tables in spreadsheets and save them again: with other delimiters, encodings and orders of columns.
Whatever leaves a row without doubt is read. No cell of these tables holds a line break, so each line is read for
itself, and a stray quote costs its own line and no other.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hf_ambiser.files.read import FileError
from hf_ambiser.files.tables import DELIMITERS, decoded


@dataclass(frozen=True)
class Line:
    """A line that is not empty.

    Args:
        number: Its number in the file, from 1.
        text: As it stands there.
        cells: Its cells, without white space around them; none if its quotes do not match.
        problem: Why it is no row; "" if it is one, and then it has as many cells as the header.
    """

    number: int
    text: str
    cells: list[str]
    problem: str = ""


@dataclass
class ReleaseTable:
    """A table of a release.

    Args:
        path: The file.
        header: Names of the columns; "" for one without a name.
        lines: The lines below the header.
        said: What was found out about the file, if it is not UTF-8 with commas.
    """

    path: Path
    header: list[str]
    lines: list[Line] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def column(self, name: str) -> int:
        """The place of a column, from 0.

        Raises:
            KeyError: If there is none.
        """
        try:
            return self.header.index(name)
        except ValueError:
            raise KeyError(name) from None


def read_release_table(path: Path, needed: Sequence[str], cure: str, shown: str = "") -> ReleaseTable:
    """Read a table of a release.

    Args:
        path: The file.
        needed: Names of columns that it must have, each once.
        cure: What to do about a file that cannot be used.
        shown: How errors call the file; by default its path.

    Raises:
        FileError: If it cannot be read, is empty, or lacks a column or has it twice.
    """
    text, said = decoded(path)
    lines = io.StringIO(text, newline="").readlines()
    first = next((n for n, line in enumerate(lines) if line.strip("\0 \t\r\n")), None)
    if first is None:
        raise FileError(shown or path, "is empty", cure)
    marks = list(DELIMITERS)
    if match := re.fullmatch(r"sep=(.)\s*", lines[first]):  # a spreadsheet's own way to say it
        marks, first = [match[1]], first + 1
    headers = {mark: (_cells(lines[first], mark) if first < len(lines) else None) or [] for mark in marks}
    delimiter = max(marks, key=lambda mark: (sum(name in headers[mark] for name in needed), -marks.index(mark)))
    header = headers[delimiter]
    if missing := [name for name in needed if name not in header]:
        raise FileError(shown or path, f"lacks the column(s) {missing}; its header is {header!r:.500}", cure)
    if twice := [name for name in needed if header.count(name) > 1]:
        raise FileError(shown or path, f"has the column(s) {twice} more than once", cure)
    said = [what for what in said if what != "encoding UTF-8"]
    said += [f"delimiter {DELIMITERS.get(delimiter, repr(delimiter))}"] if delimiter != "," else []
    table = ReleaseTable(path, header, said=said)
    for number, line in enumerate(lines[first + 1 :], start=first + 2):
        if line.strip("\0 \t\r\n"):
            table.lines.append(_line(number, line.rstrip("\r\n"), delimiter, len(header)))
    return table


def _line(number: int, text: str, delimiter: str, n: int) -> Line:
    cells = _cells(text, delimiter)
    if cells is None:
        return Line(number, text, [], "its quotes do not match")
    # A spreadsheet writes empty cells behind the last column.
    while len(cells) > n and not cells[-1]:
        cells.pop()
    if len(cells) != n:
        return Line(number, text, cells, f"{len(cells)} columns, the header has {n}")
    return Line(number, text, cells)


def _cells(line: str, delimiter: str) -> list[str] | None:
    """Split a line; None if its quotes do not match, or a cell is longer than the `csv` module allows."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
    except csv.Error:
        return None
