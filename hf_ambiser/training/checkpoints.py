"""Complete checkpoints, and how to tell them from interrupted ones.

The Trainer writes a checkpoint file by file, so a process that is killed during this leaves an incomplete folder that
looks like a checkpoint. Here a checkpoint counts only if it has a marker, written last, that lists its files. Older
checkpoints are deleted only after that.
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
    """Write the marker with every file's size. The write is atomic: no reader sees half a marker."""
    files = {
        str(path.relative_to(checkpoint)): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name not in (MARKER, MARKER + ".part")
    }
    write_whole(checkpoint / MARKER, json.dumps(files, indent=1), sync=True)


def is_complete(checkpoint: Path) -> bool:
    """Whether the marker exists and every file in it has the listed size."""
    marker = checkpoint / MARKER
    if not marker.is_file():
        return False
    try:
        files = json.loads(marker.read_text())
    except ValueError:
        return False
    return all((checkpoint / f).is_file() and (checkpoint / f).stat().st_size == n for f, n in files.items())


def all_checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoint folders, complete or not, in the order of their steps."""
    if not folder.is_dir():
        return []
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := _NAME.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted(found)]


def last_complete(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, or None."""
    whole = [path for path in all_checkpoints(folder) if is_complete(path)]
    return whole[-1] if whole else None


def drop_incomplete(folder: Path) -> list[Path]:
    """Delete what an interrupted save left behind, and return the deleted folders."""
    broken = [path for path in all_checkpoints(folder) if not is_complete(path)]
    for path in broken:
        logger.warning("removing %s: the checkpoint is incomplete, because the run was stopped while saving it.", path)
        shutil.rmtree(path)
    return broken


def rotate(folder: Path, limit: int | None, keep: str | None = None) -> None:
    """Delete the oldest complete checkpoints beyond `limit`, but never the newest or `keep` (the best one)."""
    if not limit or limit < 1:
        return
    whole = [path for path in all_checkpoints(folder) if is_complete(path)]
    spared = {whole[-1]} if whole else set()
    if keep is not None:
        # Compare names only: the Trainer remembers a path, which is relative or absolute as `output_dir` once was.
        spared |= {path for path in whole if path.name == Path(keep).name}
    excess = len(whole) - max(limit, len(spared))
    for path in [p for p in whole if p not in spared][: max(excess, 0)]:
        # Delete the marker first, so that an interrupted deletion leaves a folder that does not count.
        (path / MARKER).unlink()
        shutil.rmtree(path)
