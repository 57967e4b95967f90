"""Test whether two systems really differ: bootstrap over utterances, t tests over folds or seeds, Holm's method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from hf_ambiser.metrics.checks import Array, UndefinedMetric


# With fewer speakers a bootstrap over speakers has too few different draws.
FEW_SPEAKERS = 10
# Of three speakers there are ten different draws, which give no p-value.
LEAST_SPEAKERS = 4


@dataclass(frozen=True)
class BootstrapResult:
    """The difference `a - b` of a metric between two systems on the same utterances.

    Args:
        a: The metric of the first system, without resampling.
        b: The metric of the second system, without resampling.
        difference: `a - b`.
        low: Lower end of the percentile interval of the difference.
        high: Upper end.
        p: Two-sided p-value of "no difference".
        confidence: Level of the interval.
        n_utterances: Number of utterances.
        n_clusters: Number of their clusters (speakers); with few clusters, interval and p are optimistic.
        n_resamples: Number of resamples that count.
        n_undefined: Number of resamples left out because the metric had no value on them.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    confidence: float
    n_utterances: int
    n_clusters: int
    n_resamples: int
    n_undefined: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
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
    """Bootstrap the difference of a metric: draw whole speakers with replacement, the same ones for both systems.

    The utterances of one speaker are not independent, so clusters are drawn. All utterances of a cluster are used as
    often as it was drawn. The interval is the percentile interval of the differences d*; the p-value is
    `min(1, 2 min((1 + #{d* <= 0}) / (1 + B), (1 + #{d* >= 0}) / (1 + B)))`, never below `2 / (1 + B)`.

    Args:
        metric: `metric(reference_rows, system_rows) -> float`, for example
            `lambda label, predicted: unweighted_accuracy(label, predicted, 4)`. It may raise `UndefinedMetric`.
        reference: `(N, ...)` labels or distributions that both systems are scored against.
        system_a: `(N, ...)` answers of the first system.
        system_b: `(N, ...)` answers of the second system.
        clusters: `(N,)` speaker (or session) of each utterance.
        n_resamples: B.
        seed: Seed of the draws.
        confidence: Level of the interval, in (0, 1).

    Raises:
        ValueError: If lengths differ, or if a number is out of range.
        UndefinedMetric: If there are fewer than two clusters, or if the metric has no value on any resample.
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
        raise ValueError(f"Lengths differ: {lengths}; all four must hold the same utterances in the same order.")
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples}; it must be at least 1.")
    _check_confidence(confidence)
    _, index = np.unique(names, return_inverse=True)
    n_clusters = int(index.max()) + 1 if len(index) else 0
    if n_clusters < 2:
        raise UndefinedMetric(f"a clustered bootstrap needs two clusters, there are {n_clusters}")
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])

    a, b = float(metric(reference, system_a)), float(metric(reference, system_b))
    if not np.isfinite([a, b]).all():
        raise UndefinedMetric(f"without resampling, the metric is {a} and {b}")
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
    """The mean of n values (or of n paired differences), with Student's t interval and test of "the mean is 0".

    Args:
        n: Number of values.
        mean: Their mean.
        sd: Standard deviation with n - 1; None for one value.
        low: Lower end of the interval of the mean; None for one value.
        high: Upper end.
        p: Two-sided p-value; None if `undefined` gives a reason.
        confidence: Level of the interval.
        undefined: The reason why figures are missing, or None.
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
        """Return plain values, for JSON."""
        return asdict(self)


def paired_t(
    a: Sequence[float] | Array, b: Sequence[float] | Array | None = None, confidence: float = 0.95
) -> TResult:
    """Compute mean, sd, t interval and p of `a - b` over runs that share a seed (or a fold); of `a` if b is None.

    Args:
        a: `(n,)` one figure per seed.
        b: `(n,)` the other system's figures, in the same order of seeds.
        confidence: Level of the interval, in (0, 1).

    Raises:
        ValueError: If there are no values, if lengths differ, or if a value is not finite.
    """
    return _student(_differences(a, b, confidence), 0.0, confidence)


def corrected_resampled_t(
    a: Sequence[float] | Array, b: Sequence[float] | Array, test_per_train: float, confidence: float = 0.95
) -> TResult:
    """Compute `paired_t` for folds that share training data: the mean's variance is `(1 / n + n_test / n_train) s^2`.

    The differences of n folds are not independent, because any two folds train on mostly the same utterances. A plain
    t test assumes independence, so it reports differences that do not exist far more often than its level says. Nadeau
    and Bengio (Inference for the Generalization Error, Machine Learning 52, 2003, 239-281) estimate the correlation as
    the share of the test part, n_test / (n_test + n_train). This gives the variance above; t still has n - 1 degrees
    of freedom. They derive it for random subsampling. For k folds of equal size the ratio is 1 / (k - 1) (Bouckaert
    and Frank, PAKDD 2004); the folds of leave-one-speaker-out have this ratio on average.

    Args:
        a: `(n,)` one figure per fold.
        b: `(n,)` the other system's figures, in the same order of folds.
        test_per_train: n_test / n_train, above 0.
        confidence: Level of the interval, in (0, 1).

    Raises:
        ValueError: As `paired_t`, or if the ratio is not above 0.
    """
    if not test_per_train > 0:
        raise ValueError(f"test_per_train is {test_per_train}; it must be above 0: 1 / (k - 1) for k folds.")
    return _student(_differences(a, b, confidence), test_per_train, confidence)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the m p-values of one family of tests by Holm's step-down method; None (no test was made) stays None.

    With p_(1) <= ... <= p_(m), the adjusted p_(i) is `max over j <= i of min(1, (m - j + 1) p_(j))`. If every
    difference with an adjusted p below 0.05 is called real, then at most 5 % of all studies call a difference real
    that is not, for any dependence between the tests (Holm, Scandinavian Journal of Statistics 6, 1979, 65-70).

    Raises:
        ValueError: If a p-value is not in [0, 1].
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
    """Make Student's t interval and test with `(1 / n + extra) s^2` as the variance of the mean."""
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
        raise ValueError(f"confidence is {confidence}; it must be above 0 and below 1.")
