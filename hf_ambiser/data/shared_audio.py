"""The files that all folds of a build share, so that audio is stored once, or twice if labels are hidden.

Every utterance is in all k folds, each time in a split with other utterances. So the utterances that share their split
in every fold are written together, and a split of a fold is a union of such files. IPR's D2 hides labels: an utterance
that is in D2 of one fold and labelled in another is written once in each form, for any number of folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_ambiser.data.parquet_files import check_files, load_parquet
from hf_ambiser.data.splits import Split


if TYPE_CHECKING:
    from datasets import Dataset

FOLDS = "folds"


@dataclass(frozen=True)
class FoldPart:
    """Utterances that are written together.

    Args:
        name: Stem of their files.
        rows: Their row numbers.
        masked: Whether their labels are hidden.
        splits: Config -> the split that holds them; configs that do not hold them in this form are left out.
    """

    name: str
    rows: np.ndarray
    masked: bool
    splits: dict[str, str]


def fold_parts(folds: Sequence[Split]) -> list[FoldPart]:
    """Divide the rows into the fewest parts so that every split of every fold is a union of parts."""
    parts: list[FoldPart] = []
    for masked in (False, True):
        found: dict[tuple[str, ...], list[int]] = {}
        where = [np.where(np.isin(f.assignment, list(f.masked)) == masked, f.assignment, "").tolist() for f in folds]
        for row, splits in enumerate(zip(*where, strict=True)):
            if any(splits):
                found.setdefault(splits, []).append(row)
        for splits, rows in found.items():
            name = f"part{len(parts):04d}" + ("_hidden" if masked else "")
            held = {fold.config: split for fold, split in zip(folds, splits, strict=True) if split}
            parts.append(FoldPart(name, np.array(rows), masked, held))
    return parts


def load_fold(
    dataset_dir: Path,
    patterns: Sequence[str],
    cache_dir: Path | str | None,
    cure: str,
    changes: Sequence[Callable[[Dataset], Dataset]] = (),
) -> Dataset:
    """Load one split of a fold.

    `load_dataset(folder, config)` would copy every split of every fold into the cache of `datasets`. Here the shared
    files are cached once for all folds, and a split is a selection of their rows.

    Args:
        dataset_dir: Folder that `build()` made.
        patterns: Glob patterns of the split's files, from the build report.
        cache_dir: Where `datasets` keeps its copy.
        cure: What to do about a file that cannot be used.
        changes: Functions that change all rows, before the rows are selected; selecting copies no audio.
    """
    files = sorted((dataset_dir / FOLDS).glob("*.parquet"))
    counts = [check_files([path], cure) for path in files]
    first = dict(zip(files, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
    rows = [
        np.arange(first[path], first[path] + count)
        for pattern in patterns
        for path, count in zip(files, counts, strict=True)
        if path.match(pattern)
    ]
    cache = cache_dir and str(cache_dir)
    names = [str(path) for path in files]
    shared = load_parquet("parquet", files, cure, data_files=names, split="train", cache_dir=cache)
    for change in changes:
        shared = change(shared)
    return shared.select(np.concatenate(rows))
