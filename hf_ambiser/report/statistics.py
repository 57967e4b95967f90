"""Mean, deviation and interval over folds and seeds, and the tests between two systems.

Runs of one fold that differ in their seed are not further evidence about other speakers, so a figure is first
averaged over the seeds of each fold; deviation, interval and test are those of the folds' values. Where there is one
fold only, seeds take its place, and what is said is about training again, not about other speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import UndefinedMetric
from hf_ambiser.metrics.distribution import js_divergence
from hf_ambiser.metrics.significance import BootstrapResult, TResult, corrected_resampled_t, paired_bootstrap, paired_t
from hf_ambiser.run_folder.finished import FinishedRun


RESAMPLES = 2000


@dataclass(frozen=True)
class Spread:
    """A figure of one system over its runs.

    Args:
        t: Mean, deviation and interval; None where no run has a value.
        over: What the interval is over: `folds`, `seeds`, or "" for a single value.
        n_undefined: Runs in which the figure has no value, which are left out.
    """

    t: TResult | None
    over: str
    n_undefined: int


def by_fold(
    cells: Sequence[FinishedRun], value: Callable[[FinishedRun], float | None]
) -> dict[str | None, dict[int, float]]:
    """Fold -> seed -> value, without the runs that have none."""
    found: dict[str | None, dict[int, float]] = {}
    for cell in cells:
        figure = value(cell)
        if figure is not None:
            found.setdefault(cell.fold, {})[cell.seed] = figure
    return found


def spread(cells: Sequence[FinishedRun], value: Callable[[FinishedRun], float | None]) -> Spread:
    """Mean over folds of the means over seeds, with the t interval over folds (one fold: over seeds)."""
    folds = by_fold(cells, value)
    n_undefined = len(cells) - sum(len(seeds) for seeds in folds.values())
    if not folds:
        return Spread(None, "", n_undefined)
    if len(folds) > 1:
        return Spread(paired_t([float(np.mean(list(s.values()))) for s in folds.values()]), "folds", n_undefined)
    seeds = list(next(iter(folds.values())).values())
    return Spread(paired_t(seeds), "seeds" if len(seeds) > 1 else "", n_undefined)


def shared(a: Sequence[FinishedRun], b: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[FinishedRun]]:
    """The runs of folds and seeds that both systems have, in the same order."""
    mine, theirs = ({(cell.fold, cell.seed): cell for cell in cells} for cells in (a, b))
    both = [key for key in mine if key in theirs]
    return [mine[key] for key in both], [theirs[key] for key in both]


@dataclass(frozen=True)
class Difference:
    """Two systems over folds or seeds; `test` names the test that was made, or says why none could be."""

    t: TResult | None
    test: str


CORRECTED = "corrected resampled t over folds"
PAIRED = "paired t over seeds"


def over_folds(
    a: Sequence[FinishedRun], b: Sequence[FinishedRun], value: Callable[[FinishedRun], float | None]
) -> Difference:
    """Paired test of `a - b` on the folds (each averaged over the seeds both have), or on the seeds of a single fold.

    Folds share training data, so theirs is the corrected resampled t with n_test / n_train = 1 / (k - 1), k the folds
    that both have: where folds are missing it errs to the careful side.
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
class Clips:
    """Clips of one split over all folds, each once: `id`, `speaker`, `votes`, `consensus` and mean `probabilities`."""

    id: np.ndarray
    speaker: np.ndarray
    probabilities: np.ndarray
    votes: np.ndarray
    consensus: np.ndarray


def pooled(cells: Sequence[FinishedRun], split: str) -> Clips:
    """Every clip's probabilities averaged over the runs that it was scored in, in the order of ids.

    Raises:
        ValueError: If two runs do not agree on what the raters said of a clip.
    """
    read = [cell.predictions(split) for cell in cells]
    parts = {name: np.concatenate([one[name] for one in read]) for name in read[0]}
    ids, first, place = np.unique(parts["id"].astype(str), return_index=True, return_inverse=True)
    if not (parts["votes"] == parts["votes"][first][place]).all():
        odd = ids[place[(parts["votes"] != parts["votes"][first][place]).any(axis=1)][0]]
        raise ValueError(f"split {split}: the runs' predictions hold different votes for clip {str(odd)!r}.")
    sums = np.zeros((len(ids), parts["probabilities"].shape[1]))
    np.add.at(sums, place, parts["probabilities"])
    mean = sums / np.bincount(place)[:, None]
    return Clips(ids, parts["speaker"][first], mean, parts["votes"][first], parts["consensus"][first])


def _mean(_: np.ndarray, values: np.ndarray) -> float:
    return float(values.mean())


def _mean_recall(label: np.ndarray, right: np.ndarray) -> float:
    """UA, as `metrics.unweighted_accuracy`, of clips that were answered right (1) or wrong (0)."""
    clips = np.bincount(label)
    there = clips > 0
    return float((np.bincount(label, weights=right)[there] / clips[there]).mean())


def over_clips(a: Sequence[FinishedRun], b: Sequence[FinishedRun], split: str, figure: str) -> BootstrapResult | str:
    """Bootstrap over speakers of the difference on the clips of all folds; a reason where there is none.

    Only runs of folds and seeds that both have; a system's answer to a clip is its mean distribution over them.
    """
    first, second = shared(a, b)
    if not first:
        return "no shared run"
    mine, theirs = pooled(first, split), pooled(second, split)
    if mine.id.tolist() != theirs.id.tolist():
        return "the systems were scored on different clips"
    used = mine.votes.sum(axis=1) > 0 if figure == "js" else mine.consensus >= 0
    if not used.any():
        return "no clip has a consensus"
    label = mine.consensus[used]
    # What a clip contributes is worked out once and not for every resample: its distance, or right and wrong.
    if figure == "js":
        truth = soft_labels(mine.votes[used])
        answers = [js_divergence(truth, clips.probabilities[used]) for clips in (mine, theirs)]
    else:
        answers = [(clips.probabilities[used].argmax(axis=1) == label).astype(float) for clips in (mine, theirs)]
    metric = _mean_recall if figure == "ua" else _mean
    try:
        return paired_bootstrap(metric, label, answers[0], answers[1], mine.speaker[used], n_resamples=RESAMPLES)
    except UndefinedMetric as reason:
        return str(reason)
