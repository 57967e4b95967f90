"""The plan of a study as a file: which data, which systems, which seeds. This module reads and checks it.

```yaml
name: crema_d_study
datasets:
  - dataset: data/crema_d_folds        # what `hf-ambiser build` made, from where the command is given
    configs: [ipr-strict-kfold5]       # a config, or a family that stands for all of its folds
    folds: all                         # or some: [0, 1]
seeds: [0, 1, 2]
shared: {num_train_epochs: 10}         # fields of every run, over those of its config file
systems:
  baseline: {config: baseline.yaml}    # from where this file is, or a shipped one's name (crema_d/ipr)
  ipr: {config: ipr.yaml, mu: 0.3}     # further fields are the system's own
  costly: {config: ipr.yaml, seeds: [0]}     # seeds of its own, in place of the plan's
  swept: {config: ipr.yaml, sweep: {gamma: [0.9, 0.99], mu: [0.1, 0.2]}}      # swept@gamma=0.9,mu=0.1 and three more
  in_turn: {config: ipr.yaml, sweep: [{gamma: [0.9, 0.99]}, {mu: [0.1, 0.2]}]}    # one field at a time
```

Optional: `corpus` and `build` of a data set (the corpus whose published sizes stand in for a data set that is not
there, and the command that builds it), `not_yet` (methods and families of models named before they exist) and
`paper` (the numbers of a paper's table, for a report: `reference`, and `numbers`, each with `system`, `figure`,
`value` and what else is known of it: `split`, `protocol`, `reference`, `sd`, `low`, `high`; `folds`, fold by fold).
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from hf_ambiser.files.command_parser import nearest
from hf_ambiser.files.read import FileError
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.models import available_families
from hf_ambiser.runs.arguments import SharingArguments, given_fields
from hf_ambiser.runs.config_files import find_config, read_config
from hf_ambiser.training.model_arguments import ModelArguments


_PLAN = ("name", "about", "datasets", "systems", "seeds", "shared", "not_yet", "paper")
_DATASET = ("dataset", "configs", "folds", "name", "corpus", "build")
_NUMBER = ("system", "figure", "value", "split", "protocol", "reference", "sd", "low", "high")
_NAME = r"[\w.+=@,-]+"
# The plan sets these for each cell; values in a config file are ignored.
SET_BY_PLAN = ("dataset", "dataset_config", "output_dir", "seed", "system", "disable_tqdm")


class PlanError(ValueError):
    """A plan cannot be run; the message names the part and what to change."""


@dataclass(frozen=True)
class PlannedData:
    """A built data set, and which configs and folds of it are used. `folds` is None for all folds."""

    dataset: str
    configs: tuple[str, ...]
    folds: tuple[str, ...] | None = None
    name: str = ""
    corpus: str = ""
    build: str = ""


@dataclass(frozen=True)
class System:
    """One system, a row of the later tables: its name and the fields of its runs.

    `missing` says what of it does not exist yet ("" if all does); `swept` holds the fields of its point of a sweep;
    `seeds` are those of its runs.
    """

    name: str
    fields: dict[str, Any]
    seeds: tuple[int, ...]
    swept: dict[str, Any] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Plan:
    """A study whose file was checked. The data sets were not opened."""

    name: str
    about: str
    datasets: tuple[PlannedData, ...]
    systems: tuple[System, ...]
    seeds: tuple[int, ...]
    paper: dict[str, Any]

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The plan's seeds, then those that only some systems have."""
        return tuple(dict.fromkeys([*self.seeds, *(seed for system in self.systems for seed in system.seeds)]))

    def resolved(self) -> dict[str, Any]:
        """Return the content of `OUT/plan.yaml`: the plan with its config files read in and its sweeps expanded."""
        return {
            "name": self.name,
            "about": self.about,
            "datasets": [
                {
                    "dataset": d.dataset,
                    "configs": list(d.configs),
                    "folds": "all" if d.folds is None else list(d.folds),
                    **{key: value for key in ("name", "corpus", "build") if (value := getattr(d, key))},
                }
                for d in self.datasets
            ],
            "seeds": list(self.seeds),
            "own_seeds": {s.name: list(s.seeds) for s in self.systems if s.seeds != self.seeds},
            "systems": {
                s.name: {**s.fields, **({"swept": s.swept} if s.swept else {})} for s in self.systems if not s.missing
            },
            "not_there_yet": {s.name: s.missing for s in self.systems if s.missing},
            "paper": self.paper,
        }


