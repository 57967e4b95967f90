"""What validation said of the models that are scored: the figures to choose systems and readings by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

from hf_ambiser.metrics.display import COLUMNS
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import number, spread_entry
from hf_ambiser.report.statistics import spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


NOTE = (
    "On the validation utterances, at the evaluation whose model is scored: the chosen one, else the last. Epoch: the"
    " median over runs (least to greatest). Figures: mean (standard deviation) [95 % interval], as in the tables of"
    " test splits. Choose by these figures, not by those of a test split. Where validation chose the epoch by a"
    " figure, that figure is the best of many and flatters."
)


def validation_table(group: Group) -> Table | None:
    """One row for each system: its figures on validation; None if no run of the group has such an evaluation."""
    known = {name for name in COLUMNS if any(_figure(name, run) is not None for run in group.runs)}
    columns = {name: shown for name, shown in COLUMNS.items() if name in known}
    if not columns:
        return None
    rows: list[list[Entry | str]] = []
    for system, runs in group.systems.items():
        told = [entry for run in runs if (entry := _scored(run)) is not None]
        values = (spread_entry(spread(runs, partial(_figure, name)), shown) for name, shown in columns.items())
        rows.append([system, number(len(told)), _epochs(told), *values])
    heads = ["system", "runs", "epoch", *(shown.title for shown in columns.values())]
    return Table(file_name(group.name, "validation_scores"), heads, rows, NOTE)


def _scored(run: FinishedRun) -> Mapping[str, Any] | None:
    """What validation said of the model that is scored; None if the log does not have it."""
    place = run.scored_evaluation
    return None if place is None else run.evaluations[place]


def _epochs(entries: Sequence[Mapping[str, Any]]) -> Entry:
    """Median, least and greatest epoch of the models that are scored."""
    if not entries:
        return Entry("-")
    epochs = [float(entry["epoch"]) for entry in entries]
    parts = {"median": median(epochs), "least": min(epochs), "most": max(epochs)}
    low, middle, high = (f"{parts[name]:.3g}" for name in ("least", "median", "most"))
    return Entry(middle, "" if low == high else f"({low} to {high})", parts)


def _figure(name: str, run: FinishedRun) -> float | None:
    """One figure on validation of the model that is scored; None if the log does not have it, or as no number."""
    value = (_scored(run) or {}).get(f"eval_{name}", math.nan)
    return value if math.isfinite(value) else None
