"""Label noise at a known rate for a built data set, to see what a method makes of noisy labels.

The result is an ordinary built data set. In the chosen splits a known share of the labels, the noise rate, is noisy:
`label` is another class than the raters' consensus, and the entries of the old and the new class change places in
`votes` and `soft_label`, so that vote shares teach the wrong class too; this keeps agreement, entropy and tier right.
`ratings` are emptied there because they would give the noise away. The `reference_*` columns, which scores and
comparisons use, stay the raters' own, and all other splits are copied.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_ambiser.data.build import CARD, LISTED, merged_card
from hf_ambiser.data.card import dataset_card
from hf_ambiser.data.corpora import load_corpus
from hf_ambiser.data.loading import cure_of, dataset_config, read_dataset_info, read_split_columns, split_files
from hf_ambiser.data.noise_record import LABEL_NOISE, N_NOISY, describe_label_noise
from hf_ambiser.data.parquet_files import content_digest
from hf_ambiser.data.place import REPORT, Place
from hf_ambiser.data.ratings.corpus_facts import known_corpus
from hf_ambiser.data.speakers import read_speakers, write_speakers
from hf_ambiser.data.splits import is_fold
from hf_ambiser.data.splits.common import keyed_hash
from hf_ambiser.files.read import open_parquet


Array = np.ndarray
HOW = ("uniform", "confusion")


@dataclass(frozen=True)
class LabelNoise:
    """The noise to add. The fields are stored by these names in the build report.

    Args:
        config: The config of the data set that gets noise; the new data set has only this one.
        splits: The splits of that config that get noisy labels, each at the same rate.
        how: `uniform`: every other class is equally likely. `confusion`: another class is as likely as a rater gives
            it to an utterance of these splits whose consensus is the old class.
        share: The noise rate, in (0, 1]; `round(share * n)` of n labels become noisy.
        seed: Decides which labels become noisy and which class each gets. The noisy labels of a lower rate are among
            those of a higher rate and get the same class there.

    Raises:
        ValueError: If a value is not allowed.
    """

    config: str
    splits: tuple[str, ...] = ("clear",)
    how: str = "uniform"
    share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise ValueError(f"how={self.how!r} is not one of {list(HOW)}.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} must be above 0 and at most 1.")
        if not self.splits:
            raise ValueError("splits is empty: name at least one training split, for example clear.")
        if is_fold(self.config):
            raise ValueError(
                f"config {self.config!r} is a fold, and folds share their files: an utterance's label would change in"
                " the test split of another fold, too. Give a config without folds, for example slc-strict."
            )


def add_label_noise(source: Path | str, out: Path | str, noise: LabelNoise, *, progress: bool = True) -> bool:
    """Make a built data set with noisy labels from another one.

    The same arguments give the same files. Everything is written beside `out` and moved there at the end.

    Args:
        source: Folder that `build()` made.
        out: Folder to make.
        noise: The noise to add.
        progress: Whether to show a bar.

    Returns:
        True if the data set was made; False if `out` holds it already, made from the same data by the same arguments.

    Raises:
        FileExistsError: If `out` holds anything else.
        FileNotFoundError: If `source` is no built data set.
        ValueError: If this noise cannot be added to that data set; the message says why.
    """
    source, out = Path(source).absolute(), Path(out).absolute()
    info = read_dataset_info(source)
    config = dataset_config(info, source, noise.config)
    _check_source(source, info, config, noise)
    asked = {**asdict(noise), "splits": list(noise.splits), "source_content": info["content"]}
    place = Place(out)
    place.check(overwrite=True)  # a data set may be there, nothing else
    if _is_there(out, asked):
        return False
    tables = {name: _read(source, config, name) for name in noise.splits}
    k = len(info["classes"])
    chances = np.ones((k, k)) - np.eye(k)
    if noise.how == "confusion":
        together = [np.concatenate([t[column] for t in tables.values()]) for column in ("label", "votes")]
        chances = confusion(*together)
    new = {name: noisy_labels(t["id"], t["label"], chances, noise.share, noise.seed) for name, t in tables.items()}
    counts = {name: _counts(tables[name]["label"], labels, info["classes"]) for name, labels in new.items()}
    for name, count in counts.items():
        if not count[N_NOISY]:
            raise ValueError(
                f"share={noise.share} of the {count['labels']} labels of {name!r} rounds to none; give a larger share."
            )
    unconfused = [
        name for name, row in zip(info["classes"], chances, strict=True)
        if not row.any() and any(name in count["from_to"] for count in counts.values())
    ]  # fmt: skip
    report = _report(info, config, {**asked, "without_confusion": unconfused, "counts": counts}, new)

    partial = place.begin()
    _write(source, partial, config, {name: (tables[name]["label"], new[name]) for name in new}, progress)
    report["content"] = content_digest(partial)
    (partial / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(source / LISTED, partial / LISTED)
    write_speakers(partial, read_speakers(source))
    card = dataset_card(report, known_corpus(report) or load_corpus(report["corpus"]), "path/to/this/folder")
    (partial / CARD).write_text(merged_card(card, out), encoding="utf-8")
    place.finish()
    return True


def confusion(label: Array, votes: Array) -> Array:
    """Count the votes for each *other* class (column) on utterances whose consensus is the row's class, `(K, K)`.

    Rows are counts, not shares. A row of zeros is a class about which no rater disagreed.

    Args:
        label: `(N,)` consensus class or -1.
        votes: `(N, K)` counts.
    """
    k = votes.shape[1]
    counts = np.array([votes[label == c].sum(axis=0) for c in range(k)], dtype=np.float64)
    np.fill_diagonal(counts, 0)
    return counts


def noisy_labels(ids: Sequence[str], label: Array, chances: Array, share: float, seed: int) -> Array:
    """Labels `(N,)` of which `round(share * n)` are another class; n counts the labels that are not -1.

    Which labels become noisy, and which class each gets, depends only on the seed, the id and the row of `chances` of
    the old class. Where that row is zeros, every other class is equally likely.

    Args:
        ids: N ids.
        label: `(N,)` class or -1.
        chances: `(K, K)` how likely each other class is, up to a factor.
        share: The noise rate.
        seed: Key of the hashes.
    """
    labelled = np.flatnonzero(label >= 0).tolist()
    # The words "replace" and "replace by" are keys of hashes: other words would choose other labels.
    order = sorted(labelled, key=lambda i: (keyed_hash(seed, "replace", ids[i]), ids[i]))
    new = label.copy()
    for i in order[: round(share * len(labelled))]:
        row = np.delete(chances[label[i]], label[i])
        row = row if row.any() else np.ones_like(row)
        place = keyed_hash(seed, "replace by", ids[i]) / 2**64 * row.sum()
        other = min(int(np.searchsorted(np.cumsum(row), place, side="right")), len(row) - 1)
        new[i] = other + (other >= label[i])
    return new


def _check_source(source: Path, info: dict[str, Any], config: dict[str, Any], noise: LabelNoise) -> None:
    if LABEL_NOISE in info:
        raise ValueError(f"{source} has noisy labels already; start from the data set it was made from.")
    aggregation = info["policy"].get("aggregation", "shares")
    if aggregation != "shares":
        raise ValueError(
            f"{source}: labels are by {aggregation}, so the raters' labels are not known to be clean. Build it with"
            " --aggregation shares."
        )
    splits = config["splits"]
    for name in noise.splits:
        if name not in splits:
            raise ValueError(f"{source}, config {noise.config!r}, has no split {name!r}; it has {sorted(splits)}.")
        if splits[name]["labels_hidden"]:
            raise ValueError(f"{source}: the labels of {name!r} are hidden, so none can be made noisy.")
        shared = [
            other for other, part in splits.items()
            if other not in noise.splits and set(part["data_files"]) & set(splits[name]["data_files"])
        ]  # fmt: skip
        if shared:
            raise ValueError(
                f"{source}: split {shared[0]!r} repeats utterances of {name!r}, which would get noisy labels."
            )


def _is_there(out: Path, asked: dict[str, Any]) -> bool:
    if not (out / REPORT).is_file():
        return False
    there = read_dataset_info(out).get(LABEL_NOISE)
    if there is None:
        raise FileExistsError(f"{out} holds a data set whose labels are the raters'; choose another --out.")
    differs = [name for name, value in asked.items() if there[name] != value]
    if differs:
        raise FileExistsError(
            f"{out} holds a data set with other label noise ({', '.join(differs)} differ); choose another --out, or"
            " delete that folder."
        )
    return True


def _read(source: Path, config: dict[str, Any], split: str) -> dict[str, Any]:
    """Ids, labels `(N,)` and votes `(N, K)` of a split, in the order of its files."""
    table = read_split_columns(source, config, split, ["id", "label", "votes"])
    return {
        "id": table["id"].to_pylist(),
        "label": table["label"].to_numpy(),
        "votes": np.array(table["votes"].to_pylist(), dtype=np.float64),
    }


def _counts(old: Array, new: Array, classes: list[str]) -> dict[str, Any]:
    pairs = Counter(zip(old[old != new].tolist(), new[old != new].tolist(), strict=True))
    return {
        "labels": int((old >= 0).sum()),
        N_NOISY: int((old != new).sum()),
        "from_to": {
            a: {b: pairs[i, j] for j, b in enumerate(classes) if pairs[i, j]}
            for i, a in enumerate(classes)
            if any(pairs[i, j] for j in range(len(classes)))
        },
    }


def _report(
    info: dict[str, Any], config: dict[str, Any], noise: dict[str, Any], new: dict[str, Array]
) -> dict[str, Any]:
    """The report of the source data set with the noise that was added."""
    config = copy.deepcopy(config)
    for name, labels in new.items():
        config["splits"][name]["per_class"] = {c: int((labels == i).sum()) for i, c in enumerate(info["classes"])}
    told = describe_label_noise(noise)
    config["description"] = f"{config['description']} {told}"
    notes = [*info["notes"], told]
    return {**info, LABEL_NOISE: noise, "notes": notes, "configs": {noise["config"]: config}}


def _write(
    source: Path,
    partial: Path,
    config: dict[str, Any],
    labels: dict[str, tuple[Array, Array]],
    progress: bool,
) -> None:
    """Write the files of the splits with new labels again, and copy all other files of the config."""
    from tqdm import tqdm

    files = {path: name for name in config["splits"] for path in split_files(source, config, name)}
    files |= {path: name for name in labels for path in split_files(source, config, name)}
    done = dict.fromkeys(labels, 0)
    for path, name in tqdm(sorted(files.items()), desc="adding label noise", unit="file", disable=not progress):
        target = partial / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if name not in labels:
            shutil.copyfile(path, target)
            continue
        with open_parquet(path, cure_of(source)) as file, pq.ParquetWriter(target, file.schema_arrow) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                old, new = (column[done[name] : done[name] + len(table)] for column in labels[name])
                writer.write_table(_with_labels(table, old, new))
                done[name] += len(table)


def _with_labels(table: pa.Table, old: Array, new: Array) -> pa.Table:
    values: dict[str, Any] = {"label": new, "ratings": [[]] * len(table)}
    rows = np.arange(len(table))
    for name in ("votes", "soft_label"):
        shares = np.array(table[name].to_pylist(), dtype=np.float32).reshape(len(table), -1)
        swapped = shares.copy()
        changed = old != new
        swapped[rows[changed], old[changed]] = shares[rows[changed], new[changed]]
        swapped[rows[changed], new[changed]] = shares[rows[changed], old[changed]]
        values[name] = swapped.tolist()
    for name, column in values.items():
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(column, type=field.type))
    return table
