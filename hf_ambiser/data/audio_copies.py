"""Which of several audio files of one utterance is the recording, and not a copy that somebody derived from it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.files.digest import file_digest


def the_recording(files: Sequence[Path], root: Path, own: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    """Return the file to use, or None if nobody can tell.

    A folder of the release's own comes before any other, in whatever order the disk gives them: copies at another
    speed, with noise, or cut, mostly lie beside it, under the same names. Within one folder the first of `suffixes`
    counts. Files in several other folders must be the same, byte by byte.

    Args:
        files: The files that have the utterance's name, in any order; at least one.
        root: The release's top folder.
        own: Folders of audio below it that the release has, the preferred one first.
        suffixes: Endings, with their dot, the preferred one first.
    """

    def rank(path: Path) -> tuple[int, str]:
        return suffixes.index(path.suffix.lower()), path.as_posix()

    for name in own:
        if there := [path for path in files if path.parent == root / name]:
            return min(there, key=rank)
    if len({path.parent for path in files}) == 1:
        return min(files, key=rank)
    sizes = {os.path.getsize(path) for path in files}
    same = len(sizes) == 1 and len({file_digest(path) for path in files}) == 1
    return min(files, key=rank) if same else None