def read_plan(given: Path | str) -> Plan:
    """Read and check a plan, by its path or the name of a shipped one.

    Raises:
        PlanError: In one line: a key that does not exist (and the nearest that does), a config file that is not there,
            two systems of one name, a value of the wrong kind.
    """
    path = find_config(given)
    try:
        text = read_config(path)
        _known(text, _PLAN, "the plan")
        not_yet = _mapping(text.get("not_yet", {}), "not_yet")
        _known(not_yet, ("method", "model_family"), "not_yet")
        seeds = _seeds(text.get("seeds", [0]), "seeds")
        return Plan(
            name=_text(text.get("name", path.stem), "name"),
            about=_text(text.get("about", ""), "about"),
            datasets=_datasets(text.get("datasets")),
            systems=_systems(text, path.parent, seeds, not_yet),
            seeds=seeds,
            paper=_paper(text.get("paper", {})),
        )
    except FileError as error:
        raise PlanError(str(error)) from error
    except ValueError as error:
        raise PlanError(f"{path}: {error}") from error


def _datasets(given: Any) -> tuple[PlannedData, ...]:
    entries = given if isinstance(given, list) else [given]
    if not given:
        raise PlanError("`datasets` is missing: list at least one, with `dataset` (its folder) and `configs`.")
    found = []
    for number, entry in enumerate(entries, 1):
        where = f"datasets, entry {number}"
        entry = _mapping(entry, where)
        _known(entry, _DATASET, where)
        for key in ("dataset", "configs"):
            if not entry.get(key):
                raise PlanError(f"{where}: `{key}` is missing.")
        configs = entry["configs"] if isinstance(entry["configs"], list) else [entry["configs"]]
        folds = entry.get("folds", "all")
        if folds != "all" and not (isinstance(folds, list) and folds):
            raise PlanError(f"{where}: folds={folds!r} must be all, or a list of folds.")
        named = {key: _text(entry.get(key, ""), f"{where}: {key}") for key in ("dataset", "name", "corpus", "build")}
        _fit_for_a_folder(named["name"] or "data", f"{where}: name")
        chosen = None if folds == "all" else tuple(str(fold) for fold in folds)
        found.append(PlannedData(configs=tuple(str(c) for c in configs), folds=chosen, **named))
    return tuple(found)


def of_system(method: str) -> tuple[str, ...]:
    """Return the arguments whose value may be a system of the study: of the model, and the method's own."""
    return (*ModelArguments.of_system, *load_method(method).arguments_class.of_system)


def _systems(
    plan: Mapping[str, Any], base: Path, seeds: tuple[int, ...], not_yet: Mapping[str, Any]
) -> tuple[System, ...]:
    given = _mapping(plan.get("systems"), "systems")
    if not given:
        raise PlanError("`systems` is missing: give at least one, `name: {config: FILE}` or `name: {method: ...}`.")
    shared = _mapping(plan.get("shared", {}), "shared")
    _not_set(shared, "shared")
    systems: list[System] = []
    for name, entry in given.items():
        where = f"system {name!r}"
        own = dict(_mapping(entry, where))
        config, sweep = own.pop("config", None), own.pop("sweep", {})
        own_seeds = _seeds(own.pop("seeds"), f"{where}: seeds") if "seeds" in own else seeds
        _not_set(own, where)
        fields = {} if config is None else read_config(_text(config, f"{where}: config"), base)
        fields = {k: v for k, v in {**fields, **shared, **own}.items() if k not in SET_BY_PLAN}
        for swept in _points(sweep, where):
            point = ",".join(f"{k}={_plain(v)}" for k, v in swept.items())
            full = f"{name}@{point}" if point else str(name)
            _fit_for_a_folder(full, "a system's name")
            systems.append(_checked_system(System(full, {**fields, **swept}, own_seeds, swept), not_yet))
    names = [system.name for system in systems]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PlanError(f"two systems have the name {twice[0]!r}; each is a row of the table. Rename one.")
    return tuple(_without_beginning(systems))


def _without_beginning(systems: Sequence[System]) -> list[System]:
    """Mark the systems that begin with what one learns that is not there yet as such, too."""
    missing = {system.name for system in systems if system.missing}
    if not missing:
        return list(systems)
    marked = []
    for system in systems:
        names = () if system.missing else of_system(str(system.fields["method"]))
        first = next((value for name in names if (value := system.fields.get(name)) in missing), None)
        why = "" if first is None else f"it begins with {first}, which is not there yet"
        marked.append(replace(system, missing=why or system.missing))
    return marked if marked == list(systems) else _without_beginning(marked)


