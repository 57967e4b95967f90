"""The report's table of what the seeds of a system answer together: the mean of their distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics import evaluate_predictions
from hf_ambiser.metrics.checks import UndefinedMetric
from hf_ambiser.metrics.display import COLUMNS, Shown
from hf_ambiser.metrics.distribution import cross_entropy
from hf_ambiser.metrics.rater_equivalence import rater_equivalence
from hf_ambiser.metrics.significance import corrected_resampled_t
from hf_ambiser.report.balanced_decisions import HALF, balanced_wa_and_ua, pair_entry
from hf_ambiser.report.groups import Group
from hf_ambiser.report.leaderboard import CROSS_ENTROPY, FIGURES, LEAST_PROBABILITY, mean_cross_entropy
from hf_ambiser.report.results import figure_of, number, p_entry, spread_entry, t_entry
from hf_ambiser.report.statistics import CORRECTED, by_fold, pooled, spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


NOTE = (
    "Each utterance's answer is the mean of the distributions that the seeds of its fold answered (a deep ensemble,"
    " Lakshminarayanan et al. 2017), and it costs as many models as there are seeds. Mean (standard deviation) [95 %"
    " interval] over folds. The differences are from a single seed: from the mean of the seeds' own figures."
)
_DIFFERENCES = {"cross_entropy": CROSS_ENTROPY, "js": COLUMNS["js"]}


def seeds_together_table(group: Group, split: str) -> Table | None:
    """One row for each system that has every one of its folds with two seeds or more, in the order of the group.

    Returns:
        None if there is no such system whose predictions are still there.
    """
    rows: list[list[Entry | str]] = []
    notes = [NOTE]
    for system, runs in group.systems.items():
        seeds, left_out = _complete_seeds(runs)
        used = [run for run in runs if run.seed in seeds]
        if len(seeds) < 2:
            if left_out and len(seeds) + len(left_out) > 1:
                notes.append(f"{system} is not here: {_lacking(left_out)}, and fewer than two seeds are left.")
            continue
        if not all(run.has_predictions(split) for run in used):
            notes.append(f"{system} is not here, because predictions of its runs are gone.")
            continue
        rows.append([system, number(len(seeds)), *_entries(used, split)])
        if left_out:
            notes.append(f"{system}: {_lacking(left_out)}, so it is left out.")
    if not rows:
        return None
    heads = ["the seeds' mean answer", "seeds", CROSS_ENTROPY.title, *(COLUMNS[name].title for name in FIGURES)]
    heads += ["worth raters, by cross-entropy", f"balanced decision, tau {HALF:g}: WA / UA %"]
    for shown in _DIFFERENCES.values():
        heads += [f"{shown.title} minus a single seed's: difference [95 %]", f"p ({shown.name})"]
    return Table(file_name(group.name, split, "seeds_together"), heads, rows, " ".join(notes))


def _lacking(seeds: Sequence[int]) -> str:
    return f"seed {', '.join(map(str, seeds))} lacks folds that another seed has"


def _complete_seeds(runs: Sequence[FinishedRun]) -> tuple[list[int], list[int]]:
    """The seeds that have a run in every fold of the system, and the others."""
    folds = {run.fold for run in runs}
    seeds = list(dict.fromkeys(run.seed for run in runs))
    whole = [seed for seed in seeds if {run.fold for run in runs if run.seed == seed} == folds]
    return whole, [seed for seed in seeds if seed not in whole]


def _entries(runs: Sequence[FinishedRun], split: str) -> list[Entry]:
    """The figures of the mean answers of one system's runs, and how far they are from those of a single seed."""
    folds: dict[str | None, list[FinishedRun]] = {}
    for run in runs:
        folds.setdefault(run.fold, []).append(run)
    together = {fold: _figures(its_runs, split) for fold, its_runs in folds.items()}

    def value(name: str, run: FinishedRun) -> float | None:
        return together[run.fold][name]

    one_each = [its_runs[0] for its_runs in folds.values()]
    shown = {"cross_entropy": CROSS_ENTROPY, **{name: COLUMNS[name] for name in FIGURES}}
    entries = [spread_entry(spread(one_each, partial(value, name)), shown[name]) for name in shown]
    entries.append(_worth(runs, split))
    balanced = [spread(one_each, partial(value, f"balanced_{name}")).t for name in ("wa", "ua")]
    entries.append(pair_entry([one.mean for one in balanced if one is not None]))
    single = {"cross_entropy": partial(mean_cross_entropy, split), "js": partial(figure_of, split, "js")}
    for name, shown_as in _DIFFERENCES.items():
        of_mean = {fold: figures[name] for fold, figures in together.items()}
        entries += _difference(runs, of_mean, single[name], shown_as)
    return entries


def _figures(runs: Sequence[FinishedRun], split: str) -> dict[str, float | None]:
    """The figures of the mean answers of the runs of one fold."""
    answers = pooled(runs, split)
    # Which utterances are clear changes no figure of all of them.
    clear = np.zeros(len(answers.votes), dtype=bool)
    of_parts = evaluate_predictions(
        answers.probabilities, answers.votes, answers.consensus, runs[0].classes, clear=clear
    )
    scores = of_parts["all"]
    far = cross_entropy(soft_labels(answers.votes), answers.probabilities, LEAST_PROBABILITY)
    has_labels = bool((answers.consensus >= 0).any())
    wa, ua = balanced_wa_and_ua(answers.probabilities, answers.consensus, HALF) if has_labels else (None, None)
    balanced = {"balanced_wa": wa, "balanced_ua": ua}
    return {"cross_entropy": float(far.mean()), **{name: scores[name] for name in FIGURES}, **balanced}


def _worth(runs: Sequence[FinishedRun], split: str) -> Entry:
    """How many raters the mean answers to all folds are worth."""
    answers = pooled(runs, split)
    try:
        found = rater_equivalence(answers.probabilities, answers.votes, answers.speaker)
    except UndefinedMetric:
        return Entry("-")
    return Entry(str(found.worth), found.interval)


def _difference(
    runs: Sequence[FinishedRun],
    together: Mapping[str | None, float | None],
    single: Callable[[FinishedRun], float | None],
    shown: Shown,
) -> list[Entry]:
    """The difference of the mean answers' figure from the mean of the seeds' own ones, over folds, and its p-value."""
    alone = by_fold(runs, single)
    pairs = [
        (value, float(np.mean(list(alone[fold].values()))))
        for fold, value in together.items()
        if value is not None and fold in alone
    ]
    if not pairs:
        return [Entry("undefined"), Entry("-")]
    if len(pairs) == 1:
        difference = pairs[0][0] - pairs[0][1]
        return [Entry(f"{shown.signed(difference)} (one fold)", parts={"difference": difference}), Entry("-")]
    t = corrected_resampled_t([x for x, _ in pairs], [y for _, y in pairs], 1 / (len(pairs) - 1))
    return [t_entry(t, CORRECTED, shown), p_entry(t.p)]
