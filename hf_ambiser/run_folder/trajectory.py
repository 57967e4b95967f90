"""The label trajectory: the label of every training utterance after each epoch."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from hf_ambiser.files.read import exists
from hf_ambiser.files.read import read_tensors as read_tensors_of
from hf_ambiser.run_folder.columns import read_columns, write_columns
from hf_ambiser.run_folder.layout import RunFolder, whole


logger = logging.getLogger(__name__)


def write_trajectory(
    run: Path, epoch: int, columns: Mapping[str, np.ndarray | Sequence[str]], tensors: Mapping[str, np.ndarray]
) -> Path:
    """Write the labels after one epoch, one row per utterance.

    Args:
        run: The run folder.
        epoch: The epoch that has ended, from 1.
        columns: `id (N,)`; `observed (N, K)`, the raters' label (zeros if it was hidden from the run);
            `target (N, K)`, the last target; `weight (N,)`, its weight in the loss; and columns of the method.
        tensors: Further tensors of the method; written beside the table if there are any.
    """
    folder = RunFolder(run)
    if tensors:
        with whole(folder.tensors_after(epoch)) as part:
            part.write_bytes(save({name: np.ascontiguousarray(values) for name, values in tensors.items()}))
    return write_columns(folder.labels_after(epoch), columns)


def drop_trajectory(run: Path) -> None:
    """Delete the trajectory of a training that ended or was killed here before, so that none of its epochs stays."""
    folder = RunFolder(run).trajectory
    if folder.is_dir():
        logger.warning("%s is of an earlier training and is deleted: this one begins anew.", folder)
        shutil.rmtree(folder)


def trajectory_epochs(run: Path) -> list[int]:
    """Return the epochs (1, 2, ...) that have been written."""
    return RunFolder(run).epochs()


def read_trajectory(run: Path, epoch: int) -> dict[str, np.ndarray]:
    """Read the columns of one epoch: `id (N,)`, `observed (N, K)`, `target (N, K)`, `weight (N,)`, the method's own.

    Raises:
        FileNotFoundError: If that epoch was not written.
    """
    path = RunFolder(run).labels_after(epoch)
    if not exists(path):
        raise FileNotFoundError(f"{run} has no label trajectory for epoch {epoch}; it has {trajectory_epochs(run)}.")
    return read_columns(path)


def read_last(run: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Read the columns and tensors of the last epoch that was written; both are empty if there is none."""
    epochs = trajectory_epochs(run)
    return (read_trajectory(run, epochs[-1]), read_tensors(run, epochs[-1])) if epochs else ({}, {})


def read_tensors(run: Path, epoch: int) -> dict[str, np.ndarray]:
    """Read the method's other tensors of one epoch; empty if it has none."""
    folder = RunFolder(run)
    path = folder.tensors_after(epoch)
    return read_tensors_of(path, folder.cure) if exists(path) else {}
