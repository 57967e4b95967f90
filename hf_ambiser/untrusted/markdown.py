"""Texts from files in Markdown: HTML, links and cells of a table are shown as they are and have no effect.

An ordinary text comes out as it went in.
"""

from __future__ import annotations

import re
from copy import copy
from typing import Any
from urllib.parse import quote


# What begins HTML; an entity; the end of a link's words; any bracket; `code`.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_LINK = re.compile(r"\](?=\s*[(\[:])")
_BRACKET = re.compile(r"[\[\]]")
_CODE = re.compile(r"(?<!`)`[^`]+`(?!`)")


def as_text(text: str, brackets: bool = False) -> str:
    """Escape a text from a file for a sentence or a cell of a Markdown table; line breaks become spaces.

    Args:
        text: The text.
        brackets: Whether it stands in the words of a link or picture, where every bracket counts.
    """
    if re.search(r"[\n\r\t\v\f\0]", text):
        text = " ".join(text.replace("\0", "\ufffd").split())
    return _escaped(text, _BRACKET if brackets else _LINK).replace("|", "\\|")


def as_texts(value: Any) -> Any:
    """Escape every text in a nested value, the keys of dictionaries included; each of these stays of its kind."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        shown = copy(value)  # a record of a file names it where something is missing
        shown.clear()
        shown.update((as_texts(key), as_texts(inner)) for key, inner in value.items())
        return shown
    if isinstance(value, list | tuple):
        return type(value)(map(as_texts, value))
    return value


def as_sentence(text: str) -> str:
    """Escape a sentence of ours that holds names from files; our marks `code` and **bold** keep their effect."""
    text = " ".join(text.split())
    if "`" in _CODE.sub("", text) or "\\" in text:
        return _escaped(text).replace("`", "\\`")  # a name has a backtick, so no one can say where code ends
    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [_escaped(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _escaped(text[end:])])


def as_code(text: str) -> str:
    """Write a text as code in a cell of a table; the fence is longer than any row of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{' '.join(text.splitlines())}{pad}{fence}".replace("|", "\\|")


def as_address(name: str) -> str:
    """Write the name of a file as the address of a link or picture."""
    return quote(name, safe="/")


def _escaped(text: str, bracket: re.Pattern[str] = _LINK) -> str:
    text = re.sub(r"\\(?=[\\`\]\[<&!|])", r"\\\\", text)
    text = _ENTITY.sub("&amp;", text)
    text = bracket.sub(r"\\\g<0>", text)
    return _TAG.sub("&lt;", text)
