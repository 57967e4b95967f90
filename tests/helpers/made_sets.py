"""Made `datasets` sets with audio and ratings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from helpers.made_ratings import LABELS, sixty_rows, tone


def sound(folder: Path, label: int = 0, seed: int = 0) -> bytes:
    """The bytes of a short tone."""
    return tone(folder / "tone.wav", label, seed).read_bytes()


@cache
def rated_rows(folder: Path) -> list[dict[str, Any]]:
    """The sixty utterances of `sixty_rows` as rows, with their audio and a list of objects with numbers of classes."""
    by_name: dict[str, dict[str, Any]] = {}
    for name, rater, label, speaker in sixty_rows():
        one = by_name.setdefault(name, {"file": f"{name}.wav", "speaker": speaker, "ratings": []})
        one["ratings"].append({"rater": rater, "label": LABELS.index(label)})
    for i, (name, row) in enumerate(by_name.items()):
        row["audio"] = {"bytes": sound(folder, i % 4, i), "path": f"{name}.wav"}
    return list(by_name.values())


def write_sets(place: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows in two splits as `save_to_disk` does (`disk`), and as the Hub has them (`parquet/data`)."""
    import datasets

    objects = datasets.List({"rater": datasets.Value("string"), "label": datasets.ClassLabel(names=list(LABELS))})
    features = datasets.Features(
        {"audio": datasets.Audio(decode=False), "file": datasets.Value("string"), "speaker": datasets.Value("string")}
        | {"ratings": objects}
    )
    parts = {
        name: datasets.Dataset(pa.Table.from_pylist(list(part), schema=features.arrow_schema))
        for name, part in (("train", rows[:40]), ("test", rows[40:]))
    }
    datasets.DatasetDict(parts).save_to_disk(place / "disk")
    (place / "parquet" / "data").mkdir(parents=True)
    for name, part in parts.items():
        pq.write_table(
            part.data.table, place / "parquet" / "data" / f"{name}-00000-of-00001.parquet", row_group_size=7
        )


def parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as a Parquet file, without a word of `datasets`."""
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path
