"""The raters' votes on a run's training utterances: the answer sheet, which no trainer opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_ambiser.files.read import Record, read_table
from hf_ambiser.run_folder.layout import RunFolder, whole


COLUMNS = ("id", "reference_votes", "reference_label", "true_distribution")


def write_reference(run: Path, table: pa.Table) -> Path:
    """Write the columns `COLUMNS`, one row per training utterance or segment of one."""
    path = RunFolder(run).reference
    with whole(path) as part:
        pq.write_table(table, part)
    return path


def read_reference(run: Path) -> dict[str, np.ndarray]:
    """Read the raters' votes on the training utterances: the columns of `reference.parquet`, and `row`: id -> row.

    Raises:
        FileError: If the file cannot be used. So is the use of an utterance that it lacks.
    """
    folder = RunFolder(run)
    table = read_table(folder.reference, folder.cure, COLUMNS).to_pydict()
    return {
        "reference_votes": np.array(table["reference_votes"], dtype=np.float64),
        "reference_label": np.array(table["reference_label"]),
        "true_distribution": np.array(table["true_distribution"], dtype=np.float64),
        "row": Record.of({i: n for n, i in enumerate(table["id"])}, folder.reference, folder.cure),  # type: ignore[dict-item]
    }
