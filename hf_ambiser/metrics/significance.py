"""Is the difference between two systems more than chance? Bootstrap over clips, t over folds or seeds, Holm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from hf_ambiser.metrics.checks import Array, UndefinedMetric


@dataclass(frozen=True)
class BootstrapResult:
    """Difference `a - b` of a metric between two systems on the same clips.

    Args:
        a: The metric of the first system, on the clips as they are.
        b: That of the second.
        difference: `a - b`.
        low: Lower end of the percentile interval of the difference.
        high: Upper end.
        p: Two-sided p-value of "no difference".
        confidence: Level of the interval.
        n_clips: Clips.
        n_clusters: Clusters (speakers) they came from; with few of them, interval and p are optimistic.
        n_resamples: Resamples that count.
        n_undefined: Resamples left out because the metric had no value on them.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    confidence: float
    n_clips: int
    n_clusters: int
    n_resamples: int
    n_undefined: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def paired_bootstrap(
    metric: Callable[[Array, Array], float],
    reference: Array,
    system_a: Array,
    system_b: Array,
    clusters: Array | Sequence[str],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> BootstrapResult:
    """Bootstrap the difference of a metric, drawing whole speakers with replacement, the same ones for both systems.

    The clips of one speaker are not independent, so clusters are drawn and every clip of a drawn cluster comes along,
    as often as it was drawn. The interval is the percentile interval of the differences d*; the p-value is
    `min(1, 2 min((1 + #{d* <= 0}) / (1 + B), (1 + #{d* >= 0}) / (1 + B)))`, never below `2 / (1 + B)`.

    Args:
        metric: `metric(reference_rows, system_rows) -> float`, for example
            `lambda label, predicted: unweighted_accuracy(label, predicted, 4)`. May raise `UndefinedMetric`.
        reference: `(N, ...)` what both systems are scored against.
        system_a: `(N, ...)` answers of the first system.
        system_b: `(N, ...)` answers of the second.
        clusters: `(N,)` speaker (or session) of each clip.
        n_resamples: B.
        seed: Of the draws.
        confidence: Level of the interval, in (0, 1).

    Raises:
        ValueError: Lengths differ, or a number is out of range.
        UndefinedMetric: Fewer than two clusters, or no resample on which the metric has a value.
    """
    reference, system_a, system_b = np.asarray(reference), np.asarray(system_a), np.asarray(system_b)
    names = np.asarray(clusters)
    lengths = {
        "reference": len(reference),
        "system_a": len(system_a),
        "system_b": len(system_b),
        "clusters": len(names),
    }
    if len(set(lengths.values())) != 1:
        raise ValueError(f"Lengths differ: {lengths}; all four describe the same clips in the same order.")
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples}; allowed is 1 or more.")
    _check_confidence(confidence)
    _, index = np.unique(names, return_inverse=True)
    n_clusters = int(index.max()) + 1 if len(index) else 0
    if n_clusters < 2:
        raise UndefinedMetric(f"a clustered bootstrap needs two clusters, there are {n_clusters}")
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])

    a, b = float(metric(reference, system_a)), float(metric(reference, system_b))
    if not np.isfinite([a, b]).all():
        raise UndefinedMetric(f"the metric is {a} and {b} on the clips as they are")
    rng = np.random.default_rng(seed)
    differences = np.full(n_resamples, np.nan)
    for i in range(n_resamples):
        rows = np.concatenate([members[c] for c in rng.integers(n_clusters, size=n_clusters)])
        try:
            differences[i] = metric(reference[rows], system_a[rows]) - metric(reference[rows], system_b[rows])
        except UndefinedMetric:
            continue
    kept = differences[np.isfinite(differences)]
    if len(kept) == 0:
        raise UndefinedMetric(f"the metric has no value on any of {n_resamples} resamples")
    tail = (1 - confidence) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    p = 2 * (1 + min(int((kept <= 0).sum()), int((kept >= 0).sum()))) / (1 + len(kept))
    return BootstrapResult(
        a, b, a - b, float(low), float(high), min(1.0, p), confidence,
        len(index), n_clusters, len(kept), n_resamples - len(kept),
    )  # fmt: skip


