"""Runs cells: several at a time, each in its own process, beside other runners of the same study.

Processes are forked from a server that has imported everything (`multiprocessing`'s fork server). So a cell needs no
new start of Python, but still begins in a fresh process, without seed, cache or memory of an earlier cell. The process
of a cell, not the runner, holds the cell (`attempts`). So a killed runner leaves nothing that looks like running work:
the processes of its cells see that it is gone, and end.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hf_ambiser.run_folder.attempts import BEAT, FAILED, FINISHED, INTERRUPTED, STALE, Attempt, Attempts
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.processes import UNKNOWN, birth
from hf_ambiser.studies.cells import RUNNER, Cell
from hf_ambiser.studies.progress import StudyBar
from hf_ambiser.studies.threads import threads_of_a_cell


# The server imports these once, before the first cell; the processes of all cells inherit them.
PRELOAD = ["datasets", "hf_ambiser.studies.cell_process"]
_BUSY = 75  # exit status of a process if another one was faster to take its cell
_POLL = 1.0


@dataclass
class Outcome:
    """The outcome of the cells of one call.

    Args:
        finished: Cells with results, no matter who ran them and when.
        failed: Key of a cell -> the last line of its error.
        elsewhere: Cells that other runners work on now.
    """

    finished: list[Cell] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: list[Cell] = field(default_factory=list)


def check_jobs(jobs: int) -> None:
    """Check how many cells are asked for at a time.

    Raises:
        ValueError: If it is below 1.
    """
    if jobs < 1:
        raise ValueError(f"--jobs {jobs} must be 1 or more.")


class Dispatcher:
    """Runs cells until no cell is left that could be started.

    Args:
        cells: Cells to run, all in one study folder.
        work: Runs one cell; its module must be importable by name.
        jobs: Number of cells at a time.
        preload: Modules that the fork server imports.
        beat: See `attempts.BEAT`.
        stale: See `attempts.STALE`.
        bar: Shows progress.

    Raises:
        ValueError: If `jobs` is below 1.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        work: Callable[[Cell, int], None],
        jobs: int = 1,
        *,
        preload: Sequence[str] = tuple(PRELOAD),
        beat: float = BEAT,
        stale: float = STALE,
        bar: StudyBar | None = None,
    ) -> None:
        check_jobs(jobs)
        self.waiting = list(cells)
        self.work = work
        self.jobs = jobs
        self.threads = threads_of_a_cell(jobs)
        self.beat, self.stale = beat, stale
        self.bar = bar or StudyBar(cells, jobs, stale, show=False)
        self.outcome = Outcome()
        self.running: dict[BaseProcess, Cell] = {}
        self._seen: dict[str, float] = {}
        self._born: dict[BaseProcess, str] = {}
        # One object for each cell, for it remembers which signs of life it has seen.
        self._watched: dict[Path, Attempts] = {}
        # The last attempts that ended before this runner began, and those whose holders it found dead or gone.
        self._before: dict[str, int] = {}
        self._free: dict[str, Attempt | None] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["hf_ambiser.studies.dispatch", *preload])

    def run(self) -> Outcome:
        """Run all cells that are not finished and wait for them; cells that others hold are left to them."""
        self._before = {cell.key: _ended(self._attempts(cell).last()) for cell in self.waiting if not cell.finished}
        self.bar.open()
        _start_server()
        try:
            while True:
                while len(self.running) < self.jobs and (cell := self._next()) is not None:
                    self._start(cell)
                if not self.running and not self._undecided():
                    break
                self.bar.update(self.running.values(), self.outcome.failed)
                multiprocessing.connection.wait([p.sentinel for p in self.running], timeout=_POLL)
                self._reap()
        finally:
            self._kill()
            self.bar.update((), self.outcome.failed)
            self.bar.close()
        self._give_up()
        self.outcome.elsewhere = list(self.waiting)
        return self.outcome

    def _give_up(self) -> None:
        """Fail cells whose starting cell failed, or belongs to another part of the study and is not finished."""
        ours = {cell.key for cell in self.waiting}
        for cell in list(self.waiting):
            missing = [(name, key) for name, key in cell.waits_for if key not in ours]
            if missing:
                name, key = missing[0]
                why = "failed" if key in self.outcome.failed else "is not finished; run it first"
                self.waiting.remove(cell)
                self.outcome.failed[cell.key] = f"{name}={cell.fields[name]!r}: its starting cell {key} {why}"

    def _next(self) -> Cell | None:
        """Record which cells have ended, and return the first cell that nobody works on."""
        busy = {cell.key for cell in self.running.values()}
        for cell in list(self.waiting):
            if cell.key in busy:
                continue
            if cell.finished:
                self.waiting.remove(cell)
                self.outcome.finished.append(cell)
                continue
            attempts = self._attempts(cell)
            last = attempts.last()
            if last is not None and last.outcome == FAILED and last.number > self._before.get(cell.key, 0):
                # It failed since this runner began, here or in another runner; only a new start tries it again.
                self.waiting.remove(cell)
                self.outcome.failed[cell.key] = last.error
                continue
            if not cell.waits_for and not attempts.is_held(last):
                self._free[cell.key] = last
                return cell
        return None

    def _undecided(self) -> bool:
        """Whether some cell may still become free: its other holder has shown no sign of life since the first look."""
        undecided = False
        ours = {cell.key for cell in self.waiting}
        for cell in self.waiting:
            if cell.waits_for:
                # If the starting cell is ours, the loop decides it itself. If it is in another part of the study and
                # someone runs it, wait for it.
                others = [self._watch(cell.out / RUNNER / key) for _, key in cell.waits_for if key not in ours]
                undecided |= any(other.is_held(other.last()) for other in others)
                continue
            attempts = self._attempts(cell)
            last = attempts.last()
            if last is None or not attempts.is_held(last):
                return True  # it is free now
            first = self._seen.setdefault(f"{cell.key} {last.number}", last.touched)
            undecided |= last.touched == first and not attempts.is_here(last)
        return undecided

    def _start(self, cell: Cell) -> None:
        cell.folder.mkdir(parents=True, exist_ok=True)
        # The process cannot judge the last holder again: this runner has watched it, perhaps for long.
        arguments = (cell, self.work, self.threads, self.beat, self.stale, self._free[cell.key])
        process = self._context.Process(target=_do, args=arguments, name=cell.key)
        process.start()
        self._born[process] = birth(process.pid or 0) or UNKNOWN  # it may have ended already
        self.running[process] = cell

    def _reap(self) -> None:
        for process in [process for process in self.running if not process.is_alive()]:
            cell = self.running.pop(process)
            process.join()
            if process.exitcode not in (0, _BUSY):
                self._end(cell, process, FAILED, _death(process.exitcode))

    def _end(self, cell: Cell, process: BaseProcess, outcome: str, error: str = "") -> None:
        """End the attempt of a process that could not do so itself."""
        attempts = self._attempts(cell)
        last = attempts.last()
        # A process in another container may have the same number: host and birth tell them apart.
        if last is not None and last.outcome is None and last.is_of(process.pid or 0, self._born[process]):
            attempts.end(last, outcome, error)
        elif outcome == FAILED and (last is None or last.number <= self._before.get(cell.key, 0)):
            mine = attempts.take()  # the process ended before it held the cell
            if mine is not None:
                attempts.end(mine, outcome, error)

    def _kill(self) -> None:
        for process in self.running:
            process.kill()
        for process, cell in self.running.items():
            process.join()
            self._end(cell, process, INTERRUPTED)

    def _attempts(self, cell: Cell) -> Attempts:
        return self._watch(cell.attempts)

    def _watch(self, folder: Path) -> Attempts:
        return self._watched.setdefault(folder, Attempts(folder, self.stale))


