"""Opening a built data set: what it is, and its splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ambiser.data.split_source import SplitSource, note_source
from hf_ambiser.data.splits import is_fold, tiers
from hf_ambiser.labels.votes import entropy_bits


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def read_dataset_info(dataset_dir: Path | str) -> dict[str, Any]:
    """What `build()` wrote down: `corpus`, `classes`, `policy`, `policy_fingerprint`, `seed`, `counts`, `configs`.

    `configs[name]` holds `protocol`, `fingerprint`, `options`, `description` and `splits[split]` with `rows`,
    `per_class`, `labels_hidden`.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
    """
    path = Path(dataset_dir) / "build_report.json"
    if not path.is_file():
        what = "does not exist" if not Path(dataset_dir).exists() else f"holds no {path.name}"
        raise FileNotFoundError(
            f"{dataset_dir} {what}, so it is not a built data set. Build one: hf-ambiser build <corpus>"
            f" --root RELEASE --out {dataset_dir}"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def dataset_config(info: dict[str, Any], dataset_dir: Path | str, config: str) -> dict[str, Any]:
    """`info["configs"][config]`.

    Raises:
        ValueError: If the data set has no such config; the message lists those it has.
    """
    if config not in info["configs"]:
        raise ValueError(f"{dataset_dir} has no config {config!r}; it has {sorted(info['configs'])}.")
    return info["configs"][config]


def split_files(dataset_dir: Path, config: dict[str, Any], split: str) -> list[Path]:
    """The Parquet files of a split, in order; `config` as `dataset_config` gives it."""
    return [path for pattern in config["splits"][split]["data_files"] for path in sorted(dataset_dir.glob(pattern))]


def read_split_columns(dataset_dir: Path, config: dict[str, Any], split: str, columns: Sequence[str]) -> pa.Table:
    """Columns of a split read where they lie: no audio is touched, and nothing goes into the cache of `datasets`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = split_files(dataset_dir, config, split)
    return pa.concat_tables([pq.read_table(path, columns=list(columns)) for path in files])


def load_split(
    dataset_dir: Path | str,
    config: str,
    split: str,
    reveal: bool = False,
    cache_dir: Path | str | None = None,
    add: Callable[[Dataset], Dataset] | None = None,
) -> Dataset:
    """One split as a `datasets.Dataset` with the columns of `schema.features`.

    Args:
        dataset_dir: What `build()` made.
        config: E.g. `ipr-strict`.
        split: E.g. `d1`.
        reveal: Give a split with hidden labels (IPR's d2) its labels, for a supervised baseline: `reference_*` are
            copied to the label columns, agreement (over the votes for the classes), entropy and tier computed from
            them. `ratings` stay empty. Other splits are returned as they are.
        cache_dir: Where `datasets` keeps its copy; its usual cache by default.
        add: Adds columns; of folds, which share their clips, to all clips at once.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
        ValueError: If it has no such config or split; the message lists those it has. If hidden labels are to be
            revealed and the policy models raters: a data set keeps the votes of hidden labels, and not the model's.
    """
    from datasets import load_dataset

    from hf_ambiser.data.shared_audio import load_fold

    info = read_dataset_info(dataset_dir)
    splits = dataset_config(info, dataset_dir, config)["splits"]
    if split not in splits:
        raise ValueError(f"{dataset_dir}, config {config!r}, has no split {split!r}; it has {sorted(splits)}.")
    asked, reveal = reveal, reveal and splits[split]["labels_hidden"]
    aggregation = info["policy"].get("aggregation", "shares")
    if reveal and aggregation != "shares":
        raise ValueError(
            f"{dataset_dir}: the labels hidden in {split!r} can be revealed as the votes have them only, but this data"
            f" set's labels are by {aggregation}. Reveal nothing, or build it with --aggregation shares."
        )
    changes = [*([add] if add else []), *([_revealed] if reveal else [])]
    source = SplitSource(str(dataset_dir), config, split, asked)
    if is_fold(config):
        fold = load_fold(Path(dataset_dir), splits[split]["data_files"], cache_dir, changes)
        return note_source(fold, source)
    dataset = load_dataset(str(dataset_dir), config, split=split, cache_dir=cache_dir and str(cache_dir))
    for change in changes:
        dataset = change(dataset)
    return note_source(dataset, source)


def _revealed(dataset: Dataset) -> Dataset:
    """The label columns replaced from the reference columns; audio is not touched, so nothing large is copied."""
    columns = dataset.select_columns(["reference_votes", "reference_label"]).with_format("numpy")[:]
    votes = np.asarray(columns["reference_votes"], dtype=np.float64).reshape(len(dataset), -1)
    label = np.asarray(columns["reference_label"])
    total = votes.sum(axis=1)
    strongest = np.where(label >= 0, label, votes.argmax(axis=1))
    agreement = np.divide(votes[np.arange(len(votes)), strongest], total, out=np.zeros_like(total), where=total > 0)
    soft = np.divide(votes, total[:, None], out=np.zeros_like(votes), where=total[:, None] > 0)
    new = {
        "votes": votes.astype(np.float32).tolist(),
        "soft_label": soft.astype(np.float32).tolist(),
        "label": label.tolist(),
        "agreement": agreement.astype(np.float32).tolist(),
        "entropy": entropy_bits(soft).astype(np.float32).tolist(),
        "tier": tiers(label, agreement),
    }
    order, features = dataset.column_names, dataset.features
    dataset = dataset.remove_columns(list(new))
    for name, values in new.items():
        dataset = dataset.add_column(name, values, feature=features[name])
    return dataset.select_columns(order)
