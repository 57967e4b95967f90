"""The code, machines and data that the runs of a report were made with, and the figures of every run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.data.rating_kinds import counted_ratings
from hf_ambiser.metrics.display import COLUMNS
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import number, value_entry
from hf_ambiser.report.table import Entry, Table
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.training.inherited_arguments import MACHINE


# They change no result, but for the precision.
_OF_THE_MACHINE = {*MACHINE.split()} - {"fp16", "tf32"}


def origin_table(runs: Sequence[FinishedRun]) -> tuple[Table, list[str]]:
    """One row for each environment in which runs were made, and warnings if there are several or uncommitted code."""
    made: dict[str, list[FinishedRun]] = {}
    for run in runs:
        made.setdefault(json.dumps(run.results["environment"], sort_keys=True), []).append(run)
    rows: list[list[Entry | str]] = []
    environments = [json.loads(text) for text in made]
    for environment, its_runs in zip(environments, made.values(), strict=True):
        versions = {"python": environment.get("python"), **environment.get("versions", {})}
        rows.append(
            [
                number(len(its_runs)),
                str(environment.get("commit") or "not known")[:12],
                "changed" if environment.get("dirty") else "as committed",
                ", ".join(f"{name} {version}" for name, version in versions.items() if version),
                _machine(environment),
            ]
        )
    warnings = []
    for name, what in (
        ("commit", "commits of this package"),
        ("versions", "versions of packages"),
        ("python", "Pythons"),
    ):
        values = {json.dumps(environment.get(name), sort_keys=True) for environment in environments}
        if len(values) > 1:
            warnings.append(
                f"The runs were made with {len(values)} different {what}: differences may come from there."
            )
    dirty = sum(len(its_runs) for e, its_runs in zip(environments, made.values(), strict=True) if e.get("dirty"))
    if dirty:
        warnings.append(f"{dirty} of {len(runs)} runs were made with code that was not committed.")
    return Table("origin", ["runs", "commit", "code", "versions", "machine"], rows), warnings


def mixed_settings(groups: Sequence[Group]) -> list[str]:
    """A warning for each system whose runs have different arguments, as after a plan was changed between them."""
    warnings = []
    for group in groups:
        for system, runs in group.systems.items():
            # A run of an earlier version lacks the arguments that came later; it did as their defaults do.
            later = {name: value for run in runs for name, value in run.results.get("defaults", {}).items()}
            names = sorted({name for run in runs for name in run.settings} - _OF_THE_MACHINE)
            mixed = []
            for name in names:
                values = (run.settings.get(name, later.get(name)) for run in runs)
                if len(found := {_as_text(value) for value in values}) > 1:
                    mixed.append(f"{name} {' and '.join(sorted(found))}")
            if mixed:
                warnings.append(
                    f"The {len(runs)} runs of {system} ({group.name}) have different arguments, so their mean is of"
                    f" several systems: {'; '.join(mixed)}."
                )
    return warnings


def _as_text(value: object) -> str:
    """A value of an argument, so that equal ones have the same text: 5 and 5.0 are the same number of epochs."""
    number = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if number else value, sort_keys=True, default=str)  # type: ignore[call-overload]


def _machine(environment: dict) -> str:
    return ", ".join(
        [
            str(environment.get("machine") or "not known"),
            f"{environment.get('threads', '?')} threads",
            str(environment.get("accelerator") or "no accelerator"),
        ]
    )


def data_table(groups: Sequence[Group]) -> Table:
    """The data that the runs of each group were made from, by fingerprint."""
    rows: list[list[Entry | str]] = []
    for group in groups:
        data = group.first.data
        marks = ", ".join(f"{c.fold or '-'}: {c.data['split_fingerprint']}" for c in group.one_a_fold()[:12])
        more = f" ... ({len(group.folds)} folds)" if len(group.folds) > 12 else ""
        row = [
            group.name,
            str(data["protocol"]),
            str(data["content"]),
            f"{data['policy']} {data['policy_fingerprint']}",
            ", ".join(counted_ratings(data)) or "-",
        ]
        rows.append([*row, marks + more, number(len(group.runs))])
    return Table("data", ["runs of", "protocol", "content", "policy", "ratings", "fold: splits", "runs"], rows)


def runs_table(groups: Sequence[Group], folder: Path) -> Table:
    """The figures of every run and split, from which all other tables are computed."""
    rows: list[list[Entry | str]] = []
    for group in groups:
        for run in group.runs:
            for split in run.splits:
                figures = [value_entry(run.figure(split, name), shown) for name, shown in COLUMNS.items()]
                where = run.folder.relative_to(folder) if run.folder.is_relative_to(folder) else run.folder
                commit = str(run.results["environment"].get("commit"))
                row: list[Entry | str] = [
                    group.name,
                    run.system,
                    run.fold or "-",
                    str(run.seed),
                    split,
                    number(run.scores(split)["n"]),
                ]
                rows.append([*row, *figures, str(run.data["split_fingerprint"]), commit, str(where)])
    heads = ["runs of", "system", "fold", "seed", "split", "utterances", *(s.title for s in COLUMNS.values())]
    return Table("runs", [*heads, "split fingerprint", "commit", "folder"], rows)
