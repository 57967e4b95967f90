"""Checkpoints that are whole or do not count.

The Trainer writes a checkpoint file by file, so a process killed meanwhile leaves a folder that looks like one. A
checkpoint counts here once a marker, written last, lists its files; older ones are deleted only after that.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

from hf_ambiser.run_folder.layout import CHECKPOINT, write_whole


logger = logging.getLogger(__name__)
MARKER = "complete.json"
_NAME = re.compile(CHECKPOINT + r"(\d+)")


def mark_complete(checkpoint: Path) -> None:
    """Write the marker with every file's size; atomic, so a marker is never half there."""
    files = {
        str(path.relative_to(checkpoint)): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name not in (MARKER, MARKER + ".part")
    }
    write_whole(checkpoint / MARKER, json.dumps(files, indent=1), sync=True)


def is_complete(checkpoint: Path) -> bool:
    """Whether the marker is there and every file it lists has the size it had."""
    marker = checkpoint / MARKER
    if not marker.is_file():
        return False
    try:
        files = json.loads(marker.read_text())
    except ValueError:
        return False
    return all((checkpoint / f).is_file() and (checkpoint / f).stat().st_size == n for f, n in files.items())


def all_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders by step, whole or not."""
    if not folder.is_dir():
        return []
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := _NAME.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted(found)]


def last_complete(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    whole = [path for path in all_checkpoints(folder) if is_complete(path)]
    return whole[-1] if whole else None


def drop_incomplete(folder: Path) -> list[Path]:
    """Delete what an interrupted save left behind; the deleted folders."""
    broken = [path for path in all_checkpoints(folder) if not is_complete(path)]
    for path in broken:
        logger.warning("removing %s: it was not written to the end (the run was stopped while saving it).", path)
        shutil.rmtree(path)
    return broken


def rotate(folder: Path, limit: int | None, keep: str | None = None) -> None:
    """Delete the oldest whole checkpoints beyond `limit`, never the newest nor `keep` (the best one)."""
    if not limit or limit < 1:
        return
    whole = [path for path in all_checkpoints(folder) if is_complete(path)]
    spared = {whole[-1]} if whole else set()
    if keep is not None:
        # By name: the Trainer remembers the best one as `output_dir` was once given, relative or not.
        spared |= {path for path in whole if path.name == Path(keep).name}
    excess = len(whole) - max(limit, len(spared))
    for path in [p for p in whole if p not in spared][: max(excess, 0)]:
        # The marker goes first: a deletion cut short leaves a folder that does not count.
        (path / MARKER).unlink()
        shutil.rmtree(path)
