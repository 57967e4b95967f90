"""The folder that a data set is built in: checked before the work begins, and filled so that a kill loses nothing.

All files are first written into another folder on the same disk. A normal folder is then replaced by two renames: the
old one to `.NAME.old`, the new one to its name. A mount point (`/out` of a container) and a folder whose parent cannot
be written to cannot be renamed, and the working folder (`--out .`) must stay the one that the user's shell is in.
There the new files are collected inside, in `.building`, which is renamed to `.ready` when it is whole; then its
content is moved up, the build report last. `recover` finishes or undoes what a kill left.
A link is followed: the folder that it names is replaced, and the link stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path

from hf_ambiser.files.read import exists, read_json
from hf_ambiser.files.try_to_write import try_to_write
from hf_ambiser.untrusted.names import path_of_name


REPORT = "build_report.json"
BUILDING, READY, NAMES = ".building", ".ready", ".names.json"
# What a file system itself puts into the top folder of a disk.
_OF_THE_DISK = {"lost+found"}


class Place:
    """The folder that a data set is built in.

    Args:
        out: As the user gave it; may be a link.

    Raises:
        OSError: In one line with the cure, if it leads nowhere or nothing can be written there.
    """

    def __init__(self, out: Path) -> None:
        try:
            self.out = out.resolve(strict=False)
        except (OSError, RuntimeError) as error:  # a link that leads back to itself
            raise OSError(f"{out} is a link that leads nowhere ({error}). Choose another --out.") from None
        if exists(self.out) and not self.out.is_dir():
            raise FileExistsError(f"{out} is a file, and a data set is a folder. Choose another --out.")
        self.old = old_of(self.out)
        self.ready = self.out / READY
        fixed = is_mount(self.out) or self.out == Path.cwd()
        self.inside = self.out.is_dir() and (fixed or not _can_write(self._parent()))
        self.partial = self.out / BUILDING if self.inside else self.out.with_name(f".{self.out.name}.partial")

    def check(self, overwrite: bool) -> None:
        """Finish what a kill left, and check that a data set may be and can be written here.

        Raises:
            FileExistsError: If the folder holds something else, or an earlier build and `overwrite` is False.
            OSError: If nothing can be written here, or the disk is full.
        """
        recover(self.out)
        if exists(self.out):
            there = {path.name for path in self.out.iterdir()} - _OF_THE_DISK - {BUILDING, READY}
            if there and not (self.out / REPORT).is_file():
                raise FileExistsError(f"{self.out} exists and is not a built data set; choose another --out.")
            if there and not overwrite:
                raise FileExistsError(
                    f"{self.out} holds a built data set already; choose another --out, or replace it with --overwrite."
                )
        try_to_write(self.scratch)

    def begin(self) -> Path:
        """Return an empty folder to write the data set into, which no other process takes before `finish`.

        Raises:
            FileExistsError: If another build writes there.
        """
        if self.partial.is_dir():
            os.close(self._hold())
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        self._let_go = weakref.finalize(self, os.close, self._hold())  # also when the build fails
        return self.partial

    def _hold(self) -> int:
        """Lock the partial folder as long as the returned descriptor is open; a process that dies lets go of it."""
        descriptor = os.open(self.partial, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FileExistsError(
                f"another build writes into {self.out}. Wait until it has ended, or choose another --out."
            ) from None
        except OSError:  # a file system without locks
            pass
        return descriptor

    def finish(self) -> None:
        """Put what was written in its place. What was there before is deleted."""
        self._put()
        self._let_go()

    def _put(self) -> None:
        if self.inside:
            names = sorted(path.name for path in self.partial.iterdir())
            (self.partial / NAMES).write_text(json.dumps({"names": names}), encoding="utf-8")
            self.partial.rename(self.ready)
            _move_up(self.out)
            return
        recover(self.out)
        if self.out.is_dir() and any(self.out.iterdir()):
            self.out.rename(self.old)
        elif self.out.is_dir():
            self.out.rmdir()
        self.partial.rename(self.out)
        shutil.rmtree(self.old, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """A folder that exists, on the disk of the data set, in which something may be written for a while."""
        return self.out if self.inside else self._parent()

    def _parent(self) -> Path:
        """The nearest folder above that exists."""
        return next(folder for folder in self.out.parents if folder.is_dir())


def old_of(out: Path) -> Path:
    """Return where a data set stands while another one takes its place."""
    return out.with_name(f".{out.name}.old")


def recover(out: Path) -> None:
    """Finish or undo the replacement of a data set that was killed in the middle; nothing is done if none was.

    Args:
        out: The folder, without links.
    """
    old = old_of(out)
    if (old / REPORT).is_file() and not exists(out):
        old.rename(out)  # killed between the two renames: the old data set, with its card, is whole
    elif exists(out) and (out / REPORT).is_file():
        shutil.rmtree(old, ignore_errors=True)
    if (out / READY).is_dir():
        _move_up(out)


def _move_up(out: Path) -> None:
    """Replace what a folder holds by what its `.ready` holds; killed at any step, the same call finishes it."""
    ready = out / READY
    if not exists(ready / NAMES):  # all was moved, and `.ready` half deleted
        shutil.rmtree(ready, ignore_errors=True)
        return
    listed = read_json(ready / NAMES, f"Delete {ready}, and build again.")
    listed.check({"names": list})
    names = listed["names"]
    for name in names:
        path_of_name(ready, name, "file", ready / NAMES)
    keep = {READY, BUILDING, *_OF_THE_DISK}
    if exists(ready / REPORT):
        # Without its report the folder is no data set, so that nobody reads a mixture of the old and the new one.
        _delete(out / REPORT)
    for path in sorted(out.iterdir()):
        if path.name not in keep and (path.name not in names or exists(ready / path.name)):
            _delete(path)
    for name in sorted(names, key=lambda name: (name == REPORT, name)):
        if exists(ready / name):
            (ready / name).rename(out / name)
    (ready / NAMES).unlink()
    shutil.rmtree(ready, ignore_errors=True)


def is_mount(folder: Path) -> bool:
    """Whether a folder is a mount point, also one of a part of the same disk, as containers have."""
    if os.path.ismount(folder):
        return True
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    points = {re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[4]) for line in lines}
    return str(folder) in points


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".hf_ambiser-"):
            return True
    except OSError:
        return False
