"""Which of several audio files of one utterance is the recording, and not a copy that somebody derived from it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hf_ambiser.files.digest import file_digest


def recordings_by_name(
    files: Iterable[Path], root: Path, own: Sequence[str], suffixes: Sequence[str], notes: list[str]
) -> tuple[dict[str, Path], dict[str, str]]:
    """Find utterance -> audio file by the names of files, and utterance -> why nobody can tell which of several it is.

    An utterance of the second kind stands in the first one, too, with one of its files. A note counts the files that
    are not used.

    Args:
        files: Audio files whose name without its ending is that of an utterance.
        root: As for `the_recording`.
        own: As for `the_recording`.
        suffixes: As for `the_recording`.
        notes: Where the note is added.
    """
    by_name: dict[str, list[Path]] = {}
    for path in files:
        by_name.setdefault(path.stem, []).append(path)
    found, unclear = {}, {}
    for name, paths in by_name.items():
        chosen = the_recording(paths, root, own, suffixes)
        found[name] = chosen or paths[0]
        if chosen is None:
            some = ", ".join(path.relative_to(root).as_posix() for path in paths[:3])
            known = " or ".join(own) if len(own) < 4 else f"{own[0]} to {own[-1]}"
            nowhere = f", none of them in {known}" if own else ""
            unclear[name] = f"{len(paths)} files that differ{nowhere}: {some}"
    if extra := sum(map(len, by_name.values())) - len(by_name):
        # This note is stored in build_report.json, so its words stay as they are.
        notes.append(
            f"{extra} audio files are second copies of a clip; preferred in this order: {', '.join(suffixes)}"
        )
    return found, unclear


def the_recording(files: Sequence[Path], root: Path, own: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    """Return the file to use, or None if nobody can tell.

    A folder of the release's own comes before any other, in whatever order the disk gives them: copies at another
    speed, with noise, or cut, mostly lie beside it, under the same names. Within one folder the first of `suffixes`
    counts. Files in several other folders must be the same, byte by byte.

    Args:
        files: The files that have the utterance's name, in any order; at least one.
        root: The release's top folder.
        own: Folders of audio below it that the release has, the preferred one first; none if their names are not
            known.
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
