"""Calibration errors, against the consensus label and the raters' votes: is a confidence of 0.7 right in 70 %?"""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions, check_labels, check_votes


N_BINS = 15


def expected_calibration_error(
    probabilities: Array, label: Array, n_bins: int = N_BINS
) -> tuple[float, list[dict[str, Any]]]:
    """Compute the ECE of the top answer against the label, in [0, 1], and the bins of its reliability diagram.

    ECE = sum_b n_b / N |accuracy_b - confidence_b| over equal-width bins (low, high] of the largest probability.

    Args:
        probabilities: `(N, K)`. The answer is the class with the largest probability; on a tie, the lowest index.
        label: `(N,)` in 0..K-1; leave out utterances without a consensus label.
        n_bins: Number of bins.

    Returns:
        The error, and one dict per bin: `low, high, n, confidence, accuracy` (the last two are None in an empty bin).

    Raises:
        ValueError: If lengths or values do not fit.
        UndefinedMetric: If there is no utterance.
    """
    q = check_distributions(probabilities, "probabilities")
    label = check_labels(label, q.shape[1], "label")
    if len(label) != len(q):
        raise ValueError(f"{len(label)} labels for {len(q)} rows of probabilities; the numbers must be equal.")
    return _binned(q.max(axis=1), (q.argmax(axis=1) == label).astype(np.float64), n_bins)


def votes_calibration_error(
    probabilities: Array, votes: Array, n_bins: int = N_BINS
) -> tuple[float, list[dict[str, Any]]]:
    """Compute `expected_calibration_error` with the share of votes for the answer in place of right or wrong.

    A model that says 0.6 happy when 6 of 10 raters said happy is calibrated here, but underconfident against the
    consensus label.

    Args:
        probabilities: `(N, K)`.
        votes: `(N, K)` counts or shares; every row needs a vote.
        n_bins: Number of bins.

    Raises:
        ValueError: If shapes or values do not fit.
        UndefinedMetric: If there is no utterance.
    """
    q, p = check_distributions(probabilities, "probabilities"), soft_labels(check_votes(votes))
    if p.shape != q.shape:
        raise ValueError(f"votes have shape {p.shape} and probabilities {q.shape}; the shapes must be equal.")
    if not (p.sum(axis=1) > 0).all():
        raise ValueError("votes: a row holds no vote; leave such utterances out.")
    return _binned(q.max(axis=1), p[np.arange(len(q)), q.argmax(axis=1)], n_bins)


def _binned(confidence: Array, accuracy: Array, n_bins: int) -> tuple[float, list[dict[str, Any]]]:
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}; it must be at least 1.")
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
