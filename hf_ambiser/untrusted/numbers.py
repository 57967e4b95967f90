"""Numbers in cells of files: plain digits of a bounded length, or they are no numbers.

Python's own `int` takes the digits of any alphabet and fails on 5,000 of them; `float` takes `1_0` and `inf`.
"""

from __future__ import annotations

import re


_WHOLE = re.compile(r"(\d{1,9})(?:[.,]0{1,9})?", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,25})?(?:[eE][+-]?\d{1,2})?", re.ASCII)


def whole_number(text: str, most: int) -> int | None:
    """Read a whole number from 0 to `most`, also as spreadsheets save one (`8.0`, `8,0`); None if it is not that."""
    match = _WHOLE.fullmatch(text.strip())
    return number if match and (number := int(match[1])) <= most else None


def decimal_number(text: str) -> float | None:
    """Read a finite decimal number; None if it is not that."""
    return float(text) if _DECIMAL.fullmatch(text := text.strip()) else None
