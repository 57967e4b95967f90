"""Mean, standard deviation and confidence interval over folds and seeds, and the tests between two systems.

A second seed on the same fold is no further evidence about other speakers. So a figure is first averaged over the
seeds of each fold, and deviation, interval and test are over the values of the folds. With only one fold they are over
its seeds, and then they are about training again, not about other speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import UndefinedMetric
from hf_ambiser.metrics.distribution import js_divergence
from hf_ambiser.metrics.significance import (
    LEAST_SPEAKERS,
    BootstrapResult,
    TResult,
    corrected_resampled_t,
    paired_bootstrap,
    paired_t,
)
from hf_ambiser.run_folder.finished import FinishedRun


RESAMPLES = 2000


@dataclass(frozen=True)
class Spread:
    """A figure of one system over its runs.

    Args:
        t: Mean, deviation and interval; None if no run has a value.
        over: What the interval is over: `folds`, `seeds`, or "" for a single value.
        n_undefined: Number of runs in which the figure has no value; they are left out.
    """

    t: TResult | None
    over: str
    n_undefined: int


def by_fold(
    runs: Sequence[FinishedRun], value: Callable[[FinishedRun], float | None]
) -> dict[str | None, dict[int, float]]:
    """The value of each run by fold and seed, without the runs that have no value."""
    found: dict[str | None, dict[int, float]] = {}
    for run in runs:
        figure = value(run)
        if figure is not None:
            found.setdefault(run.fold, {})[run.seed] = figure
    return found


def spread(runs: Sequence[FinishedRun], value: Callable[[FinishedRun], float | None]) -> Spread:
    """Mean over folds of the means over seeds, with the t interval over folds (with one fold: over seeds)."""
    folds = by_fold(runs, value)
    n_undefined = len(runs) - sum(len(seeds) for seeds in folds.values())
    if not folds:
        return Spread(None, "", n_undefined)
    if len(folds) > 1:
        return Spread(paired_t([float(np.mean(list(s.values()))) for s in folds.values()]), "folds", n_undefined)
    seeds = list(next(iter(folds.values())).values())
    return Spread(paired_t(seeds), "seeds" if len(seeds) > 1 else "", n_undefined)


def by_seed(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """The runs of each seed, one a fold, in the order in which the seeds come."""
    seeds: dict[int, list[FinishedRun]] = {}
    for run in runs:
        seeds.setdefault(run.seed, []).append(run)
    return list(seeds.values())


def shared(a: Sequence[FinishedRun], b: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[FinishedRun]]:
    """The runs of the folds and seeds that both systems have, in the same order."""
    mine, theirs = ({(run.fold, run.seed): run for run in runs} for runs in (a, b))
    both = [key for key in mine if key in theirs]
    return [mine[key] for key in both], [theirs[key] for key in both]


@dataclass(frozen=True)
class Difference:
    """The difference of two systems over folds or seeds; `test` names the test, or the reason there is none."""

    t: TResult | None
    test: str


CORRECTED = "corrected resampled t over folds"
PAIRED = "paired t over seeds"


def over_folds(
    a: Sequence[FinishedRun], b: Sequence[FinishedRun], value: Callable[[FinishedRun], float | None]
) -> Difference:
    """Paired test of `a - b` on the folds (each averaged over the seeds both have), or on the seeds of a single fold.

    Folds share training data, so their test is the corrected resampled t with n_test / n_train = 1 / (k - 1), where k
    is the number of folds that both have. If folds are missing, the test errs on the careful side.
    """
    first, second = shared(a, b)
    pairs = [(x, y, value(x), value(y)) for x, y in zip(first, second, strict=True)]
    mine = by_fold([x for x, _, p, q in pairs if p is not None and q is not None], value)
    theirs = by_fold([y for _, y, p, q in pairs if p is not None and q is not None], value)
    if len(mine) > 1:
        x, y = ([float(np.mean(list(folds[fold].values()))) for fold in mine] for folds in (mine, theirs))
        return Difference(corrected_resampled_t(x, y, 1 / (len(mine) - 1)), CORRECTED)
    seeds = [list(folds[fold].values()) for folds in (mine, theirs) for fold in folds]
    if not seeds:
        return Difference(None, "no shared run")
    t = paired_t(seeds[0], seeds[1])
    return Difference(t, PAIRED) if t.n > 1 else Difference(t, "one seed")


@dataclass(frozen=True)
class PooledAnswers:
    """One system's answers on a split over all folds, each utterance once, in the order of ids.

    Args:
        id: `(N,)`.
        speaker: `(N,)`.
        probabilities: `(N, K)` mean over the runs that an utterance was scored in.
        votes: `(N, K)` counts.
        consensus: `(N,)` class of the raters' consensus, or -1.
    """

    id: np.ndarray
    speaker: np.ndarray
    probabilities: np.ndarray
    votes: np.ndarray
    consensus: np.ndarray


def pooled(runs: Sequence[FinishedRun], split: str) -> PooledAnswers:
    """Average every utterance's probabilities over the runs that it was scored in.

    Raises:
        ValueError: If two runs hold different votes for an utterance, or two runs of a fold other utterances.
    """
    read = [run.predictions(split) for run in runs]
    _check_same_utterances(runs, split, [one["id"] for one in read])
    parts = {name: np.concatenate([one[name] for one in read]) for name in read[0]}
    ids, first, place = np.unique(parts["id"].astype(str), return_index=True, return_inverse=True)
    if not (parts["votes"] == parts["votes"][first][place]).all():
        odd = ids[place[(parts["votes"] != parts["votes"][first][place]).any(axis=1)][0]]
        raise ValueError(f"split {split}: the runs' predictions hold different votes for utterance {str(odd)!r}.")
    sums = np.zeros((len(ids), parts["probabilities"].shape[1]))
    np.add.at(sums, place, parts["probabilities"])
    mean = sums / np.bincount(place)[:, None]
    return PooledAnswers(ids, parts["speaker"][first], mean, parts["votes"][first], parts["consensus"][first])


def _check_same_utterances(runs: Sequence[FinishedRun], split: str, ids: Sequence[np.ndarray]) -> None:
    """Check that the runs of each fold answered the same utterances: a mean over others is of no system."""
    first: dict[str | None, tuple[FinishedRun, set[str]]] = {}
    for run, names in zip(runs, ids, strict=True):
        own = set(names.astype(str).tolist())
        other, expected = first.setdefault(run.fold, (run, own))
        if odd := sorted(own ^ expected):
            mine, theirs = (" and ".join(map(str, _files(one, split))) for one in (run, other))
            raise ValueError(
                f"{mine}, and {theirs}, are of one fold and hold"
                f" other utterances ({len(odd)} differ, the first is {odd[0]!r}). Run the one that is wrong again, or"
                " move it away."
            )


def _files(run: FinishedRun, split: str) -> list[Path]:
    """The files of a run's predictions on a split, or on the splits that a set is made of."""
    return [run.files.predictions_of(part) for part in run.joined.get(split, (split,))]


