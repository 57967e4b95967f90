"""Suggestions and raters as a table to read, as CSV and as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_ambiser.untrusted.cells import csv_of
from hf_ambiser.untrusted.printed import printable


if TYPE_CHECKING:
    from hf_ambiser.next_ratings.rater_evidence import RaterEvidence
    from hf_ambiser.next_ratings.suggest import Suggestion, Suggestions

FORMATS = ("table", "csv", "jsonl")


def text_of(found: Suggestions, form: str) -> str:
    """Write suggestions as text.

    Args:
        found: What `suggest` returned.
        form: One of `FORMATS`.

    Raises:
        ValueError: If there is no such format.
    """
    _check(form)
    if form == "jsonl":
        return _lines(found.utterances)
    return _utterances_csv(found) if form == "csv" else _utterances_table(found)


def text_of_raters(raters: Sequence[RaterEvidence], form: str) -> str:
    """Write raters as text, in one of `FORMATS`.

    Raises:
        ValueError: If there is no such format.
    """
    _check(form)
    if form == "jsonl":
        return _lines(raters)
    return _raters_csv(raters) if form == "csv" else _raters_table(raters)


def _check(form: str) -> None:
    if form not in FORMATS:
        raise ValueError(f"format is {form!r}; allowed: {', '.join(FORMATS)}.")


def _lines(rows: Sequence[Suggestion | RaterEvidence]) -> str:
    return "".join(json.dumps(row.to_dict(), ensure_ascii=False) + "\n" for row in rows)


def _utterances_csv(found: Suggestions) -> str:
    head = ["rank", "id", "speaker", "gain", "n_votes", "model_share", "reason"]
    kinds = ("votes", "model", "expected")
    rows: list[list[object]] = [[*head, *(f"{kind}_{name}" for kind in kinds for name in found.classes)]]
    for one in found.utterances:
        shares = [(getattr(one, kind) or {}).get(name) for kind in kinds for name in found.classes]
        rows.append([*(getattr(one, name) for name in head), *("" if value is None else value for value in shares)])
    return csv_of(rows)


def _raters_csv(raters: Sequence[RaterEvidence]) -> str:
    rows = [one.to_dict() for one in raters]
    head = list(rows[0]) if rows else ["rater"]
    return csv_of([head, *(["" if value is None else value for value in row.values()] for row in rows)])


def _utterances_table(found: Suggestions) -> str:
    head = ("rank", "utterance", "gain in bit", "reason")
    return _aligned([head, *((str(one.rank), one.id, f"{one.gain:.4f}", one.reason) for one in found.utterances)])


def _raters_table(raters: Sequence[RaterEvidence]) -> str:
    rows = [("rater", "answers", "reliability", "interval", "verdict", "reason")]
    for one in raters:
        value, interval = f"{one.reliability:.2f}", f"[{one.low:.2f}, {one.high:.2f}]"
        rows.append((one.rater, str(one.n_answers), value, interval, one.verdict, one.reason))
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[Any]]) -> str:
    """Columns beside each other; the last one has no fixed width."""
    texts = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=True)), row[-1]]) for row in texts]
    return "".join(line.rstrip() + "\n" for line in lines)
