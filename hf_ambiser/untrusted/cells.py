"""Cells of CSV files that people open in a spreadsheet: a text there must not become a formula.

A spreadsheet computes a cell that begins with one of `=`, `+`, `-`, `@` (also of full width), tab or a line break, and
a formula can start a program or send the sheet away. Such a text gets an apostrophe before it, and our readers take it
off again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import TypeVar


Value = TypeVar("Value")

# A text that begins like a formula, or like one that was escaped already.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def cells(row: Iterable[Value]) -> list[Value | str]:
    """Escape the texts of a row; numbers, texts that are a number, and a lone sign (`-`, `=`) stay as they are."""
    return [f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell for cell in row]


def csv_of(rows: Iterable[Iterable[object]]) -> str:
    """Write rows as the text of a CSV file, every text escaped."""
    out = io.StringIO(newline="")
    # The module quotes a line break only if it is one of those that end a row, so it gets both.
    writer = csv.writer(out, lineterminator="\r\n")
    lines = []
    for row in rows:
        writer.writerow(cells(row))
        lines.append(out.getvalue().removesuffix("\r\n") + "\n")
        out.seek(0)
        out.truncate()
    return "".join(lines)


def texts(row: Iterable[str]) -> list[str]:
    """Return the texts of a row that `cells` has written."""
    return [text[1:] if text.startswith("'") and _FORMULA.match(text) else text for text in row]


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and text not in ("-", "=") and not _is_number(text)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)", text) is not None
