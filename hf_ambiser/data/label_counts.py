"""Count the utterances per class of every speaker or session in a built data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ambiser.data.hub_dataset import dataset_folder
from hf_ambiser.data.loading import dataset_config, read_dataset_info, read_split_columns


BY = ("speaker", "session")


@dataclass(frozen=True)
class LabelCounts:
    """The counts of one config of a data set.

    Args:
        corpus: Name of the corpus.
        classes: Names of the K classes.
        counts: Speaker (or session) -> `(K + 1,)` numbers of utterances with each consensus label, then without one.
    """

    corpus: str
    classes: tuple[str, ...]
    counts: Mapping[str, np.ndarray]

    @property
    def total(self) -> np.ndarray:
        """`(K + 1,)` counts over all speakers (or sessions)."""
        return np.sum(list(self.counts.values()), axis=0)


def count_labels(dataset_dir: Path | str, config: str | None = None, by: str = "speaker") -> LabelCounts:
    """Count the utterances in all splits of a config, each once, by the consensus label of its raters.

    Labels that are hidden from training count too.

    Args:
        dataset_dir: Folder that `build()` made.
        config: One of its configs; by default the first. Configs may differ in the utterances that their splits hold.
        by: `speaker` or `session`.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
        ValueError: If it has no such config, or if `by` is something else.
    """
    if by not in BY:
        raise ValueError(f"by={by!r} is not one of {list(BY)}.")
    info = read_dataset_info(dataset_dir)
    chosen = dataset_config(info, dataset_dir, config or next(iter(info["configs"])))
    k, seen, counts = len(info["classes"]), set[str](), dict[str, np.ndarray]()
    for split in chosen["splits"]:
        columns = read_split_columns(
            dataset_folder(dataset_dir), chosen, split, ["id", by, "reference_label"]
        ).to_pydict()
        for name, group, label in zip(*columns.values(), strict=True):
            if name not in seen:  # several splits may hold the same utterance
                seen.add(name)
                # Without a consensus the label is -1, which is the last place.
                counts.setdefault(str(group), np.zeros(k + 1, dtype=int))[label] += 1
    return LabelCounts(info["corpus"], tuple(info["classes"]), dict(sorted(counts.items())))
