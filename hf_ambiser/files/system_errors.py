"""Errors of the system in the words of a command: which file, what the system says, and the cure."""

from __future__ import annotations

import errno


# What to do where the system says no, and does not say what to do.
_CURES = {
    errno.EROFS: "Its disk is read-only: copy its folder to one that you may write to, and give that folder.",
    errno.EACCES: "Give yourself the right to (chmod u+rw), or copy its folder.",
    errno.ENOSPC: "Free space on the disk, and give the command again.",
    errno.EDQUOT: "Free space on the disk, and give the command again.",
}


def in_words(error: Exception) -> str:
    """Return the text of an error; one of the system gets a cure behind it, where there is one."""
    if not isinstance(error, OSError) or error.errno not in _CURES:
        return str(error)
    return f"{error.filename or 'a file'} cannot be opened or written ({error.strerror}). {_CURES[error.errno]}"
