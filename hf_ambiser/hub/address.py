"""The address of a data set on the Hub as commands take it: `hf://datasets/ACCOUNT/NAME[@REVISION][/FOLDER]`."""

from __future__ import annotations

import re
from dataclasses import dataclass


HUB = "hf://datasets/"
_FORM = re.compile(
    r"hf://datasets/(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/\w+|[\w-][\w.-]*))?(?:/(?P<below>.+?))?/?",
    re.ASCII,
)


@dataclass(frozen=True)
class DatasetAddress:
    """The parts of an address.

    Args:
        repo: `<account>/<name>`.
        revision: Branch, tag or commit; None: the main branch.
        below: Folder in the repository; None: all of it. It has not been checked.
    """

    repo: str
    revision: str | None
    below: str | None

    @classmethod
    def of(cls, text: str) -> DatasetAddress:
        """Take an address apart.

        Raises:
            ValueError: If the text is none.
        """
        if not (match := _FORM.fullmatch(text)):
            raise ValueError(f"{text!r} is no address of a data set: {HUB}ACCOUNT/NAME[@REVISION][/FOLDER]")
        return cls(match["repo"], match["revision"], match["below"])
