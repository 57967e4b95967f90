"""One table that ranks the systems of a group: how well they predict votes that nobody of them has seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.display import COLUMNS, Shown
from hf_ambiser.metrics.distribution import cross_entropy
from hf_ambiser.metrics.significance import holm
from hf_ambiser.report.convergence import about_tests, both_converged, convergence
from hf_ambiser.report.groups import Group
from hf_ambiser.report.rater_equivalence import SystemWorth
from hf_ambiser.report.results import figure_of, number, p_entry, spread_entry, t_entry
from hf_ambiser.report.statistics import over_folds, spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


CROSS_ENTROPY = Shown("cross-entropy", "nat")
SECONDS = Shown("training", "s", 0)
MILLISECONDS = Shown("a step", "ms", 0)
FIGURES = ("js", "wa", "ua", "entropy_pearson", "ece")
# The least that an answer counts as, so that one sure mistake does not decide the rank: that of a float32.
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
NOTE = (
    "Ranked by the cross-entropy of the answers against the votes of the test utterances, which no system learnt from:"
    " the mean of -sum t log p over utterances, with t the shares of the votes. Its least possible value is the"
    " entropy of the votes. Mean (standard deviation) [95 % interval] over folds of the means over seeds. The seconds"
    " are those of a run's training without the encoding of frames, and the milliseconds those of an optimiser step,"
    " as medians over runs: on a machine that other runs shared they are a rough guide."
)


def mean_cross_entropy(split: str, run: FinishedRun) -> float | None:
    """Return the cross-entropy (nats) of a run's answers against the shares of the votes; None if they are gone."""
    if not run.has_predictions(split):
        return None
    table = run.columns(split, ("id", "probabilities", "votes"))
    answers = np.asarray(table["probabilities"], dtype=np.float64)
    return float(cross_entropy(soft_labels(table["votes"]), answers, LEAST_PROBABILITY).mean())


def leaderboard_table(
    group: Group, split: str, reference: str | None, worths: Mapping[str, SystemWorth]
) -> Table | None:
    """The systems from the best to the worst, each with its difference from the reference system and what it costs.

    Returns:
        None with fewer than two systems, or if no predictions are there any more.
    """
    # Each run's predictions are read once, although the reference is compared with every other system.
    values = {run.folder: mean_cross_entropy(split, run) for runs in group.systems.values() for run in runs}

    def value(run: FinishedRun) -> float | None:
        return values[run.folder]

    found = {system: spread(runs, value) for system, runs in group.systems.items()}
    means = {system: values.t.mean for system, values in found.items() if values.t is not None}
    ranked = sorted(means, key=lambda system: means[system])
    if len(ranked) < 2:
        return None
    others = [system for system in ranked if system != reference] if reference in ranked else []
    differences = {s: over_folds(group.systems[s], group.systems[str(reference)], value) for s in others}
    corrected = dict(
        zip(others, holm([None if (t := differences[s].t) is None else t.p for s in others]), strict=True)
    )
    curves = convergence(group)
    rows: list[list[Entry | str]] = []
    for place, system in enumerate(ranked, 1):
        runs = group.systems[system]
        row: list[Entry | str] = [number(place), system, spread_entry(found[system], CROSS_ENTROPY)]
        if others and system == reference:
            row += ["the reference", "-", "-"]
        elif others:
            d = differences[system]
            row += [
                t_entry(d.t, d.test, CROSS_ENTROPY),
                p_entry(None if d.t is None else d.t.p),
                p_entry(corrected[system]),
            ]
        row += [spread_entry(spread(runs, partial(figure_of, split, name)), COLUMNS[name]) for name in FIGURES]
        worth = worths[system].median("cross_entropy") if system in worths else None
        row.append(Entry("-") if worth is None else Entry(str(worth.worth), worth.interval))
        training = [run.results.get("training", {}) for run in runs]
        row.append(_median([t.get("train_runtime") for t in training], SECONDS))
        steps = [1000 / rate if (rate := t.get("train_steps_per_second")) else None for t in training]
        row.append(_median(steps, MILLISECONDS))
        if others:
            row.append("-" if system == reference else both_converged(curves, str(reference), system))
        rows.append(row)
    compared = [f"minus {reference}: difference [95 %]", "p", "Holm p"] if others else []
    heads = ["place", "system", CROSS_ENTROPY.title, *compared, *(COLUMNS[name].title for name in FIGURES)]
    heads += ["worth raters, by cross-entropy", SECONDS.title, MILLISECONDS.title]
    heads += ["both converged?"] if others else []
    tests = f" Holm: corrected over the {len(others)} comparisons." if len(others) > 1 else ""
    answers = [str(row[-1]) for row in rows if row[-1] != "-"] if others else []
    note = " ".join(filter(None, [NOTE + tests, about_tests(answers) if answers else ""]))
    return Table(file_name(group.name, split, "leaderboard"), heads, rows, note)


def _median(values: list[float | None], shown: Shown) -> Entry:
    there = [value for value in values if value is not None]
    return Entry(shown.text(float(np.median(there))), parts={"": float(np.median(there))}) if there else Entry("-")
