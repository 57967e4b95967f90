"""A temperature for a model's logits, chosen by the votes."""

from __future__ import annotations

import math

import numpy as np
import scipy.special
from scipy.optimize import minimize_scalar

from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions


# Beyond these temperatures a model's answers are all the same, or all certain.
COLDEST, HOTTEST = 0.01, 100.0
# As near to each other as two cross-entropies can be told apart.
_ROUNDING = 1e-9


def fit_temperature(logits: Array, shares: Array) -> float:
    """Temperature T that minimises the cross-entropy of softmax(logits / T) against soft labels (Guo et al. 2017).

    The cross-entropy is convex in 1 / T, so there is one minimum; it is searched over log T.

    Args:
        logits: `(N, K)` finite.
        shares: `(N, K)` rows that sum to 1.

    Raises:
        ValueError: If shapes or values do not fit.
        UndefinedMetric: If there is no utterance, or no minimum between `COLDEST` and `HOTTEST`.
    """
    z, p = np.asarray(logits, dtype=np.float64), check_distributions(shares, "soft labels")
    if z.shape != p.shape:
        raise ValueError(f"logits have shape {z.shape} and soft labels {p.shape}; the shapes must be equal.")
    if not np.isfinite(z).all():
        raise ValueError("logits hold values that are no numbers; allowed are finite ones. The model has diverged.")

    def cross_entropy(log_t: float) -> float:
        return float(-(p * scipy.special.log_softmax(z / math.exp(log_t), axis=1)).sum(axis=1).mean())

    ends = (math.log(COLDEST), math.log(HOTTEST))
    best = float(minimize_scalar(cross_entropy, bounds=ends, method="bounded", options={"xatol": 1e-7}).x)
    for end in ends:  # flat towards an end is no minimum either: a softmax that rounds to 1 gets no better
        if cross_entropy(end) <= cross_entropy(best) + _ROUNDING:
            what = "all answers alike: the logits say nothing of these votes" if end > 0 else "all answers certain"
            raise UndefinedMetric(
                f"no temperature between {COLDEST:g} and {HOTTEST:g} is the best one: the cross-entropy falls up to"
                f" {math.exp(end):.3g}, which would make {what}. Ask for no temperature."
            )
    return math.exp(best)


def with_temperature(probabilities: Array, temperature: float) -> Array:
    """`(N, K)` softmax(logits / T) from softmax(logits): p_k^(1/T), divided by their sum. At T = 1 nothing changes.

    Raises:
        ValueError: If the temperature is not a positive number, or the rows do not sum to 1.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; allowed are numbers above 0.")
    q = check_distributions(probabilities, "probabilities")
    if temperature == 1:
        return q
    with np.errstate(divide="ignore"):  # log 0 = -inf, and stays a probability of 0
        return scipy.special.softmax(np.log(q) / temperature, axis=1)
