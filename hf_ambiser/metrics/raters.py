"""Score one rater against the others: the rater ceiling, which belongs beside every accuracy of a model.

Everything is computed exactly from the vote counts, without sampling. "One rater" means one vote: if a policy lets a
rater give several votes (`multi_label="each"`), one of them is left out and the others stay. Votes for classes outside
the K are not known here and do not count.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb, prod

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_votes
from hf_ambiser.metrics.distribution import brier_score, cosine_similarity, js_divergence


MAX_HALVES = 100_000


def counts_of_two_votes(votes: Array) -> Array:
    """Return the vote counts `(M, K)` of the M utterances with two votes or more, as int64.

    Args:
        votes: `(N, K)` whole counts.

    Raises:
        ValueError: Votes that are not N rows of K numbers of at least 0.
        UndefinedMetric: If votes are fractional, or if no utterance has two votes.
    """
    votes = check_votes(votes)
    whole = np.rint(votes)
    if np.abs(votes - whole).max() > 1e-4:
        raise UndefinedMetric("votes are fractions of raters' answers, so no single vote can be left out")
    counts = whole[whole.sum(axis=1) >= 2].astype(np.int64)
    if len(counts) == 0:
        raise UndefinedMetric("no utterance has two votes")
    return counts


def rater_confusion(votes: Array) -> Array:
    """`(K, K)` expected counts: rows are the plurality of the remaining votes, columns the vote that is left out.

    For counts v with sum V, the left-out vote is k with probability v_k / V, and the remaining votes are r = v - e_k.
    The true class is the class with the largest r; several such classes share the count equally. Utterances with fewer
    than two votes are left out. WA, UA and macro-F1 of this matrix (`metrics.classification`) are the rater ceiling.

    Args:
        votes: `(N, K)` whole counts.

    Raises:
        UndefinedMetric: If votes are fractional, or if no utterance has two votes.
    """
    counts = counts_of_two_votes(votes)
    n_classes = counts.shape[1]
    remaining = counts[:, None, :] - np.eye(n_classes, dtype=np.int64)  # [n, left-out class, class]
    winner = remaining == remaining.max(axis=2, keepdims=True)
    share = winner / winner.sum(axis=2, keepdims=True)
    return np.einsum("np,npt->tp", soft_labels(counts), share)


def rater_distribution(votes: Array) -> dict[str, float]:
    """Compute mean JS (bits), cosine and Brier between one left-out vote, as a one-hot answer, and the others' shares.

    KL is left out: a one-hot answer makes it infinite, so only the smoothing would decide its value.

    Raises:
        UndefinedMetric: As `rater_confusion`.
    """
    counts = counts_of_two_votes(votes)
    n_classes = counts.shape[1]
    utterance, left_out = np.nonzero(counts)
    weight = soft_labels(counts)[utterance, left_out]
    answer = np.eye(n_classes)[left_out]
    others = soft_labels(counts[utterance] - answer)
    figures = {"js": js_divergence, "cosine": cosine_similarity, "brier": brier_score}
    return {name: float(weight @ figure(others, answer) / len(counts)) for name, figure in figures.items()}


def split_half_js(votes: Array) -> float:
    """Compute the expected JS (bits) between the votes of two halves of the raters, as a mean over utterances.

    The first half has floor(V / 2) votes, the second half the rest. The value is exact: every division h of the votes
    counts with its hypergeometric probability, prod_k C(v_k, h_k) / C(V, |h|).

    Raises:
        UndefinedMetric: As `rater_confusion`, or if the votes of an utterance divide in more than `MAX_HALVES` ways.
    """
    counts, times = np.unique(counts_of_two_votes(votes), axis=0, return_counts=True)
    total = sum(n * _halves_of(tuple(row[row > 0].tolist())) for row, n in zip(counts, times, strict=True))
    return float(total / times.sum())


@lru_cache(maxsize=2**16)  # the same votes are scored after every epoch
def _halves_of(votes: tuple[int, ...]) -> float:
    """The expected JS between the halves of one utterance's votes, without the classes that have none."""
    given = np.array(votes)
    if prod(v + 1 for v in votes) > MAX_HALVES:
        raise UndefinedMetric(f"{given.sum()} votes divide into halves in more than {MAX_HALVES} ways")
    half = np.indices([v + 1 for v in votes]).reshape(len(votes), -1).T
    half = half[half.sum(axis=1) == given.sum() // 2]
    ways = [np.array([comb(v, h) for h in range(v + 1)], dtype=np.float64) for v in votes]
    weight = prod(ways[k][half[:, k]] for k in range(len(given)))
    return float(weight @ js_divergence(soft_labels(half), soft_labels(given - half)) / weight.sum())
