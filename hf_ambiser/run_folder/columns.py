"""Columns of numbers on disk, in Parquet files that common tools can open, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_ambiser.files.read import Record, read_table
from hf_ambiser.run_folder.layout import RunFolder, whole


def write_columns(path: Path, columns: Mapping[str, np.ndarray | Sequence[str]]) -> Path:
    """Write `(N,)` and `(N, K)` columns; a row of an `(N, K)` column is a list of K."""
    arrays = {name: _array(values) for name, values in columns.items()}
    with whole(path) as part:
        pq.write_table(pa.table(arrays), part)
    return path


def read_columns(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read what `write_columns` wrote; with `names`, only those of these columns that the file has.

    Raises:
        FileError: If the file cannot be used. So is the use of a column that it lacks.
    """
    cure = RunFolder(path.parent.parent).cure
    table = read_table(path, cure, names, needed=False)
    columns = {name: _numbers(column) for name, column in zip(table.column_names, table.columns, strict=True)}
    return Record.of(columns, path, cure)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat or [np.zeros(0)]).reshape(-1, column.type.list_size)


def _array(values: np.ndarray | Sequence[str]) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(values)
