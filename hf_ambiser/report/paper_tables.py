"""A paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from hf_ambiser.metrics.display import QUOTABLE, quoted_figure
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import number, spread_entry
from hf_ambiser.report.statistics import spread
from hf_ambiser.report.table import Entry, Table
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.studies.plan_file import Quoted, QuotedFolds


def quoted_table(groups: Sequence[Group], quoted: Sequence[Quoted]) -> Table | None:
    """A paper's numbers and ours, split by split; None if nothing is quoted."""
    rows: list[list[Entry | str]] = []
    for entry in quoted:
        shown = QUOTABLE.get(entry.figure)
        if shown is None:
            why = f"no figure {entry.figure!r} here"
            rows.append([entry.system, entry.figure, str(entry.value), why, "-", "-", "-", entry.reference])
            continue
        theirs = _theirs(entry)
        ours = [
            (group, split, group.systems[entry.system])
            for group in groups
            for split in group.splits
            if entry.system in group.systems
            and entry.split in (None, split)
            and entry.protocol in (None, group.first.data["protocol"])
        ]
        for group, split, runs in ours:
            values = spread(runs, partial(_quotable, split, entry.figure))
            gap = None if values.t is None else values.t.mean * shown.factor - entry.value
            gap_entry = Entry("-") if gap is None else Entry(f"{gap:+.{shown.digits}f}", parts={"": gap})
            row: list[Entry | str] = [entry.system, shown.title, theirs, spread_entry(values, shown), gap_entry]
            rows.append([*row, f"{group.name}, {split}", number(len(runs)), entry.reference])
        if not ours:
            rows.append([entry.system, shown.title, theirs, "not run", "-", "-", "-", entry.reference])
    if not rows:
        return None
    heads = ["system", "figure", "paper", "ours", "ours minus paper", "where", "runs", "reference"]
    return Table(
        "papers_numbers",
        heads,
        rows,
        "The paper's numbers are quotations; its corpus, utterances and protocol need not be ours.",
    )


def quoted_folds_table(groups: Sequence[Group], quoted: Sequence[QuotedFolds]) -> Table | None:
    """A paper's values fold by fold, and how much ours differ over folds; None if nothing is quoted."""
    rows: list[list[Entry | str]] = []
    for entry in quoted:
        shown = QUOTABLE.get(entry.figure)
        digits, title = (1, entry.figure) if shown is None else (shown.digits, shown.title)
        mean, sd = float(np.mean(entry.values)), float(np.std(entry.values, ddof=1))
        theirs = Entry(f"{mean:.{digits}f} ({sd:.{digits}f})", parts={"": mean, "sd": sd})
        ours = [
            f"{group.name}, {split}: {spread_entry(values, shown).text}"
            for group in groups
            for split in group.splits
            if shown is not None and entry.system in group.systems
            for values in [spread(group.systems[entry.system], partial(_quotable, split, entry.figure))]
        ]
        folds = ", ".join(f"{value:g}" for value in entry.values)
        rows.append([entry.system, title, folds, theirs, "; ".join(ours) or "not run"])
    if not rows:
        return None
    heads = ["system", "figure", "the paper's folds", "mean (sd)", "ours"]
    note = "The folds are in the paper's order. Which speaker each one holds out, the paper does not say."
    return Table("papers_folds", heads, rows, note)


def _quotable(split: str, name: str, run: FinishedRun) -> float | None:
    return quoted_figure(run.scores(split), name)


def _theirs(entry: Quoted) -> Entry:
    """A paper's number as it is printed there, with its deviation or interval if the paper gives one."""
    text = f"{entry.value:g}" + ("" if entry.sd is None else f" ({entry.sd:g})")
    parts = {"": entry.value} | ({} if entry.sd is None else {"sd": entry.sd})
    if entry.low is None or entry.high is None:
        return Entry(text, parts=parts)
    return Entry(text, f"[{entry.low:g}, {entry.high:g}]", parts | {"low": entry.low, "high": entry.high})
