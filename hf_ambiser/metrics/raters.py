"""How well one rater does against the others: the figure that a model's accuracy has to be read beside.

Everything is computed exactly from the vote counts, without drawing. "One rater" is one vote: where a policy lets a
rater give several votes (`multi_label="each"`), one of them is left out and the others stay. Votes for classes outside
the K are not known here and play no part.
"""

from __future__ import annotations

from math import comb, prod

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_votes
from hf_ambiser.metrics.distribution import brier_score, cosine_similarity, js_divergence


MAX_HALVES = 100_000


def _counts(votes: Array) -> Array:
    """Vote counts of the utterances with two votes or more, as int64."""
    votes = check_votes(votes)
    whole = np.rint(votes)
    if np.abs(votes - whole).max() > 1e-4:
        raise UndefinedMetric("votes are fractions of raters' answers, so no single vote can be left out")
    counts = whole[whole.sum(axis=1) >= 2].astype(np.int64)
    if len(counts) == 0:
        raise UndefinedMetric("no utterance has two votes")
    return counts


def rater_confusion(votes: Array) -> Array:
    """`(K, K)` expected counts: row the plurality of the remaining votes, column the vote that was left out.

    For counts v with sum V the left-out vote is k with probability v_k / V; the remaining votes are r = v - e_k, and
    each of the classes with the largest r shares the role of the true class equally. Utterances with fewer than two
    votes are left out. WA, UA and macro-F1 of this matrix (`metrics_classification`) are the rater ceiling.

    Args:
        votes: `(N, K)` whole counts.

    Raises:
        UndefinedMetric: Fractional votes, or no utterance with two votes.
    """
    counts = _counts(votes)
    n_classes = counts.shape[1]
    remaining = counts[:, None, :] - np.eye(n_classes, dtype=np.int64)  # [n, left-out class, class]
    winner = remaining == remaining.max(axis=2, keepdims=True)
    share = winner / winner.sum(axis=2, keepdims=True)
    return np.einsum("np,npt->tp", soft_labels(counts), share)


def rater_distribution(votes: Array) -> dict[str, float]:
    """Mean JS (bits), cosine and Brier between one left-out vote, as a one-hot answer, and the shares of the others.

    KL is not among them: a one-hot answer makes it infinite, and smoothing alone would decide its value.
    Raises as `rater_confusion` does.
    """
    counts = _counts(votes)
    n_classes = counts.shape[1]
    utterance, left_out = np.nonzero(counts)
    weight = soft_labels(counts)[utterance, left_out]
    answer = np.eye(n_classes)[left_out]
    others = soft_labels(counts[utterance] - answer)
    figures = {"js": js_divergence, "cosine": cosine_similarity, "brier": brier_score}
    return {name: float(weight @ figure(others, answer) / len(counts)) for name, figure in figures.items()}


def split_half_js(votes: Array) -> float:
    """Expected JS (bits) between the votes of two halves of the raters, mean over utterances.

    The first half has floor(V / 2) votes, the second the rest. Exact: every way to divide the votes counts with
    its hypergeometric probability, prod_k C(v_k, h_k) / C(V, |h|).

    Raises:
        UndefinedMetric: As `rater_confusion`; or an utterance with so many votes that they divide in more than
            `MAX_HALVES` ways.
    """
    counts, times = np.unique(_counts(votes), axis=0, return_counts=True)
    total = 0.0
    for row, n in zip(counts, times, strict=True):
        given = row[row > 0]
        if prod(int(v) + 1 for v in given) > MAX_HALVES:
            raise UndefinedMetric(f"{row.sum()} votes divide into halves in more than {MAX_HALVES} ways")
        half = np.indices(given + 1).reshape(len(given), -1).T
        half = half[half.sum(axis=1) == given.sum() // 2]
        ways = [np.array([comb(int(v), h) for h in range(int(v) + 1)], dtype=np.float64) for v in given]
        weight = prod(ways[k][half[:, k]] for k in range(len(given)))
        total += n * float(weight @ js_divergence(soft_labels(half), soft_labels(given - half)) / weight.sum())
    return float(total / times.sum())
