"""The reader of Praat TextGrids that were saved as text, in the long and in the short form.

Praat itself reads both forms by one rule, which its manual gives (*TextGrid file formats*): only numbers, texts in
double quotes and flags in angle brackets that stand free count, in a fixed order; all other words are remarks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hf_ambiser.files.tables import decoded
from hf_ambiser.files.tiers import Interval, Tier, TierFault, TierFile


SUFFIX = ".textgrid"
CURE = "Open it in Praat and save it again: Save > Save as text file."
# A text in quotes (a quote within it is doubled), a remark up to the end of its line, or a word.
_WORD = re.compile(r'"((?:[^"]|"")*)"|!.*|(\S+)')
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def read_textgrid(path: Path) -> TierFile:
    """Read a TextGrid.

    Raises:
        FileError: If the file cannot be read.
        TierFault: If it is no TextGrid as text, or breaks off.
    """
    text, _ = decoded(path, CURE)
    if text.startswith("ooBinaryFile"):
        raise TierFault(1, "it is a binary TextGrid, which is not read")
    values = _values(text)
    if not _text(values, "the kind of file").startswith("ooTextFile"):
        raise TierFault(1, "it does not begin as a text file of Praat ('ooTextFile')")
    if (found := _text(values, "the kind of object")) != "TextGrid":
        raise TierFault(1, f"it holds a {found[:30]!r}, not a TextGrid")
    _number(values, "the begin")
    _number(values, "the end")
    if (flag := next(values, (0, "")))[1] != "<exists>":
        return TierFile() if flag[1] == "<absent>" else _wrong(flag, "whether there are tiers (<exists>)")
    return TierFile([_tier(values) for _ in range(_count(values, "the number of tiers"))])


def _tier(values: Iterator[tuple[int, str | float]]) -> Tier:
    kind = _text(values, "the class of a tier")
    tier = Tier(" ".join(_text(values, "the name of a tier").split()))
    _number(values, "the begin of a tier")
    _number(values, "the end of a tier")
    n = _count(values, "the number of intervals")
    if kind == "TextTier":
        tier.points = n
        for _ in range(n):
            _number(values, "the time of a point")
            _text(values, "the text of a point")
    elif kind == "IntervalTier":
        for _ in range(n):
            line, start = _number(values, "the begin of an interval")
            _, end = _number(values, "the end of an interval")
            text = _text(values, "the text of an interval")
            if text.strip():
                tier.intervals.append(Interval(start, end, text.strip(), line))
    else:
        raise TierFault(0, f"tier {tier.name[:50]!r} is of the class {kind[:30]!r}, not IntervalTier or TextTier")
    return tier


def _values(text: str) -> Iterator[tuple[int, str | float]]:
    """Yield (line, value) of all that counts: texts begin with a quote, flags with an angle bracket."""
    line, place = 1, 0
    for match in _WORD.finditer(text):
        line += text.count("\n", place, match.start())
        place = match.start()
        quoted, word = match.groups()
        if quoted is not None:
            yield line, '"' + quoted.replace('""', '"')
        elif word is None:
            continue
        elif word.startswith('"'):
            raise TierFault(line, "a quote is opened and never closed")
        elif _NUMBER.fullmatch(word):
            yield line, float(word)
        elif word.startswith("<") and word.endswith(">"):
            yield line, word


def _wrong(found: tuple[int, str | float], what: str) -> TierFile:
    line, value = found
    there = "the file ends" if not line else f"there is {str(value)[:50]!r}"
    raise TierFault(line, f"{there} where {what} must stand")


def _text(values: Iterator[tuple[int, str | float]], what: str) -> str:
    found = next(values, (0, 0.0))
    if not isinstance(found[1], str) or not found[1].startswith('"'):
        _wrong(found, what)
    return str(found[1])[1:]


def _number(values: Iterator[tuple[int, str | float]], what: str) -> tuple[int, float]:
    found = next(values, (0, ""))
    if not isinstance(found[1], float):
        _wrong(found, what)
    return found[0], float(found[1])


def _count(values: Iterator[tuple[int, str | float]], what: str) -> int:
    line, number = _number(values, what)
    if not (0 <= number < 1e9 and number.is_integer()):
        raise TierFault(line, f"{number:g} is no number of things, where {what} must stand")
    return int(number)
