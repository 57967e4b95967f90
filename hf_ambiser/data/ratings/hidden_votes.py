"""Whether a column of labels may sum up votes that stand beside it: by what the columns hold, in any language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from hf_ambiser.data.ratings.cells import SEPARATORS, count_of
from hf_ambiser.data.ratings.columns import Columns, bare_name, key_of, refuse_summary
from hf_ambiser.files.tables import Cell


# Cohen's kappa. Raters and their majority have .3 and more; codes, notes and answers to another question about 0.
_SAME_QUESTION = 0.2


def check_label_alone(columns: Columns, table: Mapping[str, Sequence[Cell]]) -> None:
    """Refuse a found column of labels beside two or more unused ones that agree with it or count its labels.

    A label that differs between two rows of an utterance sums nobody up. Where a column names raters, each row is one
    rater's, if an utterance has several rows; counts beside it are then, and with one row, too, its intensities.

    Args:
        columns: Which column is what; the column of labels was found by its name.
        table: Name -> the R cells of each column.

    Raises:
        ValueError: Naming the columns and what to give.
    """
    if "label" not in columns.roles:
        return
    labels = [_labels(cell) for cell in table[columns.roles["label"]]]
    places = [table[columns.roles[role]] for role in ("utterance", "start", "end") if role in columns.roles]
    first: dict[tuple[Cell, ...], frozenset[str]] = {}
    if any(
        first.setdefault(place, said) != said for place, said in zip(zip(*places, strict=True), labels, strict=True)
    ):
        return
    raters = any(table[columns.roles["rater"]]) if "rater" in columns.roles else False
    if raters and len(first) < len(labels):
        return
    known = frozenset().union(*labels)
    agreeing = [name for name in columns.unused if _kappa(labels, table[name]) > _SAME_QUESTION]
    counting = [name for name in columns.unused if bare_name(name) in known and _counts(table[name])]
    refuse_summary([columns.roles["label"]], agreeing, [] if raters else counting)


@lru_cache(maxsize=10_000)  # a table of a million rows repeats few labels
def _labels(cell: Cell) -> frozenset[str]:
    parts = re.split("|".join(map(re.escape, SEPARATORS)), cell) if isinstance(cell, str) else cell
    return frozenset(key_of(part) for part in parts) - {""}


def _counts(cells: Sequence[Cell]) -> bool:
    return any(cells) and all(count_of(cell) is not None for cell in set(cells))


def _kappa(labels: Sequence[frozenset[str]], cells: Sequence[Cell]) -> float:
    """Cohen's kappa of a column with the labels, over the rows that have both; 0 for a column that says one thing.

    Rows with several labels agree if they share one.
    """
    rows = [(one, other) for one, cell in zip(labels, cells, strict=True) if one and (other := _labels(cell))]
    of_one, of_other = (Counter(label for row in rows for label in row[side]) for side in (0, 1))
    expected = sum(n * of_other[label] for label, n in of_one.items()) / max(1, len(rows)) ** 2
    if len(of_other) < 2 or expected >= 1:
        return 0.0
    observed = sum(bool(one & other) for one, other in rows) / len(rows)
    return (observed - expected) / (1 - expected)
