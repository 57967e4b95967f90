"""The command that runs a study; `train_scripts/cross_validate.py` is the same."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hf_ambiser.runs.arguments import given_fields
from hf_ambiser.runs.run import check_folder
from hf_ambiser.studies.attempts import STALE
from hf_ambiser.studies.cell_process import train
from hf_ambiser.studies.cells import Cell, chosen_configs, expand, share
from hf_ambiser.studies.dispatch import Dispatcher, Outcome
from hf_ambiser.studies.dry_run import describe
from hf_ambiser.studies.plan import Plan, read_plan
from hf_ambiser.studies.plan_file import PlanFile
from hf_ambiser.studies.progress import StudyBar


def main(argv: Sequence[str] | None = None) -> int:
    """Run or show a study; what a user can put right is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(description="Run a study: systems x folds x seeds, as a plan file says.")
    parser.add_argument(
        "--plan", type=Path, required=True, help="YAML file; hf_ambiser/studies/plan.py says what it holds"
    )
    parser.add_argument("--out", type=Path, help="the study's folder (default: runs/<name of the plan>)")
    parser.add_argument("--dry-run", action="store_true", help="print cells, split sizes and time; run nothing")
    parser.add_argument("--cells", metavar="i/n", help="only every n-th cell, beginning with the i-th")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time; the cores are shared among them")
    args = parser.parse_args(argv)
    try:
        plan = read_plan(args.plan)
        out = args.out or Path("runs") / plan.name
        if args.dry_run:
            sys.stdout.write(describe(plan, out, args.cells, args.jobs))
            return 0
        return _run(plan, out, args.cells, args.jobs)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"cross_validate.py: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("cross_validate.py: stopped; the same command goes on\n")
        return 130


def _run(plan: Plan, out: Path, which: str | None, jobs: int) -> int:
    cells = expand(plan, [chosen_configs(data) for data in plan.datasets], out)
    if which:
        cells = share(cells, which)
    PlanFile(out).write(plan.resolved())
    foreign = {cell.key: reason for cell in cells if (reason := _foreign(cell))}
    cells = [cell for cell in cells if cell.key not in foreign]
    before = signal.signal(signal.SIGTERM, _stop)  # what schedulers send when time is up
    try:
        outcome = Dispatcher(cells, train, jobs, bar=StudyBar(cells, jobs, STALE)).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    outcome.failed |= foreign
    sys.stdout.write(_summary(plan, out, outcome))
    return 1 if outcome.failed else 0


def _foreign(cell: Cell) -> str:
    """Why a cell's folder is not this cell's, or ""."""
    try:
        check_folder(cell.folder, given_fields(cell.fields))
    except ValueError as error:
        return str(error)
    return ""


def _summary(plan: Plan, out: Path, outcome: Outcome) -> str:
    lines = [f"{len(outcome.finished)} cells finished, {len(outcome.failed)} failed: {out}"]
    lines += [f"failed: {key}: {error}" for key, error in sorted(outcome.failed.items())]
    if outcome.elsewhere:
        lines.append(f"{len(outcome.elsewhere)} cells are being run by others now, who are not waited for")
    lines += [f"skipped: {system.name}: {system.missing}" for system in plan.systems if system.missing]
    return "\n".join(lines) + "\n"


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
