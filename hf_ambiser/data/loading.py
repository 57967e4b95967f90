"""Open a built data set: its description and its splits. Training, scoring and reports load their data here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ambiser.data.hub_dataset import dataset_folder, why_not_on_the_hub
from hf_ambiser.data.parquet_files import check_files, load_parquet, read_columns
from hf_ambiser.data.place import READY, old_of
from hf_ambiser.data.split_source import SplitSource, note_source
from hf_ambiser.data.splits import is_fold, tiers
from hf_ambiser.files.read import FileError, exists, read_header, read_json, read_yaml
from hf_ambiser.labels.votes import entropy_bits
from hf_ambiser.untrusted.names import path_of_name


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def read_dataset_info(dataset_dir: Path | str, *, cached: bool = False) -> dict[str, Any]:
    """Read `build_report.json`: `corpus`, `classes`, `policy`, `policy_fingerprint`, `seed`, `counts`, `configs` ...

    `configs[name]` holds `protocol`, `fingerprint`, `options`, `description` and `splits[split]`; the latter holds
    `rows`, `per_class`, `labels_hidden` ...

    Args:
        dataset_dir: Folder of a built data set; or `ACCOUNT/NAME` or `ACCOUNT/NAME@REVISION` of one that was pushed,
            which is downloaded (`hub_dataset`).
        cached: Take one of the Hub from the cache alone, without any request.

    Raises:
        FileNotFoundError: If the folder is not a built data set, or there is none of that name on the Hub.
        ValueError: If the report names a config, a split or a file by a path. As a FileError, if it cannot be used.
    """
    dataset_dir = dataset_folder(dataset_dir, cached=cached)
    path = dataset_dir / "build_report.json"
    if not exists(path):
        what = "does not exist" if not Path(dataset_dir).exists() else f"holds no {path.name}"
        if old_of(Path(dataset_dir).resolve()).is_dir() or (Path(dataset_dir) / READY).is_dir():
            raise FileNotFoundError(
                f"{dataset_dir} {what}: a build that replaced it was stopped. Nothing is lost; give the same build"
                " command again, which first finishes or undoes that."
            )
        raise FileNotFoundError(
            f"{dataset_dir} {what}, so it is not a built data set. Build one: hf-ambiser build <corpus>"
            f" --root RELEASE --out {dataset_dir}{why_not_on_the_hub(dataset_dir)}"
        )
    cure = cure_of(dataset_dir)
    info = read_json(path, cure)
    for name in ("classes", "policy", "configs"):
        if name in info and not isinstance(info[name], list if name == "classes" else dict):
            raise FileError(path, f"holds {info[name]!r:.50} under {name!r}", cure)
    _check_names(info, path, cure)
    return info


def cure_of(dataset_dir: Path | str) -> str:
    """Say what to do about a file of a data set that cannot be used."""
    return f"Restore it from a copy, or build {dataset_dir} again: hf-ambiser build <corpus> ... --overwrite"


def _check_names(info: dict[str, Any], report: Path, cure: str) -> None:
    """Check that the names in a build report lead to no other folder; configs and splits become names of files."""
    folder = report.parent
    try:
        for config, about in info.get("configs", {}).items():
            path_of_name(folder, config, "config", report, follow=True)
            for split, part in about.get("splits", {}).items():
                path_of_name(folder, split, "split", report, follow=True)
                for pattern in part.get("data_files", ()):
                    path_of_name(folder, pattern, "data file", report, below=True, follow=True)
    except (AttributeError, TypeError) as error:
        raise FileError(report, f"describes its configs as no build does ({error})", cure) from error


def _check_card(folder: Path, cure: str) -> None:
    """Check that the header of a data set's card, in which `datasets` finds the files, names files of the data set.

    `datasets` also reads a header that stands alone, in `.huggingface.yaml`.
    """
    for path, read in ((folder / "README.md", read_header), (folder / ".huggingface.yaml", read_yaml)):
        header = read(path, cure) if exists(path) else {}
        try:
            for config in header.get("configs") or ():
                for part in config.get("data_files") or ():
                    patterns = part["path"] if isinstance(part, dict) else part
                    for pattern in [patterns] if isinstance(patterns, str) else patterns:
                        path_of_name(folder, pattern, "data file", path, below=True, follow=True)
        except (AttributeError, KeyError, TypeError) as error:
            what = f"has a header that describes its configs as no build does ({error!r})"
            raise FileError(path, what, cure) from error


def dataset_config(info: dict[str, Any], dataset_dir: Path | str, config: str) -> dict[str, Any]:
    """Return `info["configs"][config]`.

    Raises:
        ValueError: If the data set has no such config; the message lists its configs.
    """
    if config not in info["configs"]:
        raise ValueError(f"{dataset_dir} has no config {config!r}; it has {sorted(info['configs'])}.")
    return info["configs"][config]


def split_files(dataset_dir: Path, config: dict[str, Any], split: str) -> list[Path]:
    """List the Parquet files of a split, in order; `config` comes from `dataset_config`."""
    return [path for pattern in config["splits"][split]["data_files"] for path in sorted(dataset_dir.glob(pattern))]


def dataset_files(dataset_dir: Path, info: dict[str, Any]) -> list[Path]:
    """List the Parquet files of all splits of all configs, each once; `info` comes from `read_dataset_info`."""
    splits = [(config, split) for config in info["configs"].values() for split in config["splits"]]
    return list(dict.fromkeys(path for config, split in splits for path in split_files(dataset_dir, config, split)))


def read_split_columns(dataset_dir: Path, config: dict[str, Any], split: str, columns: Sequence[str]) -> pa.Table:
    """Read columns of a split directly from its files, without the audio and without the cache of `datasets`.

    Raises:
        FileError: If a file cannot be used, or the split has more or fewer rows than were built.
    """
    files = split_files(dataset_dir, config, split)
    _check_rows(dataset_dir, config, split, check_files(files, cure_of(dataset_dir)))
    return read_columns(files, columns, cure_of(dataset_dir))


def _check_rows(dataset_dir: Path | str, config: dict[str, Any], split: str, rows: int) -> None:
    """Check that a split has the rows that were built: a missing or doubled one would change every figure silently."""
    built = config["splits"][split].get("rows")  # builds of an early version do not say it
    if built is not None and rows != built:
        files = ", ".join(config["splits"][split]["data_files"])
        raise FileError(Path(dataset_dir) / files, f"hold {rows} rows, but {built} were built", cure_of(dataset_dir))


def load_split(
    dataset_dir: Path | str,
    config: str,
    split: str,
    reveal: bool = False,
    cache_dir: Path | str | None = None,
    add: Callable[[Dataset], Dataset] | None = None,
) -> Dataset:
    """Load one split as a `datasets.Dataset` with the columns of `schema.features`.

    Args:
        dataset_dir: Folder that `build()` made, or the name of a data set on the Hub, as for `read_dataset_info`.
        config: For example `ipr-strict`.
        split: For example `d1`.
        reveal: Show the labels of a split that hides them (IPR's d2), for a supervised baseline. The label columns are
            copied from `reference_*`, and agreement (over the votes for the classes), entropy and tier are computed
            from them; `ratings` stay empty. A split without hidden labels is returned as it is.
        cache_dir: Where `datasets` keeps its copy; by default its usual cache.
        add: A function that adds columns. All folds share their utterances, so for a fold it gets all of them at once.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
        ValueError: If there is no such config or split; the message lists what there is. Also if `reveal` meets a
            policy that models raters, because a data set keeps only the votes of hidden labels, not the model's
            labels. As a FileError, if a file of the data set cannot be used.
    """
    from hf_ambiser.data.shared_audio import load_fold

    info = read_dataset_info(dataset_dir)
    about = dataset_config(info, dataset_dir, config)
    splits = about["splits"]
    if split not in splits:
        raise ValueError(f"{dataset_dir}, config {config!r}, has no split {split!r}; it has {sorted(splits)}.")
    asked, reveal = reveal, reveal and splits[split]["labels_hidden"]
    aggregation = info["policy"].get("aggregation", "shares")
    if reveal and aggregation != "shares":
        raise ValueError(
            f"{dataset_dir}: the labels hidden in {split!r} can only be revealed as vote shares, but this data set's"
            f" labels are by {aggregation}. Use reveal=False, or build the data set with --aggregation shares."
        )
    changes = [*([add] if add else []), *([_revealed] if reveal else [])]
    source, dataset_dir = SplitSource(str(dataset_dir), config, split, asked), dataset_folder(dataset_dir)
    cure = cure_of(dataset_dir)
    files = split_files(Path(dataset_dir), about, split)
    _check_rows(dataset_dir, about, split, check_files(files, cure))
    if is_fold(config):
        fold = load_fold(Path(dataset_dir), splits[split]["data_files"], cache_dir, cure, changes)
        return note_source(fold, source)
    _check_card(Path(dataset_dir), cure)
    dataset = load_parquet(str(dataset_dir), files, cure, config, split=split, cache_dir=cache_dir and str(cache_dir))
    for change in changes:
        dataset = change(dataset)
    return note_source(dataset, source)


def _revealed(dataset: Dataset) -> Dataset:
    """Fill the label columns from the reference columns; the audio is not touched, so nothing large is copied."""
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
