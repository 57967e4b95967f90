"""Finished runs below a folder, by what they say of themselves, and which of them may stand in one table.

What a run is (system, split family, fold, seed, data) is read from its `results.json`, never from folder names.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hf_ambiser.columns import read_columns
from hf_ambiser.data.card import REPLACED, describe_replaced
from hf_ambiser.run_folder import ARGUMENTS, RESULTS


# Folders of a study or a run in which no run folder can be.
_SKIPPED = ("report", ".runner", "model", "base_model", "trajectory", "predictions")
_IDENTITY = ("system", "seed", "data", "scores", "environment")
_DATA = ("corpus", "content", "policy", "policy_fingerprint", "split_fingerprint", "split_family", "fold", "protocol")


@dataclass(frozen=True)
class Cell:
    """One finished run."""

    folder: Path
    results: dict[str, Any] = field(repr=False, hash=False, compare=False)

    @classmethod
    def read(cls, folder: Path) -> Cell:
        """The run in this folder.

        Raises:
            ValueError: If `results.json` cannot be read, or does not say which cell of a study it is.
        """
        path = folder / RESULTS
        try:
            results = json.loads(path.read_text())
            missing = [name for name in _IDENTITY if name not in results]
            missing += [f"data.{name}" for name in _DATA if name not in results.get("data", {})]
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{path} is not the results of a run ({error}); delete that folder and run it again."
            ) from None
        if missing:
            raise ValueError(f"{path} does not say {', '.join(missing)}: an older version made it. Run it again.")
        return cls(folder, results)

    @property
    def system(self) -> str:
        """Its row in tables."""
        return str(self.results["system"])

    @property
    def seed(self) -> int:
        """Its training seed."""
        return int(self.results["seed"])

    @property
    def fold(self) -> str | None:
        """Which fold of its split family was held out; None where the family has no folds."""
        fold = self.results["data"]["fold"]
        return None if fold is None else str(fold)

    @property
    def data(self) -> dict[str, Any]:
        """What it was trained on, as in `data.json`."""
        return self.results["data"]

    @property
    def splits(self) -> list[str]:
        """The test splits it was scored on."""
        return list(self.results["scores"])

    def scores(self, split: str, part: str = "all") -> dict[str, Any]:
        """All figures of one split, see `metrics.evaluate_predictions`."""
        return self.results["scores"][split][part]

    def figure(self, split: str, name: str, part: str = "all") -> float | None:
        """One figure of one split; None where it has no value."""
        return self.scores(split, part)[name]

    def predictions(self, split: str) -> dict[str, np.ndarray]:
        """Clip by clip, see `scoring.read_predictions`, without the embeddings."""
        names = ["id", "speaker", "probabilities", "votes", "consensus"]
        return read_columns(self._predictions(split), names)

    def embedding(self, split: str) -> dict[str, np.ndarray]:
        """`id`, `consensus` and, in runs that kept them, `embedding (N, D)`."""
        return read_columns(self._predictions(split), ["id", "consensus", "embedding"])

    def _predictions(self, split: str) -> Path:
        path = self.folder / "predictions" / f"{split}.parquet"
        if not path.is_file():
            raise ValueError(f"{self.folder} has results but no {path.relative_to(self.folder)}; run it again.")
        return path

    @property
    def dataset(self) -> str:
        """The folder of the data set, as it was given to the run; "" where that is not known."""
        return str(self.arguments.get("dataset", ""))

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """What was given to the run."""
        path = self.folder / ARGUMENTS
        return dict(yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}


@dataclass(frozen=True)
class Group:
    """Runs that may stand in one table: one corpus, one content, one policy, one split family. At least one run.

    `name` tells it from the other groups of a report, in headings and in names of files.
    """

    name: str
    systems: dict[str, list[Cell]]

    @property
    def cells(self) -> list[Cell]:
        """All of its runs, system by system."""
        return [cell for cells in self.systems.values() for cell in cells]

    @property
    def first(self) -> Cell:
        """Any of its runs: what the group has in common can be read off it."""
        return self.cells[0]

    @property
    def family(self) -> str:
        """Its split family, for example `ipr-strict-kfold5`."""
        return str(self.first.data["split_family"])

    @property
    def classes(self) -> list[str]:
        """Class names in index order."""
        return list(self.first.data["classes"])

    @property
    def folds(self) -> list[str | None]:
        """Folds that any system has a run of."""
        return sorted({cell.fold for cell in self.cells}, key=_natural)

    @property
    def splits(self) -> list[str]:
        """Test splits in the order they were scored in."""
        return list(dict.fromkeys(split for cell in self.cells for split in cell.splits))

    @property
    def key(self) -> tuple[str, ...]:
        """What all of its runs share."""
        return _key(self.first)

    def one_a_fold(self) -> list[Cell]:
        """One run of each fold, for what all runs of a fold have in common (its clips)."""
        found: dict[str | None, Cell] = {}
        for cell in self.cells:
            found.setdefault(cell.fold, cell)
        return [found[fold] for fold in self.folds]

    def describe(self) -> str:
        """Markdown, one sentence: corpus, family, protocol, policy, fingerprints."""
        data, marks = self.first.data, [str(cell.data["split_fingerprint"]) for cell in self.one_a_fold()]
        splits = f"splits `{marks[0]}`" if len(marks) == 1 else f"{len(marks)} folds (splits `{marks[0]}` ...)"
        policy = f"{data['policy']} (`{data['policy_fingerprint']}`)"
        return (
            f"Corpus {data['corpus']} (content `{data['content']}`), {self.family}, protocol **{data['protocol']}**,"
            f" policy {policy}, {splits}."
        ) + (f" {describe_replaced(data[REPLACED])}" if REPLACED in data else "")


def _key(cell: Cell) -> tuple[str, ...]:
    return tuple(
        str(cell.data[name]) for name in ("corpus", "split_family", "policy", "policy_fingerprint", "content")
    )


def _natural(name: str | None) -> list[tuple[int, float, str]]:
    """Names with their numbers as numbers: 2 before 10, and before names."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name or "")
    return [(1, 0.0, part) if i % 2 == 0 else (0, float(part), "") for i, part in enumerate(parts) if part]


