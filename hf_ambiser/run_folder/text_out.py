"""Where a command writes its text: into the file of `--out`, or to the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.files.try_to_write import try_to_write
from hf_ambiser.run_folder.layout import write_whole


# What a table to read is called.
_TEXTS = ("", "txt", "log", "md")


def check_out(path: Path | None, option: str = "--out") -> None:
    """Check, before long work, that the file of an option can be written; None is the terminal.

    Raises:
        ValueError: If it is no file, or its folder is not there or cannot be written to.
    """
    if path is None:
        return
    if path.exists() and not path.is_file():
        raise ValueError(f"{option} {path} is a folder or a device; give the name of a file.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.absolute().parent}; make it first.")
    try:
        try_to_write(path.absolute().parent)
    except OSError as error:
        raise ValueError(f"{option} {path}: {error}") from None


def format_of(out: Path | None, asked: str | None, formats: Sequence[str]) -> str:
    """The format of what is written: the one that is asked for, or that of the file's ending, or `table`.

    Raises:
        ValueError: If the file ends as one of another format does, or no format is asked for and none has its ending.
    """
    ending = "" if out is None else out.suffix.lower().removeprefix(".")
    of_file = ending if ending in formats else None
    if asked is not None and of_file not in (None, asked):
        raise ValueError(f"--out {out} ends as {of_file} does, and --format is {asked}. Give one of them.")
    if asked is None and out is not None and of_file is None and ending not in _TEXTS:
        raise ValueError(
            f"--out {out} ends in .{ending}, and nothing is written as that; allowed are {', '.join(formats)}, and"
            " .txt for the table. Give one of these endings, or --format."
        )
    return str(asked or of_file or "table")


def write_out(path: Path | None, text: str) -> None:
    """Write a text into a file, whole or not at all, or to the terminal."""
    if path is not None:
        write_whole(path, text)
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks must not cost all rows.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write(text)
