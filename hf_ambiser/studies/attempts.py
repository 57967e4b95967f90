"""Attempts at the cells of a study: small files that say which process works on which cell.

Several processes and machines share a study's folder. Any of them may be killed at any moment, but no cell may be lost
or be run twice at the same time. Each cell has a folder with one file per attempt, `00001.json`, `00002.json` ... A
process takes a cell by creating the file with the next number, which the file system allows only one process
(`O_EXCL`). It may do so when the last attempt has ended or its holder is dead. While it works, it touches the file.
Files are never deleted and numbers never used again. So a process that acts on an old view of the folder collides with
the faster one, and there is no lock file to delete or rename, which would be a race. The files remain as a history:
who ran which cell, when, and how it ended.

A holder on this machine is dead when its process is gone. A holder on another machine is dead when its file has not
been touched for `STALE` seconds, by the clock of the file system, which all machines share. A holder that was only
suspended for so long finds the next attempt when it wakes up, and ends itself.
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
        host: Machine and process space, from `this_host`.
        pid: Process that holds it.
        born: Birth time of the process, which separates it from a later one with the same pid.
        started: Seconds since the epoch.
        outcome: None while it is running, else `finished`, `failed` or `interrupted`.
        error: One line, if it failed.
        touched: Last sign of life, by the file system's clock; not stored.
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
        """Seconds from its start to its last sign of life."""
        return max(self.touched - self.started, 0.0)


class Attempts:
    """The attempts at one cell.

    Args:
        folder: Folder of the files; it is made when the cell is first taken.
        stale: A holder on another machine is dead after this many seconds without a sign of life.
    """

    def __init__(self, folder: Path, stale: float = STALE) -> None:
        self.folder = folder
        self.stale = stale

    def all(self) -> list[Attempt]:
        """Return all attempts so far, in order."""
        numbers = sorted(int(path.stem) for path in self.folder.glob("*.json"))
        return [self._read(number) for number in numbers]

    def last(self) -> Attempt | None:
        """Return the last attempt, the only one that may still be running."""
        numbers = [int(path.stem) for path in self.folder.glob("*.json")]
        return self._read(max(numbers)) if numbers else None

    def is_held(self, attempt: Attempt | None) -> bool:
        """Whether a process works on the cell, given its last attempt."""
        if attempt is None or attempt.outcome is not None:
            return False
        if self.is_here(attempt):
            return _process(attempt.pid) == attempt.born
        return file_clock(self.folder) - attempt.touched < self.stale

    def is_here(self, attempt: Attempt) -> bool:
        """Whether its holder is (or was) on this machine, so that its process can be checked."""
        return attempt.host == this_host()

    def take(self) -> Attempt | None:
        """Return a new attempt, held by this process; None if another process holds the cell or was faster."""
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
        """Record how an attempt ended; after that the cell is free."""
        write_whole(self._path(attempt.number), _text(attempt, outcome=outcome, error=error))

    @contextlib.contextmanager
    def alive(
        self, attempt: Attempt, beat: float = BEAT, orphaned: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Touch the attempt's file while the body runs.

        The whole process ends immediately, without cleaning up, when another process has taken the cell or when
        `orphaned()` says that the process that started it is gone.
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
                except OSError:  # a file system may be unavailable for a moment
                    if time.monotonic() - touched >= self.stale:
                        os._exit(1)  # other machines now consider this process dead

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
            # The file is empty: its holder is writing it now, or was killed before that. Signs of life decide.
            content = {"number": number}
        return Attempt(**content, touched=path.stat().st_mtime)


def _text(attempt: Attempt, **changes: str) -> str:
    values = {**asdict(attempt), **changes}
    del values["touched"]
    return json.dumps(values, indent=1)


def file_clock(folder: Path) -> float:
    """Return the time by the clock of the file system; the clocks of machines differ."""
    path = folder / ".clock"
    folder.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path.stat().st_mtime


def this_host() -> str:
    """Name the machine, its boot and the process space: processes with the same name can see each other's ids."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _process(pid: int) -> str:
    """Return the birth time of a running process, "unknown" if the system does not tell it, "" if it does not run."""
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
