"""How many utterances of each class every speaker or session of a built data set has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ambiser.data.loading import dataset_config, read_dataset_info, read_split_columns


BY = ("speaker", "session")


@dataclass(frozen=True)
class LabelCounts:
    """Counts of one configuration of a data set.

    Args:
        corpus: Its name.
        classes: Names of the K classes.
        counts: Speaker (or session) -> `(K + 1,)` utterances with each consensus label, and without one.
    """

    corpus: str
    classes: tuple[str, ...]
    counts: Mapping[str, np.ndarray]

    @property
    def total(self) -> np.ndarray:
        """`(K + 1,)` of all speakers."""
        return np.sum(list(self.counts.values()), axis=0)


def count_labels(dataset_dir: Path | str, config: str | None = None, by: str = "speaker") -> LabelCounts:
    """Count the utterances of all splits of a configuration, each once, by the consensus of its raters.

    Labels that are hidden from training count as what they are.

    Args:
        dataset_dir: What `build()` made.
        config: One of its configurations; by default the first. Each holds those clips that its splits have.
        by: `speaker` or `session`.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
        ValueError: If it has no such configuration, or `by` is something else.
    """
    if by not in BY:
        raise ValueError(f"by={by!r} is not one of {list(BY)}.")
    info = read_dataset_info(dataset_dir)
    chosen = dataset_config(info, dataset_dir, config or next(iter(info["configs"])))
    k, seen, counts = len(info["classes"]), set[str](), dict[str, np.ndarray]()
    for split in chosen["splits"]:
        columns = read_split_columns(Path(dataset_dir), chosen, split, ["id", by, "reference_label"]).to_pydict()
        for name, group, label in zip(*columns.values(), strict=True):
            if name not in seen:  # splits may repeat clips
                seen.add(name)
                # Without a consensus the label is -1: the last place.
                counts.setdefault(str(group), np.zeros(k + 1, dtype=int))[label] += 1
    return LabelCounts(info["corpus"], tuple(info["classes"]), dict(sorted(counts.items())))
