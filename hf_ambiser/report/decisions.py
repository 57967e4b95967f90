"""The report's table of decisions: when calibrated systems abstain, and what that gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from hf_ambiser.metrics.checks import UndefinedMetric
from hf_ambiser.metrics.decision import Decision, decision_figures
from hf_ambiser.metrics.display import DECIDED, shown_figures
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import spread_entry
from hf_ambiser.report.statistics import spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


NOTE = (
    "Runs that `hf-ambiser calibrate` has given a decision on their validation utterances; all other tables are"
    " without it. An answer is wrong if it is not the consensus label, and wherever there is no consensus. Mean"
    " (standard deviation) [95 % interval] over folds or, with one fold, over seeds. A prediction set holds every"
    " class from a chosen probability on; votes in the set: the mean share of an utterance's votes. WA and"
    " UA, of systems with a balanced decision, are over the utterances with a consensus label, without abstention."
)


def decisions_table(group: Group, split: str) -> Table | None:
    """What the decisions of every system's runs give on one split; None if no run has a decision."""
    found = {run.folder: figures for run in group.runs if (figures := _figures(run, split)) is not None}
    names = shown_figures(list(found.values()))
    rows: list[list[Entry | str]] = []
    for system, runs in group.systems.items():
        decided = [run for run in runs if run.folder in found]
        if not decided:
            continue
        asked = dict.fromkeys(_asked(run.decision) for run in decided if run.decision is not None)
        count = Entry(f"{len(decided)} of {len(runs)}", parts={"": len(decided)})
        entries = [spread_entry(spread(decided, partial(_figure, found, name)), DECIDED[name]) for name in names]
        rows.append([system, count, "; ".join(asked), *entries])
    if not rows:
        return None
    heads = ["system", "runs with a decision", "asked for", *(DECIDED[name].title for name in names)]
    return Table(file_name(group.name, split, "decisions"), heads, rows, NOTE)


def _figures(run: FinishedRun, split: str) -> dict[str, Any] | None:
    """What a run's decision gives on a split; None without a decision, predictions or votes."""
    stored = run.decision
    if stored is None or split not in run.splits or not run.has_predictions(split):
        return None
    table = run.predictions(split)
    try:
        return decision_figures(table["probabilities"], table["votes"], table["consensus"], Decision.of(stored))
    except UndefinedMetric:
        return None


def _figure(found: Mapping[Any, dict[str, Any]], name: str, run: FinishedRun) -> float | None:
    return found[run.folder][name]


def _asked(decision: Mapping[str, Any]) -> str:
    """What was asked for, as the command takes it."""
    rule = "" if decision["rule"] in (None, "bound") else f" ({decision['rule']})"
    parts = [f"risk {decision['risk']:g}{rule}"] if decision["threshold"] is not None else []
    parts += [f"sets {decision['set_coverage']:g}"] if decision["set_threshold"] is not None else []
    parts += ["temperature"] if decision["temperature"] != 1 else []
    parts += [f"balance {balance['tau']:g}"] if (balance := decision.get("balance")) is not None else []
    return ", ".join(parts)
