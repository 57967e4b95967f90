"""The label trajectory: what every training utterance's label was after each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import Tensor

from hf_ambiser.columns import read_columns, write_columns
from hf_ambiser.label_table import LabelTable


FOLDER = "trajectory"


def write_trajectory(table: LabelTable, tensors: Mapping[str, Tensor], run: Path, epoch: int) -> Path:
    """Write `run/trajectory/epoch_NNNN.parquet`: one row an utterance, with its `id` and all columns of the table.

    `observed` is what the annotators said (zeros where the label was not given), `target` what was trained on last,
    `weight` how much; further columns are the method's own. Other tensors of the method go to
    `epoch_NNNN.safetensors` beside it. Each file is written whole or not at all.
    """
    path = run / FOLDER / f"epoch_{epoch:04d}.parquet"
    if tensors:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".safetensors.part")
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part)
        part.replace(path.with_suffix(".safetensors"))
    columns = {"observed": table.observed, **table.columns}
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in columns.items()}
    return write_columns(path, {"id": table.ids, **arrays})


def trajectory_epochs(run: Path) -> list[int]:
    """Epochs (1, 2, ...) that have been written."""
    return sorted(int(path.stem.removeprefix("epoch_")) for path in (run / FOLDER).glob("epoch_*.parquet"))


def read_trajectory(run: Path, epoch: int) -> dict[str, np.ndarray]:
    """Columns of one epoch: `id (N,)`, `observed (N, K)`, `target (N, K)`, `weight (N,)` and the method's own.

    Raises:
        FileNotFoundError: If that epoch was not written.
    """
    path = run / FOLDER / f"epoch_{epoch:04d}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{run} has no label trajectory for epoch {epoch}; it has {trajectory_epochs(run)}.")
    return read_columns(path)


def read_last(run: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Columns and tensors of the last epoch that was written; two empty ones where none was."""
    epochs = trajectory_epochs(run)
    return (read_trajectory(run, epochs[-1]), read_tensors(run, epochs[-1])) if epochs else ({}, {})


def read_tensors(run: Path, epoch: int) -> dict[str, np.ndarray]:
    """The method's other tensors of one epoch; empty where it has none."""
    path = run / FOLDER / f"epoch_{epoch:04d}.safetensors"
    return load_file(path) if path.is_file() else {}
