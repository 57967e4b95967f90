"""Finished runs below a folder, by what they say of themselves, and which of them may stand in one table.

What a run is (system, split family, fold, seed, data) is read from its `results.json`, never from folder names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ambiser.data.noise_record import LABEL_NOISE, describe_label_noise
from hf_ambiser.data.rating_kinds import counted_ratings
from hf_ambiser.run_folder.finished import FinishedRun, find_runs
from hf_ambiser.run_folder.layout import RESULTS


# Folders of a study in which no run folder can be.
_NOT_RUNS = frozenset({"report", ".runner"})


@dataclass(frozen=True)
class Group:
    """Runs that may stand in one table: one corpus, one content, one policy, one split family. At least one run.

    `name` tells it from the other groups of a report, in headings and in names of files.
    """

    name: str
    systems: dict[str, list[FinishedRun]]

    @property
    def cells(self) -> list[FinishedRun]:
        """All of its runs, system by system."""
        return [cell for cells in self.systems.values() for cell in cells]

    @property
    def first(self) -> FinishedRun:
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

    def one_a_fold(self) -> list[FinishedRun]:
        """One run of each fold, for what all runs of a fold have in common (its clips)."""
        found: dict[str | None, FinishedRun] = {}
        for cell in self.cells:
            found.setdefault(cell.fold, cell)
        return [found[fold] for fold in self.folds]

    def describe(self) -> str:
        """Markdown, one sentence: corpus, family, protocol, policy, fingerprints."""
        data, marks = self.first.data, [str(cell.data["split_fingerprint"]) for cell in self.one_a_fold()]
        splits = f"splits `{marks[0]}`" if len(marks) == 1 else f"{len(marks)} folds (splits `{marks[0]}` ...)"
        ratings = f", ratings `{'`, `'.join(kinds)}`" if (kinds := counted_ratings(data)) else ""
        policy = f"{data['policy']} (`{data['policy_fingerprint']}`){ratings}"
        return (
            f"Corpus {data['corpus']} (content `{data['content']}`), {self.family}, protocol **{data['protocol']}**,"
            f" policy {policy}, {splits}."
        ) + (f" {describe_label_noise(data[LABEL_NOISE])}" if LABEL_NOISE in data else "")


def _key(cell: FinishedRun) -> tuple[str, ...]:
    return tuple(
        str(cell.data[name]) for name in ("corpus", "split_family", "policy", "policy_fingerprint", "content")
    )


def _natural(name: str | None) -> list[tuple[int, float, str]]:
    """Names with their numbers as numbers: 2 before 10, and before names."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name or "")
    return [(1, 0.0, part) if i % 2 == 0 else (0, float(part), "") for i, part in enumerate(parts) if part]


def find(folder: Path) -> tuple[list[FinishedRun], list[Path]]:
    """Finished runs below a folder (or the folder itself), and folders of runs that were begun and not finished.

    Raises:
        ValueError: If there is no finished run, or one whose results cannot be read.
    """
    runs, unfinished = find_runs(folder, _NOT_RUNS)
    if not runs:
        begun = f" ({len(unfinished)} begun)" if unfinished else ""
        raise ValueError(f"{folder} holds no finished run{begun}: no folder below it has a {RESULTS}.")
    return runs, unfinished


def group(cells: Iterable[FinishedRun], order: Iterable[str] = ()) -> list[Group]:
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
    seen: dict[tuple[Any, ...], FinishedRun] = {}
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
    groups: dict[tuple[str, ...], dict[str, list[FinishedRun]]] = {}
    for cell in cells:
        groups.setdefault(_key(cell), {}).setdefault(cell.system, []).append(cell)
    return [Group(_name(key, list(groups)), systems) for key, systems in sorted(groups.items())]


def _name(key: tuple[str, ...], keys: list[tuple[str, ...]]) -> str:
    """As short as tells this group from the others: corpus and family, then policy, then fingerprints."""
    short = next(n for n in range(2, len(key) + 1) if sum(other[:n] == key[:n] for other in keys) == 1)
    return ", ".join(key[:short])


def _one_value(
    cells: list[FinishedRun], group_of: Callable[[FinishedRun], Any], mark_of: Callable[[FinishedRun], Any], what: str
) -> None:
    """Refuse groups whose runs do not share one fingerprint; the message names the runs of the rarer ones."""
    groups: dict[Any, list[FinishedRun]] = {}
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
