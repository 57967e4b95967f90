"""What a study's plan says beside its runs: order of systems, cells that are not there yet, a paper's numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.data.splits import split_family
from hf_ambiser.run_folder.finished import FinishedRun


PLAN = "plan.yaml"


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
class Planned:
    """A study's plan as far as a report needs it.

    Args:
        systems: Their names in the plan's order.
        missing: Cells of the plan without a finished run: `system, config, seed`.
        n_cells: Cells the plan has.
        not_there_yet: System -> what it waits for.
        quoted: The paper's numbers.
        note: What could not be worked out of the plan, or "".
    """

    systems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    n_cells: int = 0
    not_there_yet: dict[str, str] = field(default_factory=dict)
    quoted: list[Quoted] = field(default_factory=list)
    note: str = ""


def read_planned(folder: Path, cells: Iterable[FinishedRun]) -> Planned | None:
    """What `folder/plan.yaml` asks for, against the runs that are there; None without such a file.

    Raises:
        ValueError: If the file is not a resolved plan.
    """
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        plan = yaml.safe_load(path.read_text())
        return _planned(plan, list(cells), folder)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a plan that the runner wrote ({' '.join(str(error).split())}).") from None


def _planned(plan: dict[str, Any], cells: list[FinishedRun], folder: Path) -> Planned:
    systems = [str(name) for name in plan["systems"]]
    there = {(_last(cell.dataset), cell.system, cell.data["split_family"], cell.fold, cell.seed) for cell in cells}
    missing, total, unknown = [], 0, []
    for data in plan["datasets"]:
        for config in data["configs"]:
            family, fold = split_family(config)
            folds = [fold] if fold is not None else _folds(data, config, cells, folder)
            if not folds:
                unknown.append(config)
            for one in folds:
                for seed in plan["seeds"]:
                    for system in systems:
                        total += 1
                        if (_last(data["dataset"]), system, family, one, seed) not in there:
                            name = config if one is None or fold is not None else f"{config}-{one}"
                            missing.append(f"{system}, {name}, seed {seed}")
    note = (
        f"the folds of {', '.join(unknown)} are not known here, so their missing cells are not counted"
        if unknown
        else ""
    )
    waiting = {str(name): str(why) for name, why in (plan.get("not_there_yet") or {}).items()}
    return Planned(systems, missing, total, waiting, _quoted(plan.get("paper")), note)


def _last(dataset: str) -> str:
    """A data set may have been moved; its name stays."""
    return Path(dataset).name


def _folds(data: dict[str, Any], config: str, cells: list[FinishedRun], folder: Path) -> Sequence[str | None]:
    """The folds a family stands for: those the plan names, the data set has, its name says, or some run had."""
    if data.get("folds", "all") != "all":
        return [str(fold) for fold in data["folds"]]
    for root in (Path(), folder, folder.parent):
        try:
            configs = read_dataset_info(root / data["dataset"])["configs"]
        except FileNotFoundError:
            continue
        found = [fold for name in configs for family, fold in [split_family(name)] if family == config]
        if found:
            return list(dict.fromkeys(found))
    k = re.search(r"kfold(\d+)", config)
    if k:
        return [str(fold) for fold in range(int(k[1]))]
    if re.search(r"loso|logo", config):
        return sorted({cell.fold for cell in cells if cell.data["split_family"] == config and cell.fold is not None})
    return [None]


def _quoted(paper: Any) -> list[Quoted]:
    """The `numbers` of the plan's key `paper`; an entry without a `reference` has the key's own."""
    paper = paper or {}
    reference = str(paper.get("reference", ""))
    return [
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
    ]
