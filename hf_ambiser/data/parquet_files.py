"""The Parquet files of a built data set: a check before they are used, their columns, and loading with `datasets`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ambiser.files.read import FileError, open_parquet, read_table


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def check_files(files: Sequence[Path], cure: str) -> int:
    """Check that Parquet files can be opened, and return how many rows they have together.

    Raises:
        FileError: If one cannot be opened.
    """
    rows = 0
    for path in files:
        with open_parquet(path, cure) as file:
            rows += file.metadata.num_rows
    return rows


def content_digest(folder: Path) -> str:
    """Twelve hex digits over all Parquet files: they identify the content of a data set, wherever it lies."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(folder.rglob("*.parquet")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()


def read_columns(files: Sequence[Path], columns: Sequence[str], cure: str) -> pa.Table:
    """Read columns of several files as one table.

    Raises:
        FileError: If a file cannot be used or lacks a column.
    """
    import pyarrow as pa

    return pa.concat_tables([read_table(path, cure, columns) for path in files])


def load_parquet(what: str, files: Sequence[Path], cure: str, *args: str, **options: Any) -> Dataset:
    """Call `datasets.load_dataset(what, *args, **options)`, whose errors do not name the spoilt file.

    Args:
        what: First argument of `load_dataset`: the folder of a data set, or `parquet`.
        files: The files that it will read.
        cure: What to do about a file that cannot be used.
        args: Its further arguments.
        options: Its named arguments.

    Raises:
        FileError: If a file, or the header of the data set's card, cannot be used.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(what, *args, **options)
    except (DatasetsError, ValueError, TypeError, AttributeError) as error:
        for path in files:
            read_table(path, cure)  # reads every page, and names the file that has a spoilt one
        card = Path(what) / "README.md"
        where = card if card.is_file() else Path(what)
        raise FileError(where, f"cannot be loaded by `datasets` ({_reason(error)})", cure) from error


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
