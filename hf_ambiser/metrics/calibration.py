"""Does a confidence of 0.7 come true 7 times in 10? Against the consensus label, and against the raters' votes."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions, check_labels, check_votes


N_BINS = 15


def expected_calibration_error(
    probabilities: Array, label: Array, n_bins: int = N_BINS
) -> tuple[float, list[dict[str, Any]]]:
    """ECE of the top answer against the label, in [0, 1], and the bins of its reliability diagram.

    ECE = sum_b n_b / N |accuracy_b - confidence_b| over equal-width bins (low, high] of the largest probability.

    Args:
        probabilities: `(N, K)`. Of equal probabilities the class with the lowest index is the answer.
        label: `(N,)` in 0..K-1; leave out utterances without a consensus.
        n_bins: Number of bins.

    Returns:
        The error, and one dict a bin: `low, high, n, confidence, accuracy` (the last two None in an empty bin).

    Raises:
        UndefinedMetric: No utterance.
    """
    q = check_distributions(probabilities, "probabilities")
    label = check_labels(label, q.shape[1], "label")
    if len(label) != len(q):
        raise ValueError(f"{len(label)} labels for {len(q)} rows of probabilities; they must agree.")
    return _binned(q.max(axis=1), (q.argmax(axis=1) == label).astype(np.float64), n_bins)


def votes_calibration_error(
    probabilities: Array, votes: Array, n_bins: int = N_BINS
) -> tuple[float, list[dict[str, Any]]]:
    """As `expected_calibration_error`, with the share of votes for the answered class in place of right or wrong.

    A model that says 0.6 happy where 6 of 10 raters said happy is calibrated here, and underconfident against the
    consensus label.

    Args:
        probabilities: `(N, K)`.
        votes: `(N, K)` counts or shares; every row needs a vote.
        n_bins: Number of bins.

    Raises:
        UndefinedMetric: No utterance.
    """
    q, p = check_distributions(probabilities, "probabilities"), soft_labels(check_votes(votes))
    if p.shape != q.shape:
        raise ValueError(f"votes have shape {p.shape} and probabilities {q.shape}; they must agree.")
    if not (p.sum(axis=1) > 0).all():
        raise ValueError("votes: a row without any vote; leave such utterances out.")
    return _binned(q.max(axis=1), p[np.arange(len(q)), q.argmax(axis=1)], n_bins)


def _binned(confidence: Array, accuracy: Array, n_bins: int) -> tuple[float, list[dict[str, Any]]]:
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}; allowed is 1 or more.")
    if len(confidence) == 0:
        raise UndefinedMetric("no utterance to score")
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    n = np.bincount(index, minlength=n_bins)
    sums = [np.bincount(index, weights=values, minlength=n_bins) for values in (confidence, accuracy)]
    error = float(np.abs(sums[1] - sums[0]).sum() / len(confidence))
    bins = [
        {
            "low": float(edges[b]),
            "high": float(edges[b + 1]),
            "n": int(n[b]),
            "confidence": float(sums[0][b] / n[b]) if n[b] else None,
            "accuracy": float(sums[1][b] / n[b]) if n[b] else None,
        }
        for b in range(n_bins)
    ]
    return error, bins