def _points(sweep: Any, where: str) -> list[dict[str, Any]]:
    """Return every combination of the swept values; a list of sweeps gives them in turn, no sweep one empty point."""
    points = []
    for grid in sweep if isinstance(sweep, list) else [sweep]:
        grid = _mapping(grid, f"{where}, sweep")
        _not_set(grid, f"{where}, sweep")
        for name, values in grid.items():
            if not isinstance(values, list) or not values:
                raise PlanError(f"{where}: sweep of {name!r} must be a list of values, not {values!r}.")
            if any(isinstance(value, list | dict) for value in values):
                raise PlanError(f"{where}: sweep of {name!r} holds a list or mapping; sweep over plain values.")
        points += [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return points


def _checked_system(system: System, not_yet: Mapping[str, Any]) -> System:
    """Check a system's fields. A method or model that the plan announces (`not_yet`) may be missing."""
    where, fields = f"system {system.name!r}", system.fields
    for kind, there in (("method", available_methods()), ("model_family", available_families())):
        value = fields.get(kind)
        coming = [str(v) for v in not_yet.get(kind, [])]
        if value in coming and value not in there:
            return replace(system, missing=f"{kind} {value} is not there yet")
        if kind == "method" and value is not None and value not in there:
            hint = nearest(str(value), [*there, *coming])
            raise PlanError(
                f"{where}: there is no method {value!r}{hint}; there are {there}. A method that is still to"
                " come is named under `not_yet: {method: [...]}`."
            )
    shared = [f.name for f in dataclass_fields(SharingArguments) if f.name in fields]
    if shared:
        raise PlanError(f"{where}: a study is not pushed ({shared[0]}); push a cell with `hf-ambiser push`.")
    try:
        given_fields(fields)
    except ValueError as error:
        raise PlanError(f"{where}: {error}") from error
    return system


def _paper(given: Any) -> dict[str, Any]:
    paper = _mapping(given, "paper")
    _known(paper, ("reference", "numbers", "folds"), "paper")
    for system, figures in _mapping(paper.get("folds"), "paper, folds").items():
        for figure, values in _mapping(figures, f"paper, folds of {system!r}").items():
            if not isinstance(values, list) or len(values) < 2 or not all(isinstance(v, int | float) for v in values):
                raise PlanError(
                    f"paper, folds of {system!r}: {figure}={values!r} must be a list of numbers, one a fold."
                )
    numbers = paper.get("numbers", [])
    if not isinstance(numbers, list):
        raise PlanError(f"paper: numbers must be a list of {{system, figure, value}}, not {numbers!r}.")
    for at, number in enumerate(numbers, 1):
        where = f"paper, number {at}"
        _known(_mapping(number, where), _NUMBER, where)
        missing = [key for key in _NUMBER[:3] if key not in number]
        if missing:
            raise PlanError(f"{where}: {missing[0]!r} is missing; each has {list(_NUMBER[:3])}.")
        if not isinstance(number["value"], int | float):
            raise PlanError(f"{where}: value={number['value']!r} must be a number.")
    return paper


def _seeds(given: Any, where: str) -> tuple[int, ...]:
    if not isinstance(given, list) or not given or any(type(seed) is not int for seed in given):
        raise PlanError(f"{where}={given!r} must be a list of whole numbers, for example [0, 1, 2].")
    if len(set(given)) < len(given):
        raise PlanError(f"{where}={given} names a seed twice.")
    return tuple(given)


def _known(given: Iterable[Any], allowed: Iterable[str], where: str) -> None:
    for key in given:
        if key not in allowed:
            raise PlanError(f"{where}: unknown key {key!r}{nearest(key, allowed)}; allowed are {sorted(allowed)}.")


def _not_set(given: Iterable[str], where: str) -> None:
    for key in given:
        if key in SET_BY_PLAN:
            raise PlanError(f"{where}: {key!r} is decided by the plan for each cell (datasets, seeds, --out).")
        if key in ("config", "sweep"):
            raise PlanError(f"{where}: {key!r} is given for each system. Write it under `systems`.")
        near = difflib.get_close_matches(str(key), ("config", "sweep"), n=1, cutoff=0.75)
        if near:
            raise PlanError(f"{where}: unknown key {key!r} (did you mean {near[0]!r}?).")


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict | None):
        raise PlanError(f"{where} must be a mapping (`name: value` lines), not {value!r}.")
    return value or {}


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise PlanError(f"{where} must be text, not {value!r}.")
    return value


def _fit_for_a_folder(name: str, where: str) -> None:
    if not re.fullmatch(_NAME, name) or name.startswith("."):
        raise PlanError(f"{where}: {name!r} names a folder too; use letters, digits and . + = @ , - _ only.")


def _plain(value: Any) -> str:
    return re.sub(r"[^\w.+-]", "_", "none" if value is None else str(value))
