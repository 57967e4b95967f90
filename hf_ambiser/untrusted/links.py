"""Cards and pushes follow no link: what a link leads to may be any file of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class LinkError(ValueError):
    """A file or folder is a link; the message names it, what it leads to and the cure."""


def refuse_links(root: Path, paths: Iterable[Path]) -> None:
    """Check that no file, and no folder on the way to it from `root`, is a link; `root` itself may be one.

    Raises:
        LinkError: For the first link.
        ValueError: If a path is not below `root`.
    """
    for path in paths:
        place = root
        for part in path.relative_to(root).parts:
            place = place / part
            if place.is_symlink():
                kind = "folder" if place.is_dir() else "file"
                raise LinkError(
                    f"{place} is a link to the {kind} {place.readlink()}, and only what lies in {root} itself is"
                    f" published or written again. Replace the link by a copy of the {kind}, or remove it."
                )
