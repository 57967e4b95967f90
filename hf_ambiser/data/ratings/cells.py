"""Read labels and counts from the cells of a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from hf_ambiser.files.tables import Cell


SEPARATORS = (";", "|", ",")
# They also stand within one label ("neutral/calm"), so they separate only if the user says so.
RARE_SEPARATORS = ("/", "+", "&")
# More votes than this in one cell are a number of something else.
MOST_VOTES = 100_000


def find_separator(cells: Iterable[Cell], asked: str | None) -> tuple[str, str]:
    """Return what stands between several labels in a cell ("": nothing), and what to say of it.

    Args:
        cells: Cells of labels.
        asked: One of `SEPARATORS` or `RARE_SEPARATORS`, "none", or None to find it out.

    Raises:
        ValueError: If `asked` is something else.
    """
    if asked is not None:
        allowed = (*SEPARATORS, *RARE_SEPARATORS, "none")
        if asked not in allowed:
            raise ValueError(f"--separator {asked!r} is not one of {list(allowed)}.")
        return ("" if asked == "none" else asked), ""
    counts = Counter(mark for cell in cells if isinstance(cell, str) for mark in SEPARATORS if mark in cell)
    for mark in SEPARATORS:
        if n := counts[mark]:
            return mark, f"{n} cells hold several labels, with {mark!r} between them (--separator none: one label)"
    return "", ""


def labels_of(cell: Cell, separator: str) -> tuple[str, ...]:
    """Split a cell into its labels, in their order; empty if it has none. White space around labels is taken off."""
    if isinstance(cell, tuple):
        parts: Iterable[str] = cell
    else:
        parts = cell.split(separator) if separator else [cell]
    return tuple(label for part in parts if (label := " ".join(part.split())))


def count_of(cell: Cell) -> int | None:
    """Read a count of votes; an empty cell is 0, and None says that the cell is no count."""
    text = cell.strip() if isinstance(cell, str) else "-"
    if not text:
        return 0
    if not re.fullmatch(r"\d{1,9}(?:\.0+)?", text, re.ASCII):
        return None
    return n if (n := int(text.split(".")[0])) <= MOST_VOTES else None
