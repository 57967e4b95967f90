"""Note in a `datasets.Dataset` which split it was loaded from; the note survives `select`, `map` and the like."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datasets import Dataset

# The note is a line of the dataset's description, the one field of its info that every operation keeps.
_MARK = "hf_ambiser split: "


@dataclass(frozen=True)
class SplitSource:
    """One split of a built data set.

    Args:
        dataset: Folder of the built data set.
        config: Its config, for example `ipr-strict`.
        split: Its split, for example `d1`.
        revealed: Whether `load_split` was called with `reveal=True`.
    """

    dataset: str
    config: str
    split: str
    revealed: bool = False


def note_source(dataset: Dataset, source: SplitSource) -> Dataset:
    """Write into a dataset where it comes from, and return the same dataset."""
    kept = [line for line in (dataset.info.description or "").splitlines() if not line.startswith(_MARK)]
    dataset.info.description = "\n".join([*kept, _MARK + json.dumps(asdict(source))]).strip()
    return dataset


def sources_of(dataset: Dataset) -> list[SplitSource]:
    """Read where a dataset, or each part of a concatenated one, comes from; empty if `load_split` did not load it."""
    lines = (dataset.info.description or "").splitlines()
    return [SplitSource(**json.loads(line.removeprefix(_MARK))) for line in lines if line.startswith(_MARK)]
