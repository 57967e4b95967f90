"""Accuracy against one label per utterance: WA, UA, macro-F1, figures per class, confusion matrix.

All figures follow from the confusion matrix `C[t, p]` (true class t, predicted class p). Functions that end in
`_from_confusion` also take *expected* (fractional) counts, for the rater ceiling.
"""

from __future__ import annotations

import numpy as np

from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_labels


def confusion_matrix(label: Array, predicted: Array, n_classes: int) -> Array:
    """Count `(K, K)` int64: rows are true classes, columns predicted classes.

    Args:
        label: `(N,)` class indices in 0..K-1. Leave out utterances without a consensus label (-1) first.
        predicted: `(N,)` class indices in 0..K-1.
        n_classes: K.

    Raises:
        ValueError: If lengths differ or an index is out of range.
    """
    label, predicted = check_labels(label, n_classes, "label"), check_labels(predicted, n_classes, "predicted")
    if len(label) != len(predicted):
        raise ValueError(f"{len(label)} labels and {len(predicted)} predictions; the numbers must be equal.")
    return np.bincount(label * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def weighted_accuracy(label: Array, predicted: Array, n_classes: int) -> float:
    """Compute WA, the share of right answers in [0, 1]: plain accuracy, in which each utterance weighs the same.

    Raises:
        UndefinedMetric: If there is no utterance.
    """
    return wa_from_confusion(confusion_matrix(label, predicted, n_classes))


def unweighted_accuracy(label: Array, predicted: Array, n_classes: int) -> float:
    """Compute UA, the mean recall over the classes that occur among the labels, in [0, 1].

    Raises:
        UndefinedMetric: If there is no utterance.
    """
    return ua_from_confusion(confusion_matrix(label, predicted, n_classes))


def wa_and_ua(consensus: Array, predicted: Array, n_classes: int) -> tuple[float, float]:
    """Compute WA and UA of answers, over the utterances with a consensus label; -1 is none.

    Raises:
        UndefinedMetric: If no utterance has one.
    """
    labelled = np.asarray(consensus) >= 0
    confusion = confusion_matrix(np.asarray(consensus)[labelled], np.asarray(predicted)[labelled], n_classes)
    return wa_from_confusion(confusion), ua_from_confusion(confusion)


def macro_f1(label: Array, predicted: Array, n_classes: int) -> float:
    """Compute the mean F1 = 2 TP / (2 TP + FP + FN) over the classes among labels or predictions, in [0, 1].

    Raises:
        UndefinedMetric: If there is no utterance.
    """
    return f1_from_confusion(confusion_matrix(label, predicted, n_classes))


def _check(confusion: Array) -> Array:
    if not confusion.sum() > 0:
        raise UndefinedMetric("no utterance with a consensus label")
    return np.asarray(confusion, dtype=np.float64)


def wa_from_confusion(confusion: Array) -> float:
    """Compute WA from `(K, K)` counts: trace / sum."""
    confusion = _check(confusion)
    return float(np.trace(confusion) / confusion.sum())


def ua_from_confusion(confusion: Array) -> float:
    """Compute UA from `(K, K)` counts: the mean of diagonal / row sum over the rows that are not empty."""
    confusion = _check(confusion)
    support = confusion.sum(axis=1)
    present = support > 0
    return float(np.mean(np.diag(confusion)[present] / support[present]))


def f1_from_confusion(confusion: Array) -> float:
    """Compute macro-F1 from `(K, K)` counts, over the classes whose row or column is not empty."""
    confusion = _check(confusion)
    involved = confusion.sum(axis=0) + confusion.sum(axis=1)  # 2 TP + FP + FN
    present = involved > 0
    return float(np.mean(2 * np.diag(confusion)[present] / involved[present]))


def per_class_from_confusion(confusion: Array) -> list[dict[str, float | int | None]]:
    """Compute precision, recall, F1 and support of each class, in class order.

    A figure without a value is None: the precision of a class that is never predicted, the recall of a class without
    support, and the F1 of a class with neither.
    """
    rows: list[dict[str, float | int | None]] = []
    for k in range(len(confusion)):
        hit, support, answered = float(confusion[k, k]), float(confusion[k].sum()), float(confusion[:, k].sum())
        rows.append(
            {
                "precision": hit / answered if answered else None,
                "recall": hit / support if support else None,
                "f1": 2 * hit / (answered + support) if answered + support else None,
                "support": int(support) if support.is_integer() else support,
            }
        )
    return rows
