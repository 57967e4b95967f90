"""The figures of a split, from logits: the headlines after every epoch, and all of them at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special
from transformers import EvalPrediction

from hf_ambiser.data.splits import CLEAR_AGREEMENT
from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics import evaluate_predictions
from hf_ambiser.metrics.display import HEADLINES


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of `(N, K)` logits as float64 probabilities."""
    return scipy.special.softmax(np.asarray(logits, dtype=np.float64), axis=1)


def score(
    logits: np.ndarray,
    votes: np.ndarray,
    consensus: np.ndarray,
    classes: list[str],
    agreement: np.ndarray | None = None,
) -> dict[str, Any]:
    """All figures of `metrics.evaluate_predictions`, clear meaning an agreement of 2/3 or more.

    `agreement` is the data set's own, which may count votes for classes left out; None: the top share of these votes.
    """
    if agreement is None:
        agreement = soft_labels(votes).max(axis=1, initial=0.0)
    return evaluate_predictions(
        softmax(logits), votes, consensus, classes, agreement=agreement, threshold=CLEAR_AGREEMENT
    )


class ValidationMetrics:
    """`compute_metrics` of the trainer: the headline figures over all validation clips that have a value."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Headline figures by name."""
        labels: Any = prediction.label_ids  # a pair, though typed as an array or a tuple of one
        votes, consensus = labels
        logits: Any = prediction.predictions
        logits = logits[0] if isinstance(logits, tuple) else logits  # the second is the embedding, where asked for
        figures = score(np.asarray(logits), votes, consensus, self.classes)["all"]
        return {name: figures[name] for name in HEADLINES if figures[name] is not None}
