"""Whether the runs that a cell began with are still those that it began with.

A system may begin with what another one of the study has learnt (`pretrained`, `labels_from`). If that one is run
again, with other arguments or other code, the cell's results are of something that does not exist any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.files.read import exists, read_json
from hf_ambiser.run_folder.layout import RunFolder, write_whole
from hf_ambiser.studies.cells import CELLS, RUNNER, Cell


_CURE = "Delete the file; then nothing is known of what the cell began with."


def remember(cell: Cell) -> None:
    """Write down which runs a cell begins with, before it begins."""
    if cell.after and not RunFolder(cell.folder).is_begun:
        _file(cell).parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(cell), json.dumps({key: _stamp(cell, key) for _, key in cell.after}, indent=1))


def replaced(cell: Cell) -> str:
    """Return why a cell that has begun does not stand any more, or ""."""
    if not (cell.after and RunFolder(cell.folder).is_begun):
        return ""
    known = read_json(_file(cell), _CURE) if exists(_file(cell)) else {}
    for name, key in cell.after:
        now = _stamp(cell, key)
        if now is None or known.get(key, now) != now:
            what = "is not finished" if now is None else "was run again since"
            return (
                f"{cell.folder} began with the run of {name}, {cell.out / CELLS / key}, which {what}. Delete"
                f" {cell.folder} to run it from there."
            )
    return ""


def cut_off(cells: Sequence[Cell], foreign: dict[str, str]) -> dict[str, str]:
    """Return the cells that would begin with one of `foreign`, or with one of these, and why they cannot."""
    found: dict[str, str] = {}
    while True:
        more = {
            cell.key: f"it begins with the run of {name}, {key}, which cannot be used (see there)"
            for cell in cells
            for name, key in cell.after
            if not cell.finished and cell.key not in {*foreign, *found} and key in {*foreign, *found}
        }
        if not more:
            return found
        found |= more


def _file(cell: Cell) -> Path:
    return cell.out / RUNNER / f"{cell.key}.began_with.json"


def _stamp(cell: Cell, key: str) -> str | None:
    """What tells one training of a cell from another: its curve and its seconds; None if it is not finished."""
    run = RunFolder(cell.out / CELLS / key)
    if not run.is_finished:
        return None
    results = run.read_results()
    training = json.dumps([results.get("log"), results.get("training")], sort_keys=True)
    return hashlib.sha256(training.encode()).hexdigest()
