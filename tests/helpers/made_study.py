"""Cells that train nothing: what a cell's process does is written to files, so that tests can count it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hf_ambiser.studies.cells import Cell


def made_cells(out: Path, names: list[str], **fields: object) -> list[Cell]:
    return [Cell(name, "fold", 0, out, f"{name}/fold/seed-0", {"seconds": 0.05, **fields}) for name in names]


def pretend(cell: Cell, threads: int) -> None:
    """Write down begin and end; `fields` say how long it takes, and how often it fails before it does not.

    A cell that begins while another process works on it says so in `overlap`.
    """
    folder = cell.folder
    working = folder / "working"
    try:
        working.touch(exist_ok=False)
    except FileExistsError:
        if "killed" not in cell.fields:  # after a SIGKILL the file is left behind
            (folder / "overlap").touch()
    with (folder / "begun").open("a") as file:
        file.write(f"{os.getpid()} {threads}\n")
    (folder / "parent").write_text(f"{os.getppid()}")
    time.sleep(cell.fields["seconds"])
    begun = len((folder / "begun").read_text().splitlines())
    if begun <= cell.fields.get("failures", 0):
        working.unlink()
        raise ValueError(f"failure\nnumber {begun}")
    if cell.fields.get("dies"):
        os.abort()
    (folder / "results.json").write_text("{}")
    with (folder / "ended").open("a") as file:
        file.write(f"{os.getpid()}\n")
    working.unlink()


def times(cell: Cell, what: str) -> int:
    path = cell.folder / what
    return len(path.read_text().splitlines()) if path.exists() else 0
