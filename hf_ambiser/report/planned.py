"""What a report says about its folder's plan: which cells are missing, which runs it lacks, and a paper's numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.studies.plan_file import CellIdentity, PlanFile, Quoted, QuotedFolds


@dataclass(frozen=True)
class Planned:
    """A study's plan as far as a report needs it.

    Args:
        systems: Their names in the plan's order.
        missing: Cells of the plan without a finished run: `system, config, seed`.
        beyond: Finished runs in the study's folder that the plan does not have, as cells.
        n_cells: Number of cells that the plan has.
        not_there_yet: System -> what it waits for.
        quoted: The paper's numbers.
        quoted_folds: The paper's values fold by fold.
        note: Which cells could not be counted, and why; "" if all were.
    """

    systems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    n_cells: int = 0
    not_there_yet: dict[str, str] = field(default_factory=dict)
    quoted: list[Quoted] = field(default_factory=list)
    quoted_folds: list[QuotedFolds] = field(default_factory=list)
    note: str = ""


def read_planned(folder: Path, runs: Iterable[FinishedRun]) -> Planned | None:
    """Compare the plan in a study's folder with the runs that are there; None if the folder holds no plan.

    Raises:
        ValueError: If the plan cannot be read.
    """
    plan = PlanFile(folder).read()
    if plan is None:
        return None
    there = {CellIdentity.of(run) for run in runs}
    cells, unknown = plan.cells(there)
    missing = [_named(cell) for cell in cells if cell not in there]
    beyond = sorted(_named(cell) for cell in there.difference(cells))
    names = ", ".join(unknown)
    note = f"the folds of {names} are not known here, so their missing cells are not counted" if unknown else ""
    quoted = [*plan.quoted], [*plan.quoted_folds]
    return Planned([*plan.systems], missing, beyond, len(cells), plan.not_there_yet, *quoted, note)


def _named(cell: CellIdentity) -> str:
    return f"{cell.system}, {cell.config}, seed {cell.seed}"