def _ended(last: Attempt | None) -> int:
    """The number of the last attempt that has ended, given the last attempt; 0 if none has."""
    if last is None:
        return 0
    return last.number if last.outcome is not None else last.number - 1


def _start_server() -> None:
    """Start the fork server with the import path of this process.

    On its own it would search the current folder first, which may hold another version of this package.
    """
    ours = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _death(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        more = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{more}"
    return f"its process ended with status {status}; see train.log"


def _do(
    cell: Cell, work: Callable[[Cell, int], Any], threads: int, beat: float, stale: float, dead: Attempt | None
) -> None:
    """Take the cell, run it and record how it ended; this is what the cell's process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner handles Ctrl-C
    runner = multiprocessing.parent_process()
    attempts = Attempts(cell.attempts, stale)
    attempt = attempts.take(dead)
    if attempt is None:
        sys.exit(_BUSY)
    with RunFolder(cell.folder).log.open("ab") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    error = ""
    with attempts.alive(attempt, beat, orphaned=lambda: runner is not None and not runner.is_alive()):
        try:
            if not cell.finished:
                work(cell, threads)
            if not cell.finished:
                error = "it left no results"
        except Exception as reason:
            traceback.print_exc()
            said = " ".join(str(reason).split()) or "no message"
            error = said if isinstance(reason, ValueError) else f"{type(reason).__name__}: {said}"
    attempts.end(attempt, FAILED if error else FINISHED, error)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(1 if error else 0)
