"""Words of the command line that are JSON: the fields of a configuration."""

from __future__ import annotations

import json
from typing import Any


def from_json(name: str, value: Any, cure: str) -> Any:
    """Return the value of an argument: text is read as JSON, anything else is returned as it is.

    Args:
        name: Name of the argument.
        value: What was given.
        cure: What the message says to give instead.

    Raises:
        ValueError: If it is text that is not JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:  # also of a number with too many digits
        raise ValueError(f"{name}={value!r} is not JSON ({error}); {cure}") from error