def _mean(_: np.ndarray, values: np.ndarray) -> float:
    return float(values.mean())


def _mean_recall(label: np.ndarray, right: np.ndarray) -> float:
    """UA, as `metrics.unweighted_accuracy`, of utterances that were answered right (1) or wrong (0)."""
    n = np.bincount(label)
    there = n > 0
    return float((np.bincount(label, weights=right)[there] / n[there]).mean())


def over_utterances(
    a: Sequence[FinishedRun], b: Sequence[FinishedRun], split: str, figure: str
) -> BootstrapResult | str:
    """Bootstrap the difference on the utterances of all folds over speakers; the reason if that cannot be done.

    Only runs of the folds and seeds that both systems have count. A system's answer to an utterance is its mean
    distribution over them.
    """
    first, second = shared(a, b)
    if not first:
        return "no shared run"
    mine, theirs = pooled(first, split), pooled(second, split)
    if mine.id.tolist() != theirs.id.tolist():
        return "the systems were scored on different utterances"
    used = mine.votes.sum(axis=1) > 0 if figure == "js" else mine.consensus >= 0
    if not used.any():
        return "no utterance has a consensus"
    if (n := len(np.unique(mine.speaker[used]))) < LEAST_SPEAKERS:
        return f"speakers to draw: {n}, and at least {LEAST_SPEAKERS} are needed"
    label = mine.consensus[used]
    # The contribution of an utterance (its distance, or right and wrong) is computed once, not for every resample.
    if figure == "js":
        truth = soft_labels(mine.votes[used])
        answers = [js_divergence(truth, pool.probabilities[used]) for pool in (mine, theirs)]
    else:
        answers = [(pool.probabilities[used].argmax(axis=1) == label).astype(float) for pool in (mine, theirs)]
    metric = _mean_recall if figure == "ua" else _mean
    try:
        return paired_bootstrap(metric, label, answers[0], answers[1], mine.speaker[used], n_resamples=RESAMPLES)
    except UndefinedMetric as reason:
        return str(reason)
