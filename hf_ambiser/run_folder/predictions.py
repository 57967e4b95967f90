"""The answers of a run to the utterances of one test split, beside the raters' votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.files.read import FileError
from hf_ambiser.run_folder.columns import read_columns, write_columns
from hf_ambiser.run_folder.layout import RunFolder


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


def read_ids(run: RunFolder, splits: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the ids of the utterances that were answered on each of these splits."""
    return {split: read_predictions(run.predictions_of(split), ("id",))["id"] for split in splits}


def check_rows(path: Path, stored: Mapping[str, Any] | None, rows: int | None, cure: str) -> None:
    """Check that a file of predictions has each scored utterance once and no other.

    A missing, doubled or foreign row would change figures and p-values silently.

    Args:
        path: The file.
        stored: The run's own figures of all these utterances (`n`, `n_without_consensus`, `vote_counts`); None if the
            run did not score them.
        rows: How many utterances the run answered, if it says so without having scored them.
        cure: What to do about a file that cannot be used.

    Raises:
        FileError: If it has other rows, or lacks a column.
    """
    table = read_columns(path, WITHOUT_EMBEDDING)
    for name in WITHOUT_EMBEDDING:
        table[name]  # an error that names the file, if it lacks one
    ids, times = np.unique(table["id"].astype(str), return_counts=True)
    if (times > 1).any():
        twice = ids[times > 1]
        raise FileError(path, f"holds {len(twice)} utterances more than once, the first is {str(twice[0])!r}", cure)
    if not np.isfinite(table["probabilities"]).all():
        raise FileError(path, "holds probabilities that are no numbers", cure)
    answered = rows if stored is None else stored["n"]
    if answered is not None and len(ids) != answered:
        raise FileError(path, f"holds {len(ids)} utterances, but the run answered {answered}", cure)
    if stored is None:
        return
    voted = np.asarray(table["votes"], dtype=np.float64).sum(axis=0)
    without = int((table["consensus"] < 0).sum())
    if without != stored["n_without_consensus"] or not np.allclose(voted, list(stored["vote_counts"].values())):
        raise FileError(path, "holds other utterances than the run scored: their votes differ", cure)
