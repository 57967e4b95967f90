"""The finished runs below a folder, and which of them may be in one table.

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
from hf_ambiser.data.ratings.corpus_facts import known_corpus, without_speakers
from hf_ambiser.run_folder.finished import FinishedRun, find_runs
from hf_ambiser.run_folder.layout import RESULTS
from hf_ambiser.run_scores.complete import complete_runs


# Folders of a study in which no run folder can be.
_NOT_RUNS = frozenset({"report", ".runner"})


@dataclass(frozen=True)
class Group:
    """One or more runs that may be in one table: they share corpus, content, policy and split family.

    `name` tells the group from the others of a report, in headings and in names of files. `whole` is the split, or the
    set of several splits, that has every test utterance; "" if it is not known (`with_all_figures`).
    """

    name: str
    systems: dict[str, list[FinishedRun]]
    whole: str = ""

    @property
    def runs(self) -> list[FinishedRun]:
        """All of its runs, system by system."""
        return [run for runs in self.systems.values() for run in runs]

    @property
    def first(self) -> FinishedRun:
        """One of its runs, to read from it what all have in common."""
        return self.runs[0]

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
        """The folds of which some system has a run."""
        return sorted({run.fold for run in self.runs}, key=_natural)

    @property
    def splits(self) -> list[str]:
        """The test splits, in the order in which they were scored."""
        return list(dict.fromkeys(split for run in self.runs for split in run.splits))

    @property
    def stored_splits(self) -> list[str]:
        """The test splits without the set that `with_all_figures` has made of several."""
        return [split for split in self.splits if not any(split in run.joined for run in self.runs)]

    @property
    def key(self) -> tuple[str, ...]:
        """The properties that all of its runs share."""
        return _key(self.first)

    def one_a_fold(self) -> list[FinishedRun]:
        """One run of each fold, to read from it what all runs of the fold have in common, such as its utterances."""
        found: dict[str | None, FinishedRun] = {}
        for run in self.runs:
            found.setdefault(run.fold, run)
        return [found[fold] for fold in self.folds]

    def with_all_figures(self) -> Group:
        """The group with every figure that its runs' predictions give, also those that the runs did not store."""
        runs, whole = complete_runs(self.runs)
        systems: dict[str, list[FinishedRun]] = {}
        for run in runs:
            systems.setdefault(run.system, []).append(run)
        return Group(self.name, systems, whole)

    def describe(self) -> str:
        """Sentences in Markdown: corpus, family, protocol, policy and fingerprints; label noise, unknown speakers."""
        data, marks = self.first.data, [str(run.data["split_fingerprint"]) for run in self.one_a_fold()]
        splits = f"splits `{marks[0]}`" if len(marks) == 1 else f"{len(marks)} folds (splits `{marks[0]}` ...)"
        ratings = f", ratings `{'`, `'.join(kinds)}`" if (kinds := counted_ratings(data)) else ""
        policy = f"{data['policy']} (`{data['policy_fingerprint']}`){ratings}"
        sentences = [
            f"Corpus {data['corpus']} (content `{data['content']}`), {self.family}, protocol **{data['protocol']}**,"
            f" policy {policy}, {splits}."
        ]
        if LABEL_NOISE in data:
            sentences.append(describe_label_noise(data[LABEL_NOISE]))
        if warning := without_speakers(known_corpus(data)):
            sentences.append(f"{warning} Where a table counts speakers, each utterance is one of its own.")
        return " ".join(sentences)


def _key(run: FinishedRun) -> tuple[str, ...]:
    return tuple(str(run.data[name]) for name in ("corpus", "split_family", "policy", "policy_fingerprint", "content"))


def _natural(name: str | None) -> list[tuple[int, float, str]]:
    """A sort key that compares numbers in names as numbers: 2 comes before 10, and numbers come before letters."""
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


def find_beside(other: Path, folders: Iterable[Path]) -> tuple[list[FinishedRun], list[Path]]:
    """What `find` finds below one more folder, whose runs stand in the tables of those of other folders.

    Raises:
        ValueError: As `find` does, and if one of the folders holds another, because its runs would count twice.
    """
    inner = other.resolve()
    for folder in folders:
        outer = folder.resolve()
        if inner.is_relative_to(outer) or outer.is_relative_to(inner):
            raise ValueError(
                f"{other} cannot stand beside {folder}: one holds the other, so runs would count twice. Name folders"
                " that are apart."
            )
    return find(other)


def group(runs: Iterable[FinishedRun], order: Iterable[str] = ()) -> list[Group]:
    """Group the runs that may be averaged; systems are in the given order, then by name.

    Runs on different data are in different groups, so that nothing is averaged over them. Runs of one system that name
    the same data set folder but have two fingerprints are a mistake: the data set was built again between them.

    Raises:
        ValueError: If there is such a mistake, if runs of one fold differ in their split, or if a cell has two runs.
    """
    runs = list(runs)
    _one_value(runs, lambda c: (*_key(c)[:2], c.system, c.dataset), lambda c: _key(c)[2:], "data")
    _one_value(runs, lambda c: (*_key(c), c.fold), lambda c: c.data["split_fingerprint"], "splits")
    seen: dict[tuple[Any, ...], FinishedRun] = {}
    for run in runs:
        identity = (*_key(run), run.fold, run.system, run.seed)
        if identity in seen:
            what = f"system {run.system!r}, fold {run.fold}, seed {run.seed}"
            raise ValueError(
                f"{seen[identity].folder} and {run.folder} are the same cell ({what}, {run.data['split_family']}):"
                " give one another `system` name, or move one away."
            )
        seen[identity] = run
    places = {name: place for place, name in enumerate(order)}
    runs.sort(key=lambda c: (places.get(c.system, len(places)), _natural(c.system), _natural(c.fold), c.seed))
    groups: dict[tuple[str, ...], dict[str, list[FinishedRun]]] = {}
    for run in runs:
        groups.setdefault(_key(run), {}).setdefault(run.system, []).append(run)
    return [Group(_name(key, list(groups)), systems) for key, systems in sorted(groups.items())]


def _name(key: tuple[str, ...], keys: list[tuple[str, ...]]) -> str:
    """The shortest name that tells a group from the others: corpus and family, then policy, then fingerprints."""
    short = next(n for n in range(2, len(key) + 1) if sum(other[:n] == key[:n] for other in keys) == 1)
    return ", ".join(key[:short])


def _one_value(
    runs: list[FinishedRun], group_of: Callable[[FinishedRun], Any], mark_of: Callable[[FinishedRun], Any], what: str
) -> None:
    """Check that the runs of each group share one fingerprint; the error names the runs with the rarer ones."""
    groups: dict[Any, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(group_of(run), []).append(run)
    for members in groups.values():
        counts = Counter(mark_of(run) for run in members)
        if len(counts) > 1:
            usual = counts.most_common(1)[0][0]
            odd = [run for run in members if mark_of(run) != usual]
            names = ", ".join(str(run.folder) for run in odd[:5]) + (" ..." if len(odd) > 5 else "")
            marks = " / ".join(_mark(mark) for mark in counts)
            raise ValueError(
                f"{len(odd)} of {len(members)} runs that belong in one row were made from other {what} than the rest"
                f" ({marks}) and are never averaged: {names}. Run them again, or move them away."
            )


def _mark(mark: Any) -> str:
    return "-".join(mark) if isinstance(mark, tuple) else str(mark)
