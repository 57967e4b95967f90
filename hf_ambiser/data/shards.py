"""Write rows to Parquet files of bounded size, one row group at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import Features

SHARD_BYTES = 256 * 2**20
# Rows per row group. Few rows keep the memory small while writing, and streaming fetches the first row quickly.
ROW_GROUP = 64


def write_shards(
    rows: Iterable[dict[str, Any]],
    sizes: Sequence[int],
    folder: Path,
    name: str,
    features: Features,
    shard_bytes: int = SHARD_BYTES,
) -> list[Path]:
    """Write `<folder>/<name>-00000-of-0000N.parquet` in as few files as `shard_bytes` of audio per file allow.

    The files hold the features, so that `load_dataset` restores class names and list lengths.

    Args:
        rows: The rows, read lazily.
        sizes: Bytes of audio of each row, in the same order.
        folder: Made if it does not exist.
        name: Name of the split.
        features: `schema.features(classes)`.
        shard_bytes: Upper bound on the bytes of audio in one file; a single row may exceed it.

    Returns:
        The paths of the files, in order.
    """
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    counts = _rows_per_shard(sizes, shard_bytes)
    schema, remaining, paths = features.arrow_schema, iter(rows), []
    for number, count in enumerate(counts):
        path = folder / f"{name}-{number:05d}-of-{len(counts):05d}.parquet"
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            for start in range(0, count, ROW_GROUP):
                batch = list(islice(remaining, min(ROW_GROUP, count - start)))
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
        paths.append(path)
    return paths


def _rows_per_shard(sizes: Sequence[int], shard_bytes: int) -> list[int]:
    counts, filled = [0], 0
    for size in sizes:
        if counts[-1] and filled + size > shard_bytes:
            counts.append(0)
            filled = 0
        counts[-1] += 1
        filled += size
    return counts
