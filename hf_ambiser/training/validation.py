"""The figures of a split, computed from logits: the headline figures after every epoch, all figures at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special
from transformers import EvalPrediction

from hf_ambiser.data.splits import CLEAR_AGREEMENT
from hf_ambiser.labels.votes import top_shares
from hf_ambiser.metrics import evaluate_predictions
from hf_ambiser.metrics.display import HEADLINES


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn the rows of `(N, K)` logits into float64 probabilities."""
    return scipy.special.softmax(np.asarray(logits, dtype=np.float64), axis=1)


def score(
    logits: np.ndarray,
    votes: np.ndarray,
    consensus: np.ndarray,
    classes: list[str],
    agreement: np.ndarray | None = None,
) -> dict[str, Any]:
    """Compute all figures of `metrics.evaluate_predictions`; clear means an agreement of 2/3 or more.

    `agreement` is the data set's own, which may also count votes for classes that are left out; None: the top share of
    `votes`.
    """
    if agreement is None:
        agreement = top_shares(votes)
    return evaluate_predictions(
        softmax(logits), votes, consensus, classes, agreement=agreement, threshold=CLEAR_AGREEMENT
    )


def best_epochs(log: Sequence[Mapping[str, float]], counted_after: float = 0.0) -> dict[str, dict[str, float]]:
    """Return the validation figures of the epoch with the smallest loss and of the one with the highest UA.

    The loss has no class weights. Where classes are balanced in training it may prefer an epoch that gives the balance
    up, so both choices are reported, whichever was made.

    Args:
        log: The entries of a training log.
        counted_after: Epochs whose evaluations do not count, because the method is not yet what it will be.

    Returns:
        `loss` and `ua`, if they were measured -> `epoch` and the headline figures without their `eval_`.
    """
    names = ("loss", *HEADLINES)
    found = {}
    for chosen, best in (("loss", min), ("ua", max)):
        measured = [e for e in log if f"eval_{chosen}" in e and (not counted_after or e["epoch"] > counted_after)]
        if measured:
            entry = best(measured, key=lambda entry: entry[f"eval_{chosen}"])
            figures = {name: entry[f"eval_{name}"] for name in names if f"eval_{name}" in entry}
            found[chosen] = {"epoch": entry["epoch"], **figures}
    return found


class ValidationMetrics:
    """`compute_metrics` of the trainer: the headline figures over all validation utterances, if they have a value."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return the headline figures by name."""
        labels: Any = prediction.label_ids  # a pair, although its type says an array or a tuple of one
        votes, consensus = labels
        logits: Any = prediction.predictions
        logits = logits[0] if isinstance(logits, tuple) else logits  # [1] is the embedding, if a caller asked for it
        figures = score(np.asarray(logits), votes, consensus, self.classes)["all"]
        return {name: figures[name] for name in HEADLINES if figures[name] is not None}
