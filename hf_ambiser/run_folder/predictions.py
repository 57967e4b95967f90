"""The answers of a run to the utterances of one test split, beside the raters' votes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.run_folder.columns import read_columns, write_columns


WITHOUT_EMBEDDING = ("id", "speaker", "probabilities", "votes", "consensus")


def write_predictions(
    path: Path,
    ids: Sequence[str],
    speakers: Sequence[str],
    probabilities: np.ndarray,
    votes: np.ndarray,
    consensus: np.ndarray,
    embedding: np.ndarray | None = None,
    agreement: np.ndarray | None = None,
) -> Path:
    """Write one row per utterance.

    Args:
        path: Parquet file, named by `RunFolder.predictions_of`.
        ids: N names.
        speakers: N names.
        probabilities: `(N, K)`, each row sums to 1.
        votes: `(N, K)` counts.
        consensus: `(N,)` class of the raters' consensus, or -1.
        embedding: `(N, D)`, stored as float32; None: not stored.
        agreement: `(N,)` the data set's own, which says which utterances are clear; None: not stored.
    """
    columns: dict[str, Any] = {
        "id": list(ids),
        "speaker": list(speakers),
        "probabilities": probabilities,
        "votes": votes,
        "consensus": consensus,
    }
    if agreement is not None:
        columns["agreement"] = np.asarray(agreement, dtype=np.float64)
    if embedding is not None:
        columns["embedding"] = np.asarray(embedding, dtype=np.float32)
    return write_columns(path, columns)


def read_predictions(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read what `write_predictions` wrote; with `names`, only those of these columns that the file has."""
    return read_columns(path, names)
