"""The environment of a result: versions, commit, machine."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


_PACKAGES = ("torch", "torchaudio", "transformers", "datasets", "accelerate", "peft", "safetensors", "numpy")


def describe_environment() -> dict[str, Any]:
    """Return versions, the package's git commit and whether it was changed, processor, threads and accelerator."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    # An installed package may lie inside somebody else's repository, whose commit says nothing about it.
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    return {
        "python": platform.python_version(),
        "versions": versions,
        "commit": _git("rev-parse", "HEAD") if ours else None,
        "dirty": ours and bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _git(*arguments: str) -> str | None:
    """Return the output of a git command in the package's own folder; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
