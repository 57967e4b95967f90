"""Who works on a cell of a study: one small file an attempt, made by whoever takes the cell, touched while it works.

Several processes and machines share a study's folder, any of them may be killed at any moment, and no cell may be
worked on twice at a time or lost. A cell's attempts are files `00001.json`, `00002.json` ... in a folder of its own.
Taking the cell is creating the next number, which the file system grants to one process only (`O_EXCL`); it may be
done when the last attempt has ended or its holder is dead. Files are never deleted and numbers never used again, so
whoever looked a moment ago and acts now collides with whoever was faster, and no lock has to be broken: the race that
a deleted or renamed lock file has does not exist. What is left behind is the history: who ran which cell, when, and
how it ended.

A holder on this machine is dead when its process is gone. One elsewhere is dead when its file has not been touched for
`STALE` seconds by the clock of the file system, which all machines that share it have in common. A holder that was
only suspended for so long finds the next attempt when it wakes, and ends itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hf_ambiser.run_folder.layout import write_whole


BEAT = 5.0  # seconds between two touches
STALE = 120.0  # network file systems show another machine's touch up to a minute late
FINISHED, FAILED, INTERRUPTED = "finished", "failed", "interrupted"


@dataclass(frozen=True)
class Attempt:
    """One attempt at a cell.

    Args:
        number: From 1.
        host: Machine and process space, as `this_host`.
        pid: Process that holds it.
        born: What tells the process from a later one with the same number.
        started: Seconds since the epoch.
        outcome: None while it goes on, else `finished`, `failed` or `interrupted`.
        error: Of a failed one, one line.
        touched: Last sign of life, by the file system's clock. Not stored.
    """

    number: int
    host: str = ""
    pid: int = 0
    born: str = ""
    started: float = 0.0
    outcome: str | None = None
    error: str = ""
    touched: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it worked, as far as is known."""
        return max(self.touched - self.started, 0.0)


class Attempts:
    """The attempts at one cell.

    Args:
        folder: Where they are; made when the cell is first taken.
        stale: Seconds without a sign of life after which a holder on another machine is dead.
    """

    def __init__(self, folder: Path, stale: float = STALE) -> None:
        self.folder = folder
        self.stale = stale

    def all(self) -> list[Attempt]:
        """All attempts so far, the last one last."""
        numbers = sorted(int(path.stem) for path in self.folder.glob("*.json"))
        return [self._read(number) for number in numbers]

    def last(self) -> Attempt | None:
        """The last attempt, the only one that may be going on."""
        numbers = [int(path.stem) for path in self.folder.glob("*.json")]
        return self._read(max(numbers)) if numbers else None

    def is_held(self, attempt: Attempt | None) -> bool:
        """Whether somebody works on the cell, `attempt` being its last one."""
        if attempt is None or attempt.outcome is not None:
            return False
        if self.is_here(attempt):
            return _process(attempt.pid) == attempt.born
        return file_clock(self.folder) - attempt.touched < self.stale

    def is_here(self, attempt: Attempt) -> bool:
        """Whether its holder is (or was) on this machine, where one can see whether it lives."""
        return attempt.host == this_host()

    def take(self) -> Attempt | None:
        """A new attempt, held by this process; None if somebody else holds the cell or was faster."""
        last = self.last()
        if self.is_held(last):
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        mine = Attempt(last.number + 1 if last else 1, this_host(), os.getpid(), _process(os.getpid()), time.time())
        try:
            file = os.open(self._path(mine.number), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return None
        with os.fdopen(file, "w") as stream:
            stream.write(_text(mine))
            stream.flush()
            os.fsync(stream.fileno())
        return mine

    def end(self, attempt: Attempt, outcome: str, error: str = "") -> None:
        """Write down how an attempt ended; the cell is free again."""
        write_whole(self._path(attempt.number), _text(attempt, outcome=outcome, error=error))

    @contextlib.contextmanager
    def alive(
        self, attempt: Attempt, beat: float = BEAT, orphaned: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Touch the attempt's file while the body works.

        The whole process ends, at once and without cleaning up, when the cell was taken from it or `orphaned()` says
        that whoever started it is gone.
        """
        done = threading.Event()

        def watch() -> None:
            touched = time.monotonic()
            while not done.wait(min(beat, 1.0)):
                try:
                    if orphaned() or self._path(attempt.number + 1).exists():
                        os._exit(1)
                    if time.monotonic() - touched >= beat:
                        os.utime(self._path(attempt.number))
                        touched = time.monotonic()
                except OSError:  # a file system may be away for a moment
                    if time.monotonic() - touched >= self.stale:
                        os._exit(1)  # by now others take this process for dead

        thread = threading.Thread(target=watch, daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.json"

    def _read(self, number: int) -> Attempt:
        path = self._path(number)
        try:
            content = json.loads(path.read_text())
        except ValueError:
            # Created, not yet written: its holder writes it now, or was killed just then. Signs of life tell.
            content = {"number": number}
        return Attempt(**content, touched=path.stat().st_mtime)


def _text(attempt: Attempt, **changes: str) -> str:
    values = {**asdict(attempt), **changes}
    del values["touched"]
    return json.dumps(values, indent=1)


def file_clock(folder: Path) -> float:
    """The time by the clock that gives files of this folder their times; machines' own clocks differ."""
    path = folder / ".clock"
    folder.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path.stat().st_mtime


def this_host() -> str:
    """What two processes have in common that can see each other by process id: machine, its boot, process space."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _process(pid: int) -> str:
    """When a running process was born, or "unknown" where that is not told; "" if there is none."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if sys.platform == "linux":
            return ""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return "unknown"
    return "" if state == "Z" else fields[18]  # field 22 of proc(5): start time
