"""The folder that a corpus is annotated into: its files, each of them whole or not at all, and when it is finished.

    manifest.json           model, source and settings, written first; at the end also shards, digests and counts
    data/annotated-*.parquet    one file for each shard: a row for each input that was answered
    .not_answered/          of each shard, the inputs without an answer; written before the shard itself
    not_answered.parquet    all of them with their reasons, joined at the end
    README.md               the card, written at the end
    .attempts/              which process worked here

A shard that is there is done. So a job that is killed anywhere goes on with the shards that are missing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ambiser.files.digest import file_digest
from hf_ambiser.files.read import FileError, Record, exists, open_parquet, read_card, read_json, read_table
from hf_ambiser.hub.edits import merge
from hf_ambiser.inference.annotation_card import annotation_card
from hf_ambiser.inference.answers import Answer
from hf_ambiser.run_folder.decision import BALANCE
from hf_ambiser.run_folder.layout import CARD, whole, write_whole
from hf_ambiser.untrusted.names import path_of_name


if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST, NOT_ANSWERED, DATA = "manifest.json", "not_answered.parquet", "data"
_PARTS = ".not_answered"
# What must be the same when a job goes on, by its place in the manifest and how it is called in a message.
_SAME = {
    ("model", "digest"): "model",
    ("model", "classes"): "classes",
    ("source", "kind"): "kind of source",
    ("source", "revision"): "revision of the data set",
    ("source", "inputs"): "number of inputs",
    ("source", "digest"): "list of inputs",
    **{("settings", name): name for name in ("shard_size", "embeddings", "window", "hop", "temperature", "threshold")},
    ("settings", "balance"): "balanced decision",
}
# Only a source on the Hub has a revision, and only some models a balanced decision.
_OPTIONAL = ("revision", "balance")
_DIGESTED = {"file": str, "rows": int, "digest": str}
_NUMBER = int | float
# What a manifest holds from the beginning, and what it holds when the job is finished.
_BEGUN: dict[str, Any] = {
    "model": {"name": str, "kind": str, "digest": str, "classes": [str]},
    "source": {"name": str, "kind": str, "inputs": int, "digest": str, "left_out": dict},
    "settings": {
        "shard_size": int, "embeddings": bool, "window": _NUMBER, "hop": _NUMBER, "temperature": _NUMBER,
        "threshold": _NUMBER | None,
    },
}  # fmt: skip
_FINISHED: dict[str, Any] = {
    "shards": [_DIGESTED],
    "not_answered": _DIGESTED,
    "counts": {**dict.fromkeys(("in", "answered", "abstains", "not_answered"), int), "reasons": dict, "leading": dict},
}


class AnnotationFolder:
    """The files of an annotated corpus. To make this object reads and writes nothing.

    Args:
        path: The folder.
        shards: Number of shards.
    """

    def __init__(self, path: Path, shards: int = 0) -> None:
        self.path = path
        self.shards = shards
        self.manifest = path / MANIFEST
        self.not_answered = path / NOT_ANSWERED
        self.card = path / CARD

    def shard(self, number: int) -> Path:
        """Return the file of a shard, 0, 1 ..."""
        return self.path / DATA / f"annotated-{number:05d}-of-{self.shards:05d}.parquet"

    def part(self, number: int) -> Path:
        """Return the file of a shard's inputs without an answer; it is there only if the shard has any."""
        return self.path / _PARTS / f"{number:05d}.parquet"

    def missing(self) -> list[int]:
        """List the shards that are not there."""
        return [number for number in range(self.shards) if not exists(self.shard(number))]

    @property
    def is_finished(self) -> bool:
        """Whether the manifest was completed."""
        return exists(self.manifest) and "shards" in self.read()

    def read(self) -> Record:
        """Read the manifest.

        Raises:
            FileError: If it cannot be used.
        """
        manifest = read_json(self.manifest, f"Restore it from a copy, or delete {self.path} and annotate again.")
        manifest.check(_BEGUN | (_FINISHED if "shards" in manifest else {}))
        if manifest["settings"].get("balance") is not None:
            manifest["settings"].check({"balance": BALANCE})
        return manifest

    def begin(self, head: Mapping[str, Any]) -> None:
        """Write what is annotated, by what and how; or check that it is what the folder was begun with.

        A finished corpus that lacks a shard is no longer finished.

        Raises:
            ValueError: If something differs, which the message names, or the folder holds something else.
        """
        there = sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))
        if exists(self.manifest):
            self._compare(self.read(), head)
            if self.is_finished and self.missing():
                self.write(head)
        elif set(there) - {f"{MANIFEST}.part"}:
            raise ValueError(
                f"--out {self.path} holds {there[0]!r} and no {MANIFEST}, so it is no annotated corpus; choose another"
                " --out."
            )
        else:
            self.write(head)

    def write(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest."""
        write_whole(self.manifest, json.dumps(manifest, indent=1), sync=True)

    def _compare(self, was: Record, now: Mapping[str, Any]) -> None:
        for (group, name), called in _SAME.items():
            before, after = (
                about[group].get(name) if name in _OPTIONAL else about[group][name] for about in (was, now)
            )
            if before != after:
                raise ValueError(
                    f"{self.path} was begun with another {called}: {before!r:.100}, and now it is {after!r:.100}."
                    " Start it as it was begun, or choose another --out."
                )

    def write_shard(
        self, number: int, rows: Sequence[dict[str, Any]], classes: Sequence[str], embeddings: bool
    ) -> None:
        """Write a shard whole: first what has no answer, then what has one, with which the shard is done.

        Args:
            number: Number of the shard.
            rows: Of all its inputs in their order, as `row_of` makes them.
            classes: The K classes.
            embeddings: Whether there is a column of embeddings.
        """
        if without := [row for row in rows if "status" in row]:
            _write(self.part(number), without, without_schema())
        answered = [row for row in rows if "status" not in row]
        _write(self.shard(number), answered, answered_schema(classes, embeddings))

    def finish(self, sizes: Sequence[int], classes: Sequence[str], embeddings: bool) -> dict[str, Any]:
        """Join what has no answer into one table; return the shards and counts, of which none is lost.

        Args:
            sizes: Number of inputs of each shard.
            classes: The K classes.
            embeddings: Whether shards have a column of embeddings.

        Returns:
            `shards` (file, rows, not_answered, digest) and `counts` for the manifest.

        Raises:
            FileError: If a shard cannot be used, or lacks an input.
        """
        shards, counts, leading = [], Counter[str](), Counter[str]()
        for number, size in enumerate(sizes):
            path = self.shard(number)
            cure = f"Delete {path}, and give the same command again."
            table = _columns(path, cure, answered_schema(classes, embeddings), ["abstains", "leading_emotion"])
            abstains = table["abstains"].to_pylist()
            leading.update(table["leading_emotion"].to_pylist())
            without = self._statuses(number)
            if len(abstains) + len(without) != size:
                lost = f"has {len(abstains)} answers, and there are {len(without)} inputs without one; it had {size}"
                raise FileError(path, lost, cure)
            counts.update(answered=len(abstains), abstains=sum(abstains))
            counts.update(without)
            shards.append(
                {
                    "file": path.relative_to(self.path).as_posix(),
                    "rows": len(abstains),
                    "not_answered": len(without),
                    "digest": file_digest(path),
                }
            )
        self._join()
        answered, abstaining = counts.pop("answered", 0), counts.pop("abstains", 0)
        told = {"in": sum(sizes), "answered": answered, "abstains": abstaining, "not_answered": counts.total()}
        reasons = {"reasons": dict(sorted(counts.items())), "leading": {name: leading[name] for name in classes}}
        about = {"file": NOT_ANSWERED, "rows": counts.total(), "digest": file_digest(self.not_answered)}
        return {"shards": shards, "not_answered": about, "counts": {**told, **reasons}}

    def _statuses(self, number: int) -> list[str]:
        path = self.part(number)
        cure = f"Delete {self.shard(number)}, and give the same command again."
        return _columns(path, cure, without_schema(), ["status"])["status"].to_pylist() if exists(path) else []

    def _join(self) -> None:
        import pyarrow.parquet as pq

        with whole(self.not_answered) as part, pq.ParquetWriter(part, without_schema()) as writer:
            for number in range(self.shards):
                if exists(path := self.part(number)):
                    writer.write_table(read_table(path, f"Delete {self.shard(number)}, and annotate again."))

    def write_finished(self, manifest: Mapping[str, Any]) -> None:
        """Write the card, in which a human's edits stay, and then the manifest, with which the job is finished."""
        card = annotation_card(manifest, "path/to/this/folder")
        write_whole(self.card, merge(card, read_card(self.card), str(self.card))[0])
        self.write(manifest)

    def files(self) -> Iterator[Path]:
        """Yield the files of a finished corpus, without its card, after a check of their digests.

        Raises:
            FileError: If the manifest is not complete, or a file is not the one that was written.
            NotAName: If the manifest names a file outside the folder.
        """
        cure = f"Restore it from a copy, or delete {self.path} and annotate again."
        manifest = self.read()
        yield self.manifest
        for entry in [*manifest["shards"], manifest["not_answered"]]:
            path = path_of_name(self.path, entry["file"], "file", self.manifest, below=True)
            with open_parquet(path, cure):  # names what is not there or no Parquet
                pass
            if file_digest(path) != entry["digest"]:
                raise FileError(path, "is not the file that was written: its digest differs", cure)
            yield path


def row_of(place: int, answer: Answer, embeddings: bool) -> dict[str, Any]:
    """Return the row of one input, in a shard or, with a `status`, in the table of those without an answer.

    Args:
        place: Its place in the source.
        answer: Its answer.
        embeddings: Whether the row has its embedding.
    """
    row: dict[str, Any] = {"index": place, "recording": answer.recording, "duration": answer.duration}
    if answer.distribution is None:
        return {**row, "status": answer.status, "reason": answer.reason}
    shares = answer.distribution.probabilities
    row |= {
        "soft_label": list(shares.values()),
        "leading_emotion": answer.distribution.lead,
        "abstains": answer.emotion is None,
        "entropy": answer.entropy,
        "ambiguity": answer.ambiguity,
        "windows": len(answer.windows),
    }
    if embeddings:
        assert answer.embedding is not None
        row["embedding"] = answer.embedding.astype(np.float32)
    return row


def answered_schema(classes: Sequence[str], embeddings: bool) -> pa.Schema:
    """Return the columns of a shard, with the class names as the schema's metadata."""
    import pyarrow as pa

    columns = [
        ("index", pa.int64()),
        ("recording", pa.string()),
        ("duration", pa.float64()),
        ("soft_label", pa.list_(pa.float32(), len(classes))),
        ("leading_emotion", pa.string()),
        ("abstains", pa.bool_()),
        ("entropy", pa.float64()),
        ("ambiguity", pa.float64()),
        ("windows", pa.int32()),
    ]
    columns += [("embedding", pa.list_(pa.float32()))] if embeddings else []
    return pa.schema(columns, {"classes": json.dumps(list(classes))})


def without_schema() -> pa.Schema:
    """Return the columns of the table of inputs without an answer."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    columns = {"index": pa.int64(), "recording": text, "status": text, "reason": text, "duration": number}
    return pa.schema(list(columns.items()))


def _columns(path: Path, cure: str, schema: pa.Schema, names: list[str]) -> pa.Table:
    """Read columns of a file that an earlier attempt may have written; its columns must be those of a schema."""
    with open_parquet(path, cure) as file:
        if not file.schema_arrow.equals(schema):
            raise FileError(path, f"has other columns than were written: {file.schema_arrow.names}", cure)
        return file.read(names)


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole(path) as part, pq.ParquetWriter(part, schema) as writer:
        if rows:  # `datasets` cannot load a file that has a row group without rows
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
