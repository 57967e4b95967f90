"""Which labels a method changed: the one definition that every analysis and figure uses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


# Labels are stored as float32. A label that differs by rounding alone, about 1e-7, is not a changed one.
TOLERANCE = 1e-6


def labels_of(table: Mapping[str, np.ndarray]) -> np.ndarray:
    """The label of each training utterance after one epoch, `(N, K)` float64; zeros where it has none.

    This is the method's `soft_label` where it has given one (IPR says more there than it trains on), else the `target`
    that the utterance was trained on.

    Args:
        table: Columns of one epoch of a label trajectory, see `run_folder.trajectory`.
    """
    target = table["target"].astype(np.float64)
    soft = table.get("soft_label", np.zeros_like(target))
    return np.where(soft.sum(axis=1, keepdims=True) > 0, soft, target)


def changed_labels(label: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Whether each utterance has a label that is not the observed one, `(N,)` bool.

    A label differs where it differs by more than `TOLERANCE` in any class. A label that was not shown to the method
    (a row of zeros in `observed`) is changed as soon as the method gives one.

    Args:
        label: `(N, K)`, as `labels_of` gives them; a row of zeros is no label.
        observed: `(N, K)` labels of the data that the method was shown.
    """
    difference = np.abs(np.asarray(label, np.float64) - np.asarray(observed, np.float64))
    return (label.sum(axis=1) > 0) & (difference > TOLERANCE).any(axis=1)


def class_moves(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the top class of each class's labels went: `(K, K)`, rows (classes before) sum to 1.

    A class without utterances has a row of zeros. Of labels that have a top class the diagonal is the share that kept
    it; a label may be changed (`changed_labels`) and keep its top class.

    Args:
        before: `(N, K)` labels, for example those of the data.
        after: `(N, K)` labels or their logits.
    """
    pairs = np.zeros((before.shape[1], after.shape[1]))
    np.add.at(pairs, (before.argmax(axis=1), after.argmax(axis=1)), 1)
    return pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1)
