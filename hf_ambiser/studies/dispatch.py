"""Running cells: some at a time, each in a process of its own, beside whoever else works on the same study.

Processes are forked from a server that has imported everything (`multiprocessing`'s fork server), so a cell costs no
Python start, and yet begins in a fresh process: no seed, cache or memory of the cell before. A cell's process holds
the cell itself (`attempts`), so a runner that is killed leaves nothing behind that others could mistake for work going
on; its cells' processes see that it is gone and end.
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
from typing import Any

from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.studies.attempts import BEAT, FAILED, FINISHED, INTERRUPTED, STALE, Attempts, file_clock
from hf_ambiser.studies.cells import RUNNER, Cell
from hf_ambiser.studies.progress import StudyBar


# Imported once, before the first cell; every cell's process has it from there.
PRELOAD = ["datasets", "hf_ambiser.studies.cell_process"]
_BUSY = 75  # exit status of a process whose cell somebody else was faster to take
_POLL = 1.0


@dataclass
class Outcome:
    """What became of the cells of one call.

    Args:
        finished: Cells with results, whoever ran them and when.
        failed: Cell to the last line of its error.
        elsewhere: Cells that others work on now.
    """

    finished: list[Cell] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: list[Cell] = field(default_factory=list)


class Dispatcher:
    """Runs cells until none is left that could be started.

    Args:
        cells: What to run, all in one study folder.
        work: Does one cell; its module is importable by name.
        jobs: Cells at a time.
        preload: Modules the fork server imports.
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
        if jobs < 1:
            raise ValueError(f"--jobs {jobs} must be 1 or more.")
        self.waiting = list(cells)
        self.work = work
        self.jobs = jobs
        self.threads = max(1, (os.cpu_count() or 1) // jobs)
        self.beat, self.stale = beat, stale
        self.bar = bar or StudyBar(cells, jobs, stale, show=False)
        self.outcome = Outcome()
        self.running: dict[BaseProcess, Cell] = {}
        self._seen: dict[str, float] = {}
        self._began = file_clock(cells[0].out / RUNNER) if cells else 0.0
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["hf_ambiser.studies.dispatch", *preload])

    def run(self) -> Outcome:
        """Run, and wait for, what is not finished; cells that others hold are left to them."""
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
        """Cells that begin with the network of one that failed, or that is in another part and nobody's work."""
        ours = {cell.key for cell in self.waiting}
        for cell in list(self.waiting):
            missing = [(name, key) for name, key in cell.waits_for if key not in ours]
            if missing:
                name, key = missing[0]
                why = "failed" if key in self.outcome.failed else "is not finished; run it first"
                self.waiting.remove(cell)
                self.outcome.failed[cell.key] = f"{name}={cell.fields[name]!r}: {key}, which it begins with, {why}"

    def _next(self) -> Cell | None:
        """The first cell that nobody works on, after noting what has ended since the last look."""
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
            if last is not None and last.outcome == FAILED and last.touched >= self._began:
                # By this runner or one beside it: once is enough; who starts again tries again.
                self.waiting.remove(cell)
                self.outcome.failed[cell.key] = last.error
                continue
            if not cell.waits_for and not attempts.is_held(last):
                return cell
        return None

    def _undecided(self) -> bool:
        """Whether a cell that somebody else holds has given no sign of life since this runner looked first."""
        undecided = False
        ours = {cell.key for cell in self.waiting}
        for cell in self.waiting:
            if cell.waits_for:
                # One of ours speaks for itself; for another's, of another part of the study, this one waits.
                others = [
                    Attempts(cell.out / RUNNER / key, self.stale) for _, key in cell.waits_for if key not in ours
                ]
                undecided |= any(other.is_held(other.last()) for other in others)
                continue
            attempts = self._attempts(cell)
            last = attempts.last()
            if last is None or not attempts.is_held(last):
                return True  # free by now
            first = self._seen.setdefault(f"{cell.key} {last.number}", last.touched)
            undecided |= last.touched == first and not attempts.is_here(last)
        return undecided

    def _start(self, cell: Cell) -> None:
        cell.folder.mkdir(parents=True, exist_ok=True)
        arguments = (cell, self.work, self.threads, self.beat, self.stale)
        process = self._context.Process(target=_do, args=arguments, name=cell.key)
        process.start()
        self.running[process] = cell

    def _reap(self) -> None:
        for process in [process for process in self.running if not process.is_alive()]:
            cell = self.running.pop(process)
            process.join()
            if process.exitcode not in (0, _BUSY):
                self._end(cell, process, FAILED, _death(process.exitcode))

    def _end(self, cell: Cell, process: BaseProcess, outcome: str, error: str = "") -> None:
        """Close the attempt of a process that could not do so itself."""
        attempts = self._attempts(cell)
        last = attempts.last()
        if last is not None and last.outcome is None and last.pid == process.pid:
            attempts.end(last, outcome, error)
        elif outcome == FAILED and (last is None or last.touched < self._began):
            mine = attempts.take()  # it ended before it held the cell
            if mine is not None:
                attempts.end(mine, outcome, error)

    def _kill(self) -> None:
        for process in self.running:
            process.kill()
        for process, cell in self.running.items():
            process.join()
            self._end(cell, process, INTERRUPTED)

    def _attempts(self, cell: Cell) -> Attempts:
        return Attempts(cell.attempts, self.stale)


def _start_server() -> None:
    """Start the fork server on this process's own import path.

    By itself it would look into the current folder first, where another version of this package may lie.
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


def _do(cell: Cell, work: Callable[[Cell, int], Any], threads: int, beat: float, stale: float) -> None:
    """In the cell's process: take the cell, do it, write down how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to answer
    runner = multiprocessing.parent_process()
    attempts = Attempts(cell.attempts, stale)
    attempt = attempts.take()
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
