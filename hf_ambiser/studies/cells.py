"""The cells of a plan: system x data x fold x seed. Each is one ordinary run folder below `OUT/cells`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.data.splits import SplitError, split_family
from hf_ambiser.files.command_parser import nearest
from hf_ambiser.run_folder.layout import RunFolder, is_name
from hf_ambiser.studies.plan import Plan, PlanError, PlannedData, System, of_system
from hf_ambiser.training.places import expanded


CELLS, RUNNER = "cells", ".runner"


@dataclass(frozen=True)
class Cell:
    """One planned run.

    Args:
        system: Its row in tables.
        dataset_config: Fold or split.
        seed: Its seed.
        out: The study's folder.
        key: Its name, which is also its run folder below `out/cells`.
        fields: All fields for `RunArguments.from_mapping`.
        after: Fields that name another system, each with the key of that system's cell of the same data and seed,
            which must be finished first.
    """

    system: str
    dataset_config: str
    seed: int
    out: Path
    key: str
    fields: dict[str, Any]
    after: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out / CELLS / self.key

    @property
    def attempts(self) -> Path:
        """The folder of its attempts."""
        return self.out / RUNNER / self.key

    @property
    def finished(self) -> bool:
        """Whether the run has written its results, which come last."""
        return RunFolder(self.folder).is_finished

    @property
    def waits_for(self) -> list[tuple[str, str]]:
        """The entries of `after` that are not finished."""
        return [(name, key) for name, key in self.after if not RunFolder(self.out / CELLS / key).is_finished]


def expand(plan: Plan, configs: Sequence[Sequence[str]], out: Path) -> list[Cell]:
    """Return all cells of the systems that exist, seed by seed, so that a stopped study has complete seeds.

    Args:
        plan: The plan.
        configs: The configs of each of the plan's data sets, from `chosen_configs`.
        out: The study's folder.

    Raises:
        PlanError: If two cells would share a folder, or a cell would wait for one that is not planned.
    """
    cells = []
    systems = [system for system in plan.systems if not system.missing]
    names_there = {system.name for system in systems}
    _check_order(systems)
    for seed in plan.all_seeds:
        for data, names in zip(plan.datasets, configs, strict=True):
            for config in names:
                for system in systems:
                    if seed not in system.seeds:
                        continue
                    key = _key(data, system.name, config, seed)
                    after = tuple(
                        (name, _key(data, system.fields[name], config, seed))
                        for name in of_system(str(system.fields["method"]))
                        if system.fields.get(name) in names_there
                    )
                    fields = {
                        **system.fields,
                        "system": system.name,
                        "dataset": data.dataset,
                        "dataset_config": config,
                        "seed": seed,
                        "output_dir": str(out / CELLS / key),
                        "disable_tqdm": True,
                    }
                    cells.append(Cell(system.name, config, seed, out, key, fields, after))
    keys = [cell.key for cell in cells]
    twice = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if twice:
        raise PlanError(f"two cells would share the folder {twice[0]}: give each data set of the plan its own `name`.")
    return cells


def _check_order(systems: Sequence[System]) -> None:
    """Check the systems that begin with what others have learnt.

    Raises:
        PlanError: If a value is a name and no system or folder has it, if the other system lacks a seed, or if a
            system would wait for itself.
    """
    seeds = {system.name: system.seeds for system in systems}
    waits: dict[str, set[str]] = {}
    for system in systems:
        for name in of_system(str(system.fields["method"])):
            first = system.fields.get(name)
            if first not in seeds:
                place = expanded(name, first) if isinstance(first, str) else ""
                if is_name(place) and not Path(place).is_dir():
                    raise PlanError(
                        f"system {system.name!r}: {name}={first!r} is no system of this plan"
                        f"{nearest(place, seeds)} and no folder. The systems are {', '.join(seeds)}."
                    )
                continue
            if missing := sorted(set(system.seeds) - set(seeds[first])):
                raise PlanError(
                    f"system {system.name!r}: {name}={first!r} has no run with seed {missing[0]}, only with"
                    f" {list(seeds[first])}. Give both the same `seeds`."
                )
            waits.setdefault(system.name, set()).add(first)
    for name in waits:
        reached = set(waits[name])
        while more := {other for one in reached for other in waits.get(one, ())} - reached:
            reached |= more
        if name in reached:
            raise PlanError(
                f"system {name!r} would begin with what it has learnt itself, over {', '.join(sorted(reached))}. Name"
                " another system, and give the field to systems one by one instead of in `shared`."
            )


def _key(data: PlannedData, system: str, config: str, seed: int) -> str:
    return "/".join(filter(None, (data.name, system, config, f"seed-{seed}")))


def chosen_configs(data: PlannedData) -> list[str]:
    """Return the configs of a built data set that a plan asks for; a family is replaced by its folds.

    Raises:
        PlanError: If there is no such data set, or it has no such config or fold.
    """
    try:
        there = list(read_dataset_info(data.dataset)["configs"])
    except FileNotFoundError as error:
        hint = f" The plan says: {data.build}" if data.build else ""
        raise PlanError(f"{error}.{hint}") from error
    return choose(data, there, "it")


def choose(data: PlannedData, there: Sequence[str], source: str) -> list[str]:
    """Return those of the configs `there` that a plan asks for, in order."""
    chosen: list[str] = []
    families = sorted({split_family(config)[0] for config in there})
    for wanted in data.configs:
        try:
            split_family(wanted)
        except SplitError as error:
            raise PlanError(f"dataset {data.dataset!r}: {error}") from error
        found = [config for config in there if wanted in (config, split_family(config)[0])]
        if not found:
            raise PlanError(
                f"dataset {data.dataset!r} has no config {wanted!r}{nearest(wanted, families)}; {source} has"
                f" {families}. Build it with --configs {wanted}."
            )
        if data.folds is not None:
            found = _of_folds(data, wanted, found, data.folds)
        chosen += [config for config in found if config not in chosen]
    return chosen


def _of_folds(data: PlannedData, wanted: str, found: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Those of the configs that a name stands for whose fold is asked for; each fold must be there."""
    folds = {fold: config for config in found if (fold := split_family(config)[1]) is not None}
    if split_family(wanted)[1] is not None and set(folds) <= set(asked):
        return list(found)  # one fold by its name, which is asked for
    missing = [fold for fold in asked if fold not in folds]
    if not folds or missing:
        what = f"there is no fold {missing[0]!r}; choose from {list(folds)}" if folds else "it has no folds"
        raise PlanError(
            f"dataset {data.dataset!r}, config {wanted!r}: {what}. `folds` is for every config of its entry: put a"
            " config with other folds, or with none, into an entry of its own."
        )
    return [config for fold, config in folds.items() if fold in asked]


def share(cells: Sequence[Cell], which: str) -> list[Cell]:
    """Return part i of n of the cells (`i/n`, from 1): every n-th cell, so that parts are similar in size and kind.

    Raises:
        PlanError: If `which` does not have that form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", which)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise PlanError(f"--cells {which} must be i/n with i from 1 to n, for example 1/4.")
    return list(cells[int(match[1]) - 1 :: int(match[2])])
