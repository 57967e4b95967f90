"""Stubs of Git LFS: short texts that stand in a repository for its large files until these are fetched.

A ZIP archive of a repository, or a clone on a machine without Git LFS, holds them under the names of the files.
"""

from __future__ import annotations

from pathlib import Path


_FIRST_LINE = b"version https://git-lfs.github.com/spec/"
WHAT = "is a stub of Git LFS, which stands for the file until it is fetched"
CURE = (
    "Run `git lfs install` and `git lfs pull` in a clone of its repository; a ZIP archive of the repository holds only"
    " stubs."
)


def is_stub(data: bytes) -> bool:
    """Whether the content of a file, or its beginning, is a stub."""
    return data.startswith(_FIRST_LINE)


def is_stub_file(path: Path) -> bool:
    """Whether a file is a stub; False for one that cannot be read."""
    try:
        if not path.is_file():  # a named pipe would wait for a writer
            return False
        with path.open("rb") as file:
            return is_stub(file.read(len(_FIRST_LINE)))
    except OSError:
        return False
