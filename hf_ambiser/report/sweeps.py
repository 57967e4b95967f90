"""Systems that are points of one sweep: their arguments differ in one number and in nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_ambiser.report.groups import Group


# Arguments that differ between runs of one system, or only say where files are.
_NOT_SETTINGS = ("seed", "system", "dataset", "dataset_config", "output_dir", "disable_tqdm", "data_seed")
FEWEST = 3


@dataclass(frozen=True)
class Sweep:
    """A field, and the systems at its values, in the order of the values."""

    field: str
    points: list[tuple[float, str]]


def find_sweeps(group: Group) -> list[Sweep]:
    """All sweeps of three points or more among the systems of a group."""
    settings = {system: flat(runs[0].arguments) for system, runs in group.systems.items()}
    names = sorted({name for given in settings.values() for name, value in given.items() if _is_number(value)})
    sweeps = []
    for name in names:
        alike: dict[str, dict[float, str]] = {}
        for system, given in settings.items():
            if _is_number(given.get(name)):
                rest = json.dumps({k: v for k, v in given.items() if k != name}, sort_keys=True, default=str)
                alike.setdefault(rest, {}).setdefault(float(given[name]), system)
        sweeps += [Sweep(name, sorted(points.items())) for points in alike.values() if len(points) >= FEWEST]
    return sweeps


def flat(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted names, without the arguments that are no settings."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif prefix or name not in _NOT_SETTINGS:
            found[prefix + name] = value
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
