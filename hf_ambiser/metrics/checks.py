"""The checks that every metric makes on its input, and the error for a figure that has no value."""

from __future__ import annotations

import numpy as np


Array = np.ndarray

ROW_SUM_TOLERANCE = 5e-3  # in half precision, the sum of a softmax over a few classes is off by about 1e-3


class UndefinedMetric(ValueError):
    """The figure has no value on this input (no utterance, no variation ...); the message is the reason."""


def check_distributions(values: Array, name: str) -> Array:
    """Check `(N, K)` rows that sum to 1 up to rounding, and return them as float64 with sums of exactly 1.

    Raises:
        ValueError: If the values are not two-dimensional, finite and >= 0, or if a row does not sum to 1 (for example
            logits).
        UndefinedMetric: If there are no rows.
    """
    rows = check_votes(values, name)
    total = rows.sum(axis=1)
    wrong = np.flatnonzero(np.abs(total - 1) > ROW_SUM_TOLERANCE)
    if len(wrong):
        raise ValueError(
            f"{name}: {len(wrong)} of {len(rows)} rows do not sum to 1 (row {wrong[0]}: {total[wrong[0]]:.6g}); "
            "allowed are probabilities: apply softmax to logits, divide votes by their sum."
        )
    return rows / total[:, None]


def check_votes(values: Array, name: str = "votes") -> Array:
    """Check that `(N, K)` values are finite and >= 0, and return them as float64.

    Raises:
        ValueError: If they are not.
        UndefinedMetric: If there are no rows.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise ValueError(f"{name} has shape {rows.shape}; allowed is (utterances, classes).")
    bad = np.flatnonzero(~(np.isfinite(rows) & (rows >= 0)).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name}: {len(bad)} of {len(rows)} rows hold negative or non-finite values (row {bad[0]}: "
            f"{rows[bad[0]].tolist()}); allowed are finite values >= 0. A model that gives NaN has diverged."
        )
    if len(rows) == 0:
        raise UndefinedMetric("no utterance to score")
    return rows


def check_pair(true: Array, predicted: Array) -> tuple[Array, Array]:
    """Check two `(N, K)` arrays of distributions, which must have the same shape; see `check_distributions`."""
    p, q = check_distributions(true, "true distribution"), check_distributions(predicted, "predicted distribution")
    if p.shape != q.shape:
        raise ValueError(
            f"true distribution has shape {p.shape} and predicted distribution {q.shape}; the shapes must be equal."
        )
    return p, q


def check_labels(values: Array, n_classes: int, name: str, lowest: int = 0) -> Array:
    """Check `(N,)` class indices in `lowest..n_classes - 1`, and return them as int64.

    Raises:
        ValueError: If the array is not one-dimensional, or if a value is not a class index in this range.
    """
    labels = np.asarray(values)
    if labels.ndim != 1:
        raise ValueError(f"{name} has shape {labels.shape}; allowed is one class index per utterance, (utterances,).")
    whole = labels.astype(np.int64)
    if not np.array_equal(whole, labels):
        raise ValueError(f"{name} holds values that are not whole numbers; allowed are class indices.")
    bad = np.flatnonzero((whole < lowest) | (whole >= n_classes))
    if len(bad):
        hint = (
            " Utterances without a consensus (-1) are not scored by accuracy: leave them out." if lowest == 0 else ""
        )
        raise ValueError(f"{name}: {whole[bad[0]]} at position {bad[0]}; allowed are {lowest}..{n_classes - 1}.{hint}")
    return whole
