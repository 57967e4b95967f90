"""A finished run without training: a recorded one of `model_cards/`, with weights that are not its model's."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import hf_ambiser.models


RECORDED = Path(__file__).parents[2] / "model_cards"
CODE = Path(hf_ambiser.models.__file__).parent


def recorded_run(folder: Path, family: str = "prototype", code: tuple[str, ...] = ("encoders.py",)) -> Path:
    """Copy a recorded run to `folder/run`, beside a victim of two files in `folder`."""
    run = folder / "run"
    shutil.copytree(RECORDED / family / "run", run)
    safetensors.numpy.save_file({"w": np.zeros(3, np.float32)}, run / "model" / "model.safetensors")
    for name in code:
        shutil.copyfile(CODE / name, run / "model" / name)
    for name in ("victim", "victim.png", "victim.parquet"):
        (folder / name).write_bytes(b"somebody's own")
    return run


def change(path: Path, how: Callable[[Any], Any]) -> None:
    """Change a JSON file."""
    path.write_text(json.dumps(how(json.loads(path.read_text()))))


def digest(folder: Path) -> str:
    """A digest of a whole tree: names, kinds, contents, permissions and times."""
    total = hashlib.sha256()
    for path in sorted([folder, *folder.rglob("*")]):
        about = path.lstat()
        total.update(f"{path.relative_to(folder)} {about.st_mode} {about.st_mtime_ns} {about.st_size}\n".encode())
        if path.is_file() and not path.is_symlink():
            total.update(path.read_bytes())
    return total.hexdigest()
