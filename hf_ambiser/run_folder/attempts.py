"""Attempts at the cells of a study, and at a run: small files that say which process works in a folder.

Several processes and machines share a study's folder. Any of them may be killed at any moment, but no cell may be lost
or be run twice at the same time. Each cell has a folder with one file per attempt, `00001.json`, `00002.json` ... A
process takes a cell by creating the file with the next number, which the file system allows only one process
(`O_EXCL`). It may do so when the last attempt has ended or its holder is dead. While it works, it touches the file.
Files are never deleted and numbers never used again. So a process that acts on an old view of the folder collides with
the faster one, and there is no lock file to delete or rename, which would be a race. The files remain as a history:
who ran which cell, when, and how it ended. A run folder is held in the same way (`run_lock`).

A holder on this machine is dead when its process is gone: the process with its number that was born when it was. A
holder on another machine, in another container or from before a reboot is dead when its file has not been touched for
`STALE` seconds, by the clock of the file system, which all machines share. A touch that is dated in the future,
because a clock was wrong, says nothing about its age: then the holder is dead when this process has seen no new touch
for `STALE` seconds of its own clock, which nobody can set. A holder that was only suspended for so long finds the next
attempt when it wakes up, and ends itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NoReturn

from hf_ambiser.files.read import FileError, read_json, read_text
from hf_ambiser.run_folder.layout import write_whole
from hf_ambiser.run_folder.processes import UNKNOWN, birth, this_host


logger = logging.getLogger(__name__)
BEAT = 5.0  # seconds between two touches
STALE = 120.0  # network file systems show another machine's touch up to a minute late
# The version of the files. A later one says so in `version`; the first one has no such field.
VERSION = 1
FINISHED, FAILED, INTERRUPTED = "finished", "failed", "interrupted"
_KINDS = {"number": int, "host": str, "pid": int, "born": str, "started": int | float}


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

    def is_of(self, pid: int, born: str) -> bool:
        """Whether a process of this machine holds it, given its number and birth: numbers are used again."""
        return self.host == this_host() and self.pid == pid and (self.born == born or UNKNOWN in (self.born, born))

    @property
    def seconds(self) -> float:
        """Seconds from its start to its last sign of life."""
        return max(self.touched - self.started, 0.0)


class Attempts:
    """The attempts at one cell. Keep the object as long as you watch the cell: it remembers the touches it has seen.

    Args:
        folder: Folder of the files; it is made when the cell is first taken.
        stale: A holder on another machine is dead after this many seconds without a sign of life.
    """

    def __init__(self, folder: Path, stale: float = STALE) -> None:
        self.folder = folder
        self.stale = stale
        # The last touch that was seen, of which attempt, and when by this process's own clock.
        self._seen: tuple[int, float, float] | None = None

    def all(self) -> list[Attempt]:
        """Return all attempts so far, in order."""
        return [self._read(number) for number in self._numbers()]

    def last(self) -> Attempt | None:
        """Return the last attempt, the only one that may still be running."""
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else None

    def is_held(self, attempt: Attempt | None) -> bool:
        """Whether a process works on the cell, given its last attempt."""
        if attempt is None or attempt.outcome is not None:
            return False
        if self.is_here(attempt):
            born = birth(attempt.pid)
            if not born:
                return False
            if UNKNOWN not in (born, attempt.born):
                return born == attempt.born
        age = file_clock(self.folder) - attempt.touched
        return age < self.stale if age > -BEAT else self._touched_lately(attempt, -age)

    def _touched_lately(self, attempt: Attempt, ahead: float) -> bool:
        """Whether this process has seen a new touch within `stale` seconds; the first look counts as one."""
        now = time.monotonic()
        if self._seen is None or self._seen[:2] != (attempt.number, attempt.touched):
            if self._seen is None or self._seen[0] != attempt.number:
                logger.warning(
                    "%s is dated %.0f seconds in the future: a clock is or was wrong. Its holder counts as dead when"
                    " nothing touches it for %.0f seconds from now.",
                    self._path(attempt.number),
                    ahead,
                    self.stale,
                )
            self._seen = (attempt.number, attempt.touched, now)
        return now - self._seen[2] < self.stale

    def is_here(self, attempt: Attempt) -> bool:
        """Whether its holder is (or was) on this machine, so that its process can be checked."""
        return attempt.host == this_host()

    def take(self, dead: Attempt | None = None) -> Attempt | None:
        """Return a new attempt, held by this process; None if another process holds the cell or was faster.

        Args:
            dead: The last attempt, if somebody has watched it and found its holder dead. Unless it was touched since,
                it is not judged again.
        """
        last = self.last()
        if (dead is None or last != dead) and self.is_held(last):
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        mine = Attempt(last.number + 1 if last else 1, this_host(), os.getpid(), birth(os.getpid()), time.time())
        path = self._path(mine.number)
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return None
        try:
            with os.fdopen(file, "w") as stream:
                stream.write(_text(mine))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            # On a full disk the file would stay empty, and others would wait for its holder.
            path.unlink(missing_ok=True)
            raise
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
        `orphaned()` says that the process that started it is gone. It says so on standard error.
        """
        done = threading.Event()

        def watch() -> None:
            touched = time.monotonic()
            while not done.wait(min(beat, 1.0)):
                try:
                    if orphaned():
                        self._leave("the process that started this one is gone")
                    if self._path(attempt.number + 1).exists():
                        self._leave("another process has taken over, because this one gave no sign of life")
                    if time.monotonic() - touched >= beat:
                        os.utime(self._path(attempt.number))
                        touched = time.monotonic()
                except OSError:  # a file system may be unavailable for a moment
                    if time.monotonic() - touched >= self.stale:
                        self._leave("its files could not be reached for so long that others take it for dead")

        thread = threading.Thread(target=watch, daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _leave(self, why: str) -> NoReturn:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{self.folder}: {why}, so this process ends.\n")
            sys.stderr.flush()
        os._exit(1)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.json"

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.json") if re.fullmatch(r"\d{5,}", path.stem))

    def _read(self, number: int) -> Attempt:
        path = self._path(number)
        cure = "If no process works on it, delete that file."
        if not read_text(path, cure):
            # The file is empty: its holder is writing it now, or was killed before that. Signs of life decide.
            return Attempt(number, touched=path.stat().st_mtime)
        content = read_json(path, cure)
        unknown = sorted(set(content) - {field.name for field in fields(Attempt)} - {"version"})
        if content.get("version", VERSION) != VERSION or unknown:
            raise FileError(
                path,
                f"was written by a later version of hf_ambiser: version {content.get('version', 'not told')} of these"
                f" files, this one reads version {VERSION}" + (f" (unknown fields: {unknown})" if unknown else ""),
                "Go on with that version, or give another folder.",
            )
        values = {name: value for name, value in content.items() if name != "version"}
        content.check(_KINDS)
        return Attempt(**values, touched=path.stat().st_mtime)


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
