"""Answers as a table to read, as CSV, as lines of JSON and as Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.inference.answers import Answer, WindowAnswer
from hf_ambiser.run_folder.layout import whole
from hf_ambiser.untrusted.cells import csv_of
from hf_ambiser.untrusted.printed import printable


# What each one holds stands in docs/predict.md.
TEXT_FORMATS = ("table", "csv", "jsonl")
FORMATS = (*TEXT_FORMATS, "parquet")


def text_of(answers: Sequence[Answer], classes: Sequence[str], form: str) -> str:
    """Write answers as text.

    Args:
        answers: One for each recording.
        classes: The K classes of the model, in their order.
        form: One of `TEXT_FORMATS`.
    """
    if form == "csv":
        return _csv(answers, classes)
    if form == "jsonl":
        return "".join(json.dumps(answer.to_dict(), ensure_ascii=False) + "\n" for answer in answers)
    return _table(answers)


def write_parquet(path: Path, answers: Sequence[Answer], classes: Sequence[str]) -> None:
    """Write answers as a Parquet file, whole or not at all: a row for each recording, its windows as a list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = pa.float64()
    per_class = pa.struct([(name, number) for name in classes])
    said = [("emotion", pa.string()), ("entropy", number), ("ambiguity", number)]
    said += [("probabilities", per_class), ("similarities", per_class)]
    about = [("status", pa.string()), ("reason", pa.string())]
    window = pa.struct([("start", number), ("end", number), *about, *said, ("level", number)])
    columns = [("recording", pa.string()), *about, ("duration", number), *said, ("windows", pa.list_(window))]
    rows = [answer.to_dict() for answer in answers]
    with whole(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), part)


def _csv(answers: Sequence[Answer], classes: Sequence[str]) -> str:
    """A row for each recording; the columns of a class are named for it."""
    head = ["recording", "status", "emotion", "entropy", "ambiguity", "duration", "windows", "reason"]
    columns = [f"{what}_{name}" for what in ("probability", "similarity") for name in classes]
    rows: list[list[object]] = [[*head, *columns]]
    for answer in answers:
        values = [answer.emotion, answer.entropy, answer.ambiguity, answer.duration]
        per_class = [
            (values or {}).get(name) for values in (answer.probabilities, answer.similarities) for name in classes
        ]
        row = [answer.recording, answer.status, *values, len(answer.windows), answer.reason, *per_class]
        rows.append(["" if value is None else value for value in row])
    return csv_of(rows)


def _table(answers: Sequence[Answer]) -> str:
    """A line for each recording, and below a long one a line for each window."""
    rows = [("recording", "seconds", "heard", "ambiguity", "distribution in %")]
    for answer in answers:
        length = "" if answer.duration is None else f"{answer.duration:.1f}"
        rows.append((printable(answer.recording), length, *_said(answer)))
        if len(answer.windows) > 1:
            rows += [(f"  {one.start:.1f} to {one.end:.1f} s", "", *_said(one)) for one in answer.windows]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = []
    for name, length, heard, ambiguity, rest in rows:
        cells = (name.ljust(widths[0]), length.rjust(widths[1]), heard.ljust(widths[2]), ambiguity.rjust(widths[3]))
        lines.append("  ".join([*cells, rest]).rstrip() + "\n")
    return "".join(lines)


def _said(answer: Answer | WindowAnswer) -> tuple[str, str, str]:
    """What was heard, how ambiguous it is, and the classes from the most probable one on; or why nothing is said."""
    if answer.probabilities is None or answer.ambiguity is None:
        return answer.status, "", printable(answer.reason)
    ordered = sorted(answer.probabilities.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{printable(name)} {100 * value:.0f}" for name, value in ordered)
    return printable(answer.emotion or answer.status), f"{answer.ambiguity:.2f}", shares
