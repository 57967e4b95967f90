"""Running a study from its plan, and the summary of its cells."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hf_ambiser.run_folder.attempts import STALE
from hf_ambiser.runs.arguments import given_fields
from hf_ambiser.runs.run import check_folder
from hf_ambiser.studies.beginnings import cut_off, replaced
from hf_ambiser.studies.cell_process import train
from hf_ambiser.studies.cells import Cell, chosen_configs, expand, share
from hf_ambiser.studies.dispatch import Dispatcher, Outcome
from hf_ambiser.studies.plan import Plan
from hf_ambiser.studies.plan_file import PlanFile
from hf_ambiser.studies.progress import StudyBar
from hf_ambiser.training.checkpoints import drop_all


def run_study(plan: Plan, out: Path, which: str | None = None, jobs: int = 1, drop_checkpoints: bool = False) -> int:
    """Run the cells of a plan that are not finished, and print what became of them.

    Args:
        plan: The study.
        out: Its folder.
        which: `i/n` for every n-th cell only, beginning with the i-th; None for all.
        jobs: Cells at a time.
        drop_checkpoints: Delete the checkpoints of each cell that is finished, now or before. Its model stays.

    Returns:
        0, or 1 if a cell failed.

    Raises:
        ValueError: If the plan does not fit the data sets, or `which` or `jobs` is no such number.
        KeyboardInterrupt: When it is stopped, by SIGTERM as well.
    """
    every = expand(plan, [chosen_configs(data) for data in plan.datasets], out)
    cells = share(every, which) if which else every
    PlanFile(out).write(plan.resolved())
    # Of all cells, because those of this part may begin with those of another one.
    foreign = {cell.key: reason for cell in every if (reason := _foreign(cell))}
    foreign |= cut_off(every, foreign)
    foreign = {cell.key: foreign[cell.key] for cell in cells if cell.key in foreign}
    cells = [cell for cell in cells if cell.key not in foreign]
    if drop_checkpoints:
        _drop_checkpoints(cells)
    before = signal.signal(signal.SIGTERM, _stop)  # schedulers send it when time is up
    work = partial(train, drop_checkpoints=drop_checkpoints)
    try:
        outcome = Dispatcher(cells, work, jobs, bar=StudyBar(cells, jobs, STALE)).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    if drop_checkpoints:  # of cells that another runner has finished, too
        _drop_checkpoints(cells)
    outcome.failed |= foreign
    sys.stdout.write(_summary(plan, out, outcome))
    return 1 if outcome.failed else 0


def _drop_checkpoints(cells: Sequence[Cell]) -> None:
    for cell in cells:
        if cell.finished:
            drop_all(cell.folder)


def _foreign(cell: Cell) -> str:
    """Return the reason why a cell's folder belongs to another run, or began with one, or ""."""
    try:
        check_folder(cell.folder, given_fields(cell.fields))
        return replaced(cell)
    except ValueError as error:
        return str(error)


def _summary(plan: Plan, out: Path, outcome: Outcome) -> str:
    lines = [f"{len(outcome.finished)} cells finished, {len(outcome.failed)} failed: {out}"]
    lines += [f"failed: {key}: {error}" for key, error in sorted(outcome.failed.items())]
    if outcome.elsewhere:
        lines.append(f"{len(outcome.elsewhere)} cells are being run by others now, who are not waited for")
    lines += [f"skipped: {system.name}: {system.missing}" for system in plan.systems if system.missing]
    return "\n".join(lines) + "\n"


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
