"""The file of the listeners' votes: CSV, one row a vote, which `hf-ambiser build --ratings` reads.

A vote is appended under a lock and in one write, so that several pages can share the file, and a process that is
killed leaves all earlier votes whole. `time` comes last, and a build does not read it: a row that was cut off there
has all that counts.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from hf_ambiser.files.tables import read_table_file
from hf_ambiser.untrusted.cells import csv_of


LONGEST_NAME = 80  # letters of a rater's name


@dataclass(frozen=True)
class Vote:
    """One vote. Its fields are the columns of the file, under names that a build knows.

    Args:
        utterance: Name of the utterance in the data set.
        rater: Who voted.
        label: The class.
        speaker: Who speaks.
        session: "" if the corpus has none.
        time: When, in UTC.
    """

    utterance: str
    rater: str
    label: str
    speaker: str
    session: str = ""
    time: str = ""


COLUMNS = tuple(field.name for field in fields(Vote))


class VotesFile:
    """A CSV file of votes, which may not be there yet.

    Args:
        path: The file; its folder must be there.

    Raises:
        ValueError: If the name does not end in `.csv`, there is no such folder, or it is a file of something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix.lower() != ".csv":
            raise ValueError(f"--votes {path} does not end in .csv; the votes are written as a CSV file.")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"--votes {path}: there is no folder {path.absolute().parent}; make it first.")
        self.votes()

    def votes(self) -> list[Vote]:
        """Read the votes; a row that is none, such as one that was cut off, is left where it is.

        Raises:
            ValueError: If it is a file of something else.
        """
        if not self.path.exists() or self.path.stat().st_size == 0:
            return []
        table = read_table_file(self.path)
        if tuple(table.columns) != COLUMNS:
            raise ValueError(
                f"{self.path} has the columns {list(table.columns)[:8]}, and a file of votes has {list(COLUMNS)}."
                " Give another file."
            )
        return [Vote(*map(str, row)) for row in zip(*table.columns.values(), strict=True)]

    def add(self, vote: Vote) -> Vote:
        """Append a vote; when this returns, the disk has it. The vote with its time is returned.

        Raises:
            ValueError: If the rater has voted for the utterance before, or the file holds something else.
            OSError: If it cannot be written; then the file is what it was.
        """
        vote = replace(vote, time=datetime.now(UTC).isoformat(timespec="seconds"))
        with self._locked() as descriptor:
            if any((one.utterance, one.rater) == (vote.utterance, vote.rater) for one in self.votes()):
                raise ValueError(f"{vote.rater} has voted for this utterance before, and the first vote counts.")
            size = os.fstat(descriptor).st_size
            if size == 0:
                before = csv_of([COLUMNS])
            else:  # what was cut off stays a row of its own, which a build lists
                before = "" if os.pread(descriptor, 1, size - 1) == b"\n" else "\n"
            data = (before + csv_of([astuple(vote)])).encode()
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError(f"{self.path} cannot be written to its end; is the disk full?")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        return vote

    @contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # closing gives it back
            yield descriptor
        finally:
            os.close(descriptor)


def rater_name(text: str | None) -> str:
    """Return a rater's name as it is stored.

    Raises:
        ValueError: If it is no name.
    """
    name = " ".join((text or "").split())
    if not name:
        raise ValueError("say who votes: each vote is stored with the name of its rater.")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"the rater's name has {len(name)} letters; allowed: 1 to {LONGEST_NAME} that can be printed."
        )
    return name
