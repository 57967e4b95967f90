"""A name that is read from a file is never a path: it becomes one here, inside one folder, or an error."""

from __future__ import annotations

from pathlib import Path


LONGEST = 255  # bytes that file systems allow in a name


class NotAName(ValueError):
    """A name from a file would lead out of its folder; the message names the file, the name and the cure."""


def path_of_name(
    folder: Path,
    name: object,
    what: str,
    source: Path | str,
    *,
    suffix: str = "",
    below: bool = False,
    follow: bool = False,
) -> Path:
    """Return the path of a file inside a folder, of which only the name is known.

    Args:
        folder: The folder; it may itself be a link.
        name: The name, as it was read.
        what: What the name is of, for the message: `split`, `config` ...
        source: The file that the name was read from, for the message.
        suffix: The ending of the file, which the name does not have.
        below: Whether the name may have folders before it (`figures/a.png`).
        follow: Whether a link may lead out of the folder. A reader may allow it, because the cache of the Hub holds
            links; whoever writes or deletes must not.

    Raises:
        NotAName: If the name is not one inside the folder.
    """
    reason = why_no_name(name, below)
    if not reason:
        path = folder / f"{name}{suffix}"
        try:
            if follow or path.resolve().is_relative_to(folder.resolve()):
                return path
            reason = "is a link that leads out of it"
        except (OSError, RuntimeError) as error:  # a link to itself
            reason = f"cannot be followed ({type(error).__name__})"
    allowed = "names of files and folders below it" if below else "names without '/'"
    raise NotAName(
        f"{source}: the {what} {_shown(name)} {reason}. Allowed are {allowed}, inside {folder}. hf_ambiser did not"
        " write this: correct the file, or make it again."
    )


def why_no_name(name: object, below: bool = False) -> str:
    """Return why a value is not the name of a file inside a folder; "" if it is one."""
    if not isinstance(name, str):
        return f"is of type {type(name).__name__} and not a text"
    if not name.strip():
        return "is empty"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "holds a control character"
    parts = name.split("/") if below else [name]
    if "\\" in name or (not below and "/" in name) or "" in parts or (name[1:2] == ":" and name[0].isalpha()):
        return "is a path"
    if any(part in (".", "..") for part in parts):
        return "leads out of its folder"
    try:
        if any(len(part.encode()) > LONGEST for part in parts):
            return f"is longer than {LONGEST} bytes"
    except UnicodeEncodeError:
        return "holds half a character"
    return ""


def _shown(name: object) -> str:
    """Write a value in one line, and not more of it than a reader needs."""
    text = repr(name)
    return text if len(text) <= 100 else f"{text[:100]}..."
