"""`OUT/plan.yaml`: the plan of a study as it is run, with its config files read in and its sweeps expanded.

The runner writes it; a report reads it to know which cells are missing. Needs neither torch nor transformers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.data.splits import known_folds, split_family
from hf_ambiser.files.read import FileError, exists, read_yaml
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.layout import write_whole


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellIdentity:
    """What one cell of a study is. A finished run belongs to the cell whose identity it has.

    `dataset` is the name of the data set's folder without where it lies, because a study may have been moved.
    """

    dataset: str
    system: str
    family: str
    fold: str | None
    seed: int

    @classmethod
    def of(cls, run: FinishedRun) -> CellIdentity:
        """The cell that a finished run belongs to."""
        return cls(Path(run.dataset).name, run.system, run.data["split_family"], run.fold, run.seed)

    @property
    def config(self) -> str:
        """The split config of the cell, for example `ipr-strict-kfold5-0`."""
        return self.family if self.fold is None else f"{self.family}-{self.fold}"


@dataclass(frozen=True)
class Quoted:
    """One number of a paper: which system and figure, in the unit of our tables (WA in %), and where it stands."""

    system: str
    figure: str
    value: float
    reference: str
    split: str | None = None
    protocol: str | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class QuotedFolds:
    """A paper's values fold by fold, in its order and in the unit of our tables."""

    system: str
    figure: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class PlannedConfig:
    """A config of a data set, or a family that stands for its folds.

    Args:
        dataset: Folder of the data set, as the plan names it.
        config: A split config, for example `ipr-strict-kfold5-0`, or a family, for example `ipr-strict-kfold5`.
        folds: The folds that the plan asks for; None: all.
    """

    dataset: str
    config: str
    folds: tuple[str, ...] | None


@dataclass(frozen=True)
class ResolvedPlan:
    """The content of `OUT/plan.yaml`.

    Args:
        study: Folder that holds the file.
        systems: Names of the systems, in order; those that do not exist yet are not among them.
        configs: What of which data sets is used.
        seeds: Seeds of the runs.
        own_seeds: System -> its seeds, where they are not the plan's.
        not_there_yet: System -> what it waits for.
        quoted: A paper's numbers.
        quoted_folds: A paper's values fold by fold.
    """

    study: Path
    systems: tuple[str, ...]
    configs: tuple[PlannedConfig, ...]
    seeds: tuple[int, ...]
    not_there_yet: dict[str, str]
    quoted: tuple[Quoted, ...]
    quoted_folds: tuple[QuotedFolds, ...] = ()
    own_seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def cells(self, runs: Iterable[CellIdentity]) -> tuple[list[CellIdentity], list[str]]:
        """All cells of the plan, and the families whose folds cannot be known here, so that their cells are missing.

        Args:
            runs: Cells that have a run: where nothing else tells the folds of a family, these do.
        """
        there, cells, unknown = list(runs), [], []
        for planned in self.configs:
            family, fold = split_family(planned.config)
            folds = [fold] if fold is not None else self._folds(planned, there)
            if not folds:
                unknown.append(planned.config)
            name = Path(planned.dataset).name
            cells += [
                CellIdentity(name, system, family, one, seed)
                for one in folds
                for seed in dict.fromkeys(chain(self.seeds, *self.own_seeds.values()))
                for system in self.systems
                if seed in self.own_seeds.get(system, self.seeds)
            ]
        return cells, unknown

    def _folds(self, planned: PlannedConfig, runs: Iterable[CellIdentity]) -> list[str | None]:
        """The folds of a family: those that the plan names, the data set has, the family's name tells, or runs had."""
        if planned.folds is not None:
            return list(planned.folds)
        for root in (Path(), self.study, self.study.parent):
            try:
                configs = read_dataset_info(root / planned.dataset, cached=True)["configs"]
            except FileNotFoundError:
                continue
            found = [fold for family, fold in map(split_family, configs) if family == planned.config]
            if found:
                return list(dict.fromkeys(found))
        by_name = known_folds(planned.config)
        if by_name is not None:
            return [*by_name] or [None]
        return [*sorted({run.fold for run in runs if run.family == planned.config and run.fold is not None})]


class PlanFile:
    """The plan in a study's folder.

    Args:
        study: The study's folder.
    """

    def __init__(self, study: Path) -> None:
        self.study = study
        self.path = study / "plan.yaml"

    def write(self, resolved: Mapping[str, Any]) -> None:
        """Write what `Plan.resolved` gives, whole or not at all, even where several runners write at once.

        Plans may share a folder, so that cells in common are run once. The file is that of the last one, and a warning
        says so.
        """
        try:
            there = read_yaml(self.path, "").get("name", resolved["name"]) if exists(self.path) else resolved["name"]
        except (AttributeError, FileError):
            there = resolved["name"]  # a spoilt file is written anew
        if there != resolved["name"]:
            logger.warning(
                "%s holds the study %r, too; its plan.yaml is replaced by that of %r, whose missing cells alone a"
                " report names.",
                self.study,
                there,
                resolved["name"],
            )
        text = yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True)
        write_whole(self.path, text, shared=True)

    def read(self) -> ResolvedPlan | None:
        """The plan; None if the folder holds none.

        Raises:
            ValueError: If the file is not what `write` writes.
        """
        if not exists(self.path):
            return None
        cure = "Give the study's command again, which writes it anew, or move the file away."
        try:
            return _resolved(read_yaml(self.path, cure), self.study)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = f"lacks {error}" if isinstance(error, KeyError) else error
            raise FileError(self.path, f"is not a plan that the runner wrote ({why})", cure) from None


def _resolved(content: Mapping[str, Any], study: Path) -> ResolvedPlan:
    configs = [
        PlannedConfig(data["dataset"], config, None if folds == "all" else tuple(map(str, folds)))
        for data in content["datasets"]
        for folds in [data.get("folds", "all")]
        for config in data["configs"]
    ]
    for planned in configs:
        split_family(planned.config)  # refuses a name that none of our splits has
    return ResolvedPlan(
        study=study,
        systems=tuple(str(name) for name in content["systems"]),
        configs=tuple(configs),
        seeds=tuple(content["seeds"]),
        own_seeds={str(name): tuple(seeds) for name, seeds in (content.get("own_seeds") or {}).items()},
        not_there_yet={str(name): str(why) for name, why in (content.get("not_there_yet") or {}).items()},
        quoted=_quoted(content.get("paper") or {}),
        quoted_folds=_quoted_folds(content.get("paper") or {}),
    )


def _quoted(paper: Mapping[str, Any]) -> tuple[Quoted, ...]:
    """The `numbers` of the key `paper`; an entry without a `reference` has that of the key."""
    reference = str(paper.get("reference", ""))
    return tuple(
        Quoted(
            str(entry["system"]),
            str(entry["figure"]),
            float(entry["value"]),
            str(entry.get("reference", reference)),
            entry.get("split"),
            entry.get("protocol"),
            *(None if entry.get(name) is None else float(entry[name]) for name in ("sd", "low", "high")),
        )
        for entry in paper.get("numbers") or []
    )


def _quoted_folds(paper: Mapping[str, Any]) -> tuple[QuotedFolds, ...]:
    """The `folds` of the key `paper`."""
    return tuple(
        QuotedFolds(str(system), str(figure), tuple(map(float, values)))
        for system, figures in (paper.get("folds") or {}).items()
        for figure, values in figures.items()
    )
