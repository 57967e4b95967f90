"""Read labels and counts from the cells of a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hf_ambiser.files.tables import Cell, Line, in_words


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
        ValueError: If `asked` is something else, or a mark that came with lists alone.
    """
    if asked is not None:
        allowed = (*SEPARATORS, *RARE_SEPARATORS, "none")
        if asked not in allowed:
            raise ValueError(f"--separator {asked!r} is not one of {list(allowed)}.")
        if asked != "none" and {type(cell) for cell in cells if cell} == {tuple}:
            raise ValueError(f"--separator {asked!r} came, and the labels are lists already. Leave it out.")
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


def label_said_twice(cell: Cell, separator: str) -> str:
    """Return a label that a cell holds twice, which no single rater has said; "" if there is none."""
    labels = labels_of(cell, separator)
    before = [label.lower() for label in labels]
    return next((label for i, label in enumerate(labels) if label.lower() in before[:i]), "")


def check_counts(where: str, lines: Sequence[Line], columns: Mapping[str, Sequence[Cell]]) -> str:
    """Refuse columns of counts that hold shares; return a remark if they may hold percentages, "" if not.

    One number with a fraction may be a slip, and its row is listed like any bad row. A row of shares is none.

    Args:
        where: The table's name.
        lines: `(R,)` the line of each row.
        columns: Name -> its R cells.

    Raises:
        ValueError: If a row with fractions sums to 1 or 100, or more than one row in twenty has fractions.
    """
    numbers = {cell: _number(cell) for cells in columns.values() for cell in set(cells)}
    whole = {cell: number % 1 == 0 and "%" not in cell for cell, number in numbers.items()}
    rows = percent = 0
    broken: list[int] = []
    shares: list[int] = []
    for row, cells in enumerate(zip(*columns.values(), strict=True)):
        total = sum(numbers[cell] for cell in cells)
        rows += total > 0
        percent += 99 <= total <= 101
        if not all(whole[cell] for cell in cells):
            broken.append(row)
            if abs(total - 1) <= 0.05 or abs(total - 100) <= 1:
                shares.append(row)
    if shares or len(broken) > max(1, rows / 20):
        row = (shares or broken)[0]
        name, cell = next((name, cells[row]) for name, cells in columns.items() if not whole[cells[row]])
        raise ValueError(
            f"{where}: {name} is {cell!r:.50} in {in_words(lines[row])}, and {len(broken)} of {rows} rows have"
            " fractions or percentages. A column of a class holds counts, whole numbers of votes. Give the counts:"
            " shares times the number of raters, if this gives whole numbers."
        )
    if percent > 1 and percent >= 0.95 * rows:
        return (
            f"the counts of {percent} of {rows} rows sum to 99, 100 or 101; if they are percentages, each utterance"
            " counts as 100 votes: give the counts of votes"
        )
    return ""


def _number(cell: Cell) -> float:
    """Read a number, which may be a fraction or a percentage; 0 if it is none."""
    text = cell.strip().removesuffix("%").strip().replace(",", ".") if isinstance(cell, str) else ""
    return float(text) if re.fullmatch(r"(?:\d{1,9}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", text, re.ASCII) else 0.0


def count_of(cell: Cell) -> int | None:
    """Read a count of votes; an empty cell is 0, and None says that the cell is no count."""
    text = cell.strip() if isinstance(cell, str) else "-"
    if not text:
        return 0
    if not re.fullmatch(r"\d{1,9}(?:\.0+)?", text, re.ASCII):
        return None
    return n if (n := int(text.split(".")[0])) <= MOST_VOTES else None