def find(folder: Path) -> tuple[list[Cell], list[Path]]:
    """Finished runs below a folder (or the folder itself), and folders of runs that were begun and not finished.

    Raises:
        ValueError: If there is no finished run, or one whose results cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; give one with run folders below it.")
    cells, unfinished = [], []
    for path, folders, files in os.walk(folder):
        if RESULTS in files:
            cells.append(Cell.read(Path(path)))
        elif ARGUMENTS in files:
            unfinished.append(Path(path))
        inside_a_run = RESULTS in files or ARGUMENTS in files
        folders[:] = [] if inside_a_run else sorted(f for f in folders if not _skipped(f))
    if not cells:
        begun = f" ({len(unfinished)} begun)" if unfinished else ""
        raise ValueError(f"{folder} holds no finished run{begun}: no folder below it has a {RESULTS}.")
    return cells, unfinished


def _skipped(name: str) -> bool:
    return name in _SKIPPED or name.startswith("checkpoint-")


def group(cells: Iterable[Cell], order: Iterable[str] = ()) -> list[Group]:
    """Runs by what may be averaged; systems in the given order, then by name.

    Different data are different groups, so that nothing is averaged over them. Runs of one system that name the same
    data set folder but hold two fingerprints are no study but a mistake: the data set was built anew on the way.

    Raises:
        ValueError: If runs of one system differ in their data so, runs of one fold in their split, or a cell is there
            twice.
    """
    cells = list(cells)
    _one_value(cells, lambda c: (*_key(c)[:2], c.system, c.dataset), lambda c: _key(c)[2:], "data")
    _one_value(cells, lambda c: (*_key(c), c.fold), lambda c: c.data["split_fingerprint"], "splits")
    seen: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        identity = (*_key(cell), cell.fold, cell.system, cell.seed)
        if identity in seen:
            what = f"system {cell.system!r}, fold {cell.fold}, seed {cell.seed}"
            raise ValueError(
                f"{seen[identity].folder} and {cell.folder} are the same cell ({what}, {cell.data['split_family']}):"
                " give one another `system` name, or move one away."
            )
        seen[identity] = cell
    places = {name: place for place, name in enumerate(order)}
    cells.sort(key=lambda c: (places.get(c.system, len(places)), _natural(c.system), _natural(c.fold), c.seed))
    groups: dict[tuple[str, ...], dict[str, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault(_key(cell), {}).setdefault(cell.system, []).append(cell)
    return [Group(_name(key, list(groups)), systems) for key, systems in sorted(groups.items())]


def _name(key: tuple[str, ...], keys: list[tuple[str, ...]]) -> str:
    """As short as tells this group from the others: corpus and family, then policy, then fingerprints."""
    short = next(n for n in range(2, len(key) + 1) if sum(other[:n] == key[:n] for other in keys) == 1)
    return ", ".join(key[:short])


def _one_value(cells: list[Cell], group_of: Callable[[Cell], Any], mark_of: Callable[[Cell], Any], what: str) -> None:
    """Refuse groups whose runs do not share one fingerprint; the message names the runs of the rarer ones."""
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(group_of(cell), []).append(cell)
    for members in groups.values():
        counts = Counter(mark_of(cell) for cell in members)
        if len(counts) > 1:
            usual = counts.most_common(1)[0][0]
            odd = [cell for cell in members if mark_of(cell) != usual]
            names = ", ".join(str(cell.folder) for cell in odd[:5]) + (" ..." if len(odd) > 5 else "")
            marks = " / ".join(_mark(mark) for mark in counts)
            raise ValueError(
                f"{len(odd)} of {len(members)} runs that belong into one row were made from other {what} than the rest"
                f" ({marks}) and are never averaged: {names}. Run them again, or move them away."
            )


def _mark(mark: Any) -> str:
    return "-".join(mark) if isinstance(mark, tuple) else str(mark)
