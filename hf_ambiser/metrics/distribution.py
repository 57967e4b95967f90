"""Distances between a predicted emotion distribution q and the distribution p of the raters' votes.

Every function takes `(N, K)` rows of probabilities and returns `(N,)`, one figure per utterance; reports show the mean
over utterances. Only the entropy correlation is one figure for all utterances.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from hf_ambiser.labels.votes import entropy_bits
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions, check_pair


KL_SMOOTHING = 1e-6
# Entropies that differ by less are equal up to rounding; a correlation with rounding errors would mean nothing.
_CONSTANT = 1e-9


def kl_divergence(true: Array, predicted: Array, smoothing: float = KL_SMOOTHING) -> Array:
    """`(N,)` KL(p || q') in nats, with q' = (1 - smoothing) q + smoothing / K; `0 log 0 = 0`.

    The range is 0 (q' = p) to log(K / smoothing). Without smoothing, one confident miss would make the mean infinite;
    the smoothing must be reported with the figure. KL is not symmetric: the raters' distribution is the true one.

    Raises:
        ValueError: If `smoothing` is not in [0, 1).
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}; it must be at least 0 and below 1.")
    p, q = check_pair(true, predicted)
    q = (1 - smoothing) * q + smoothing / p.shape[1]
    voted = p > 0
    with np.errstate(divide="ignore"):  # without smoothing, q may be 0 where p is not; then KL is infinite
        return (p * (np.log(np.where(voted, p, 1.0)) - np.log(np.where(voted, q, 1.0)))).sum(axis=1)


def cross_entropy(true: Array, predicted: Array, least: float) -> Array:
    """`(N,)` -sum_k p_k log q_k in nats; a softmax may round to 0, and every q_k counts as `least` at least.

    Rows are taken as they are: a row of zeros in p, an utterance without votes, gives 0.
    """
    return -(true * np.log(np.maximum(predicted, least))).sum(axis=1)


def js_divergence(true: Array, predicted: Array) -> Array:
    """`(N,)` Jensen-Shannon divergence in bits, H((p + q) / 2) - (H(p) + H(q)) / 2: 0 (equal) to 1 (disjoint)."""
    p, q = check_pair(true, predicted)
    # For equal rows, rounding can give -1e-17.
    return np.clip(entropy_bits((p + q) / 2) - (entropy_bits(p) + entropy_bits(q)) / 2, 0.0, 1.0)


def cosine_similarity(true: Array, predicted: Array) -> Array:
    """`(N,)` p . q / (|p| |q|): 0 (disjoint) to 1 (equal)."""
    p, q = check_pair(true, predicted)
    norms = np.linalg.norm(p, axis=1) * np.linalg.norm(q, axis=1)
    return np.clip((p * q).sum(axis=1) / norms, 0.0, 1.0)


def brier_score(true: Array, predicted: Array) -> Array:
    """`(N,)` squared distance sum_k (p_k - q_k)^2 against the soft label: 0 (equal) to 2 (two disjoint one-hots)."""
    p, q = check_pair(true, predicted)
    return ((p - q) ** 2).sum(axis=1)


def bhattacharyya_coefficient(true: Array, predicted: Array) -> Array:
    """`(N,)` overlap sum_k sqrt(p_k q_k): 0 (disjoint) to 1 (equal)."""
    p, q = check_pair(true, predicted)
    return np.clip(np.sqrt(p * q).sum(axis=1), 0.0, 1.0)


def entropy_correlation(true: Array, predicted: Array) -> tuple[float, float]:
    """Compute Pearson's r and Spearman's rho between the entropies (bits) of raters and model, both in [-1, 1].

    They show whether the model is uncertain where the raters disagree. In Spearman's rho, ties get their average rank.

    Raises:
        UndefinedMetric: If there are fewer than three utterances (two always correlate by +-1), or if the entropies of
            the raters or of the model are all equal.
    """
    p, q = check_pair(true, predicted)
    raters, model = entropy_bits(p), entropy_bits(q)
    if len(raters) < 3:
        raise UndefinedMetric(f"entropy correlation needs 3 utterances with votes, there are {len(raters)}")
    for name, values in (("raters", raters), ("model", model)):
        if np.ptp(values) <= _CONSTANT:
            raise UndefinedMetric(f"the entropy of the {name} is the same for every utterance")
    return float(stats.pearsonr(raters, model).statistic), float(stats.spearmanr(raters, model).statistic)


def top_class(probabilities: Array) -> Array:
    """`(N,)` index of the largest probability; on a tie, the lowest index."""
    return np.argmax(check_distributions(probabilities, "probabilities"), axis=1)
