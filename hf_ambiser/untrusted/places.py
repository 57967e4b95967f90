"""Texts that may be published say nothing of the machine they were written on: no folder, no address in memory.

An error of a library often names both. They differ from machine to machine and from process to process, so a list with
them would be private, and would be another one after an equal build.
"""

from __future__ import annotations

import re


# Longer texts are of a file that is not what it seems, such as a binary one; a reader of a list needs the beginning.
MOST_LETTERS = 500

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
# A path from the root of the disk, with two parts or more. An address on the web has a letter or a colon before it.
_PATH = re.compile(r"(?<![\w.:/~])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"<>|:;,]+[/\\])+(?=[^\s/\\'\"<>|:;,])")


def without_places(text: str) -> str:
    """Return a text with the last part of each absolute path only, and `0x...` for each address in memory."""
    return _ADDRESS.sub("0x...", _PATH.sub("", text))


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """Return a text, or its beginning and its length if it has more than `most` letters."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} letters in all)"
