"""Scoring a model on a split: predictions with their utterance ids, and the figures of `metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import EvalPrediction

from hf_ambiser.data.splits import CLEAR_AGREEMENT
from hf_ambiser.data.training_set import EvaluationSet
from hf_ambiser.labels import soft_labels
from hf_ambiser.metrics import evaluate_predictions


# Shown after every epoch; the whole table is computed at the end.
HEADLINES = ("wa", "ua", "macro_f1", "js", "kl", "brier", "entropy_pearson", "ece")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of `(N, K)` logits as float64 probabilities."""
    shifted = np.asarray(logits, dtype=np.float64) - np.max(logits, axis=1, keepdims=True)
    exponent = np.exp(shifted)
    return exponent / exponent.sum(axis=1, keepdims=True)


def score(logits: np.ndarray, votes: np.ndarray, consensus: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """All figures of `metrics.evaluate_predictions`, clear meaning an agreement of 2/3 or more among these votes."""
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
        votes, consensus = prediction.label_ids
        figures = score(prediction.predictions, votes, consensus, self.classes)["all"]
        return {name: figures[name] for name in HEADLINES if figures[name] is not None}


def write_predictions(path: Path, data: EvaluationSet, logits: np.ndarray) -> Path:
    """One row a clip: `id, speaker, probabilities, votes, consensus`."""
    k = logits.shape[1]

    def lists(values: np.ndarray) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(values, dtype=np.float64).ravel()), k)

    table = pa.table(
        {
            "id": list(data.ids),
            "speaker": list(data.speakers),
            "probabilities": lists(softmax(logits)),
            "votes": lists(data.votes),
            "consensus": data.consensus,
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    pq.write_table(table, part)
    return part.replace(path)


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Inverse of `write_predictions`: `id (N,)`, `speaker (N,)`, `probabilities (N, K)`, `votes`, `consensus (N,)`."""
    table = pq.read_table(path)
    return {
        name: np.stack(column.to_pylist())
        if pa.types.is_fixed_size_list(column.type)
        else np.array(column.to_pylist())
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
