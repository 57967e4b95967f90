"""Names of the files that a run folder is known by, and how text gets into it."""

from __future__ import annotations

import os
from pathlib import Path


ARGUMENTS = "arguments.yaml"
RESULTS = "results.json"  # written last: a folder that has it is a finished run


def write_whole(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
