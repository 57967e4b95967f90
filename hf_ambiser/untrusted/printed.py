"""Texts on a terminal, in a figure or on a page: what cannot be printed there could move the cursor or hide a text."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Return a text in which each letter that cannot be printed is U+FFFD: it changes nothing but its own place.

    Args:
        text: A text that may come from anybody.
        keep: Letters that stay, such as a line break.
    """
    return "".join(letter if letter.isprintable() or letter in keep else "\ufffd" for letter in text)


def in_one_line(error: BaseException, longest: int = 200) -> str:
    """Return what a library says, in one line of at most that many characters; an error without a text by its kind."""
    text = " ".join(str(error).split())
    if len(text) > longest:
        text = text[: longest - 4].rsplit(" ", 1)[0] + " ..."  # no half word, and no half address
    return text or type(error).__name__
