"""Folders that an argument names, with variables of the environment in them."""

from __future__ import annotations

import os
import re


def expanded(name: str, place: str) -> str:
    """Return a folder or name with `~` and variables of the environment replaced by their values.

    Args:
        name: The argument, for the message.
        place: Its value.

    Raises:
        ValueError: If the environment does not have a variable.
    """
    found = os.path.expanduser(os.path.expandvars(place))
    missing = re.search(r"\$\{?(\w+)", found)
    if missing:
        raise ValueError(
            f"{name}={place!r} names {missing[1]}, a variable that the environment does not have. Set it"
            f" (export {missing[1]}=...), or write the folder out."
        )
    return found
