"""Whole checkpoints, and how to tell them from interrupted and spoilt ones.

The Trainer writes a checkpoint file by file, so a process that is killed during this leaves an incomplete folder that
looks like a checkpoint. Here a checkpoint counts only if it has a marker, written last, that lists its files with
their sizes and digests. Older checkpoints are deleted only after that. A run goes on only from a checkpoint whose
bytes are those that were saved.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ambiser.files.digest import file_digest
from hf_ambiser.files.read import read_json
from hf_ambiser.run_folder.layout import CHECKPOINT, write_whole
from hf_ambiser.untrusted.names import why_no_name


logger = logging.getLogger(__name__)
MARKER = "complete.json"
DIGEST = "sha256"  # its name in a marker
TRAINER_STATE = "trainer_state.json"
_UNREADABLE = (OSError, ValueError, RecursionError)
_NAME = re.compile(CHECKPOINT + r"(\d+)")


@dataclass(frozen=True)
class Choice:
    """The checkpoint that a run goes on from (None: it begins), and the spoilt ones: name -> what is wrong."""

    checkpoint: Path | None
    spoilt: dict[str, list[str]]


def mark_complete(checkpoint: Path) -> None:
    """Write the marker with every file's size and digest. The write is atomic: no reader sees half a marker."""
    files = {
        str(path.relative_to(checkpoint)): {"size": path.stat().st_size, DIGEST: file_digest(path)}
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name not in (MARKER, MARKER + ".part")
    }
    write_whole(checkpoint / MARKER, json.dumps(files, indent=1), sync=True)


def unmark(checkpoint: Path) -> None:
    """Delete the marker before a checkpoint is written over or deleted; cut short, it does not count."""
    (checkpoint / MARKER).unlink(missing_ok=True)


def is_complete(checkpoint: Path) -> bool:
    """Whether the marker exists and every file in it has the listed size. It does not read the files."""
    try:
        files = _listed(checkpoint)
    except _UNREADABLE:
        return False
    return not any(_has_other_size(checkpoint / name, facts) for name, facts in files.items())


def changed_files(checkpoint: Path) -> list[str]:
    """Return what is not as it was saved, each file with what is wrong; empty for a whole checkpoint.

    A marker of an earlier version has no digests; then only sizes are compared.
    """
    try:
        files = _listed(checkpoint)
    except _UNREADABLE as error:
        return [f"{MARKER} cannot be read ({error})"]
    changed = []
    for name, facts in files.items():
        path = checkpoint / name
        if not path.is_file():
            changed.append(f"{name} is missing")
        elif _has_other_size(path, facts):
            changed.append(f"{name} has {path.stat().st_size} bytes instead of {facts['size']}")
        elif DIGEST in facts:
            try:
                same = file_digest(path) == facts[DIGEST]
            except OSError as error:  # a bad sector, or no permission
                changed.append(f"{name} cannot be read ({error.strerror or error})")
            else:
                changed += [] if same else [f"{name} has other bytes than were saved"]
    return changed


def all_checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoint folders, complete or not, in the order of their steps."""
    if not folder.is_dir():
        return []
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := _NAME.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted(found)]


def best_of(checkpoint: Path) -> str | None:
    """Return the name of the best checkpoint that a checkpoint knows of, or None.

    Only the name, because the Trainer remembers a path, which is relative or absolute as `output_dir` once was.
    """
    state = read_json(checkpoint / TRAINER_STATE, f"Delete {checkpoint} to go on from the one before.")
    best = state.get("best_model_checkpoint")
    return None if best is None else Path(best).name


def choose(folder: Path, with_best: bool = False) -> Choice:
    """Choose the checkpoint that a run goes on from: the newest one that is whole.

    Args:
        folder: The run folder.
        with_best: Whether the run loads its best checkpoint at its end. Then the best one that a checkpoint knows of
            must be whole, too, if it still exists: a new best one may have replaced it.

    Raises:
        ValueError: If checkpoints were saved and none can be gone on from.
    """
    spoilt: dict[str, list[str]] = {}
    for checkpoint in reversed(all_checkpoints(folder)):
        if not (checkpoint / MARKER).is_file() or checkpoint.name in spoilt:
            continue
        bad = _changed(checkpoint)
        if with_best and not bad and (best := best_of(checkpoint)) and (folder / best).is_dir():
            bad = _changed(folder / best)
        if not bad:
            return Choice(checkpoint, spoilt)
        spoilt |= bad
    if spoilt:
        raise ValueError(
            f"{folder} has no checkpoint that is as it was saved: {in_words(spoilt)}. Put these files back from a"
            f" copy, or delete {folder}/{CHECKPOINT}* to begin the run again."
        )
    return Choice(None, {})


def _changed(checkpoint: Path) -> dict[str, list[str]]:
    changed = changed_files(checkpoint)
    return {checkpoint.name: changed} if changed else {}


def in_words(spoilt: dict[str, list[str]]) -> str:
    """Name spoilt checkpoints and what is wrong with them."""
    return "; ".join(f"{name}: {', '.join(changed)}" for name, changed in spoilt.items())


def last_complete(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, or None; see `choose`."""
    return choose(folder).checkpoint


def drop_incomplete(folder: Path) -> list[Path]:
    """Delete what an interrupted save left behind, which has no marker, and return the deleted folders."""
    broken = [path for path in all_checkpoints(folder) if not (path / MARKER).is_file()]
    for path in broken:
        logger.warning("removing %s: the checkpoint is incomplete, because the run was stopped while saving it.", path)
        shutil.rmtree(path)
    return broken


def drop_newer(checkpoint: Path) -> None:
    """Delete the checkpoints after one that a run goes on from, because the run makes them again.

    Otherwise rotation, which does not read files, would keep a spoilt one for the newest.
    """
    order = all_checkpoints(checkpoint.parent)
    for path in order[order.index(checkpoint) + 1 :]:
        _delete(path)


def drop_all(folder: Path) -> None:
    """Delete all checkpoints of a run that is finished: it has its model, and nothing goes on from them.

    What cannot be deleted, or is a link, stays, with a warning.
    """
    for path in all_checkpoints(folder):
        try:
            if path.is_symlink():
                raise OSError("it is a link")
            _delete(path)
        except FileNotFoundError:
            pass  # another runner of the same study was faster
        except OSError as error:
            logger.warning("%s stays: %s.", path, error.strerror or error)


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
        _delete(path)


def _delete(checkpoint: Path) -> None:
    """Delete a checkpoint, its marker first: what a kill leaves of it is then seen to be incomplete."""
    unmark(checkpoint)
    shutil.rmtree(checkpoint)


def _listed(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """Read the marker: file -> `size` in bytes and, if the marker has it, its digest."""
    files = json.loads((checkpoint / MARKER).read_text())
    if not isinstance(files, dict):
        raise ValueError(f"it holds a {type(files).__name__}, not a list of files by name")
    if not files:
        raise ValueError("it names no file")
    for name in files:
        if reason := why_no_name(name, below=True):
            raise ValueError(f"the file {name!r} {reason}")
    listed = {name: {"size": facts} if isinstance(facts, int) else facts for name, facts in files.items()}
    wrong = [name for name, facts in listed.items() if not (isinstance(facts, dict) and "size" in facts)]
    if wrong:
        raise ValueError(f"it says no size of {', '.join(wrong)}")
    return listed


def _has_other_size(path: Path, facts: dict[str, Any]) -> bool:
    return not path.is_file() or path.stat().st_size != facts["size"]