@dataclass(frozen=True)
class TResult:
    """Mean of n values (or of n paired differences), with Student's t interval and test of "the mean is 0".

    Args:
        n: Number of values.
        mean: Their mean.
        sd: Standard deviation with n - 1; None for one value.
        low: Lower end of the interval of the mean; None for one value.
        high: Upper end.
        p: Two-sided p-value; None where `undefined` says why.
        confidence: Level of the interval.
        undefined: Why figures are missing, or None.
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    confidence: float
    undefined: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def paired_t(
    a: Sequence[float] | Array, b: Sequence[float] | Array | None = None, confidence: float = 0.95
) -> TResult:
    """Mean, sd, t interval and p of `a - b` over runs that share a seed (or a fold); with b None, of a itself.

    Args:
        a: `(n,)` one figure per seed.
        b: `(n,)` the other system's, in the same order of seeds.
        confidence: Level of the interval, in (0, 1).

    Raises:
        ValueError: No values, lengths that differ, or a value that is not finite.
    """
    return _student(_differences(a, b, confidence), 0.0, confidence)


def corrected_resampled_t(
    a: Sequence[float] | Array, b: Sequence[float] | Array, test_per_train: float, confidence: float = 0.95
) -> TResult:
    """As `paired_t`, for folds that share training data: the variance of the mean is `(1 / n + n_test / n_train) s^2`.

    The differences of n folds are not independent: any two folds are trained on mostly the same clips. Plain t takes
    them for independent and finds differences that are not there far more often than it says. Nadeau and Bengio
    (Inference for the Generalization Error, Machine Learning 52, 2003, 239-281) estimate their correlation by the
    share of the test part, n_test / (n_test + n_train), which makes the variance of their mean that above; t has
    n - 1 degrees of freedom as before. Their derivation is for random subsampling; for k folds of one size the ratio
    is 1 / (k - 1) (Bouckaert and Frank, PAKDD 2004), which every fold of a leave-one-speaker-out has on average.

    Args:
        a: `(n,)` one figure per fold.
        b: `(n,)` the other system's, in the same order of folds.
        test_per_train: n_test / n_train, above 0.
        confidence: Level of the interval, in (0, 1).

    Raises:
        ValueError: As `paired_t`, or a ratio that is not above 0.
    """
    if not test_per_train > 0:
        raise ValueError(f"test_per_train is {test_per_train}; it must be above 0: 1 / (k - 1) for k folds.")
    return _student(_differences(a, b, confidence), test_per_train, confidence)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of the m p-values of one family of tests; None (no test was made) stays None.

    With p_(1) <= ... <= p_(m), the adjusted p_(i) is `max over j <= i of min(1, (m - j + 1) p_(j))`. Calling all
    differences real whose adjusted p is below 0.05 calls one of them wrongly real in at most 5 % of all studies,
    however the tests depend on each other (Holm, Scandinavian Journal of Statistics 6, 1979, 65-70).

    Raises:
        ValueError: A p-value that is not in [0, 1].
    """
    made = [i for i, p in enumerate(p_values) if p is not None]
    given = np.array([p_values[i] for i in made], dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"holm needs p-values in [0, 1], got {given.tolist()}.")
    order = np.argsort(given, kind="stable")
    adjusted = np.maximum.accumulate(np.minimum(1.0, given[order] * (len(given) - np.arange(len(given)))))
    result: list[float | None] = [None] * len(p_values)
    for place, value in zip(order, adjusted, strict=True):
        result[made[place]] = float(value)
    return result


def _differences(a: Sequence[float] | Array, b: Sequence[float] | Array | None, confidence: float) -> Array:
    _check_confidence(confidence)
    values = np.asarray(a, dtype=np.float64)
    if b is not None:
        other = np.asarray(b, dtype=np.float64)
        if other.shape != values.shape:
            raise ValueError(
                f"a has shape {values.shape} and b {other.shape}; each seed or fold needs a value of both systems."
            )
        values = values - other
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"a t test needs one finite figure per seed or fold, got {values.tolist()}.")
    return values


def _student(values: Array, extra: float, confidence: float) -> TResult:
    """Student's t with `(1 / n + extra) s^2` as the variance of the mean."""
    n, mean = len(values), float(values.mean())
    if n == 1:
        return TResult(n, mean, None, None, None, None, confidence, "one value has no standard deviation")
    sd = float(values.std(ddof=1))
    # Differences that are equal up to rounding would give a p-value made of rounding errors.
    if sd <= 1e-12 * max(1.0, abs(mean)):
        return TResult(n, mean, sd, mean, mean, None, confidence, "all values are equal, so t has no value")
    error = sd * np.sqrt(1 / n + extra)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * error)
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return TResult(n, mean, sd, mean - half, mean + half, p, confidence)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed is 0 < confidence < 1.")
