"""Names on a terminal, in a figure or on a page: what cannot be printed there could move the cursor or hide a text."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Return a text in which each letter that cannot be printed is U+FFFD: it changes nothing but its own place.

    Args:
        text: A text that may come from anybody.
        keep: Letters that stay, such as a line break.
    """
    return "".join(letter if letter.isprintable() or letter in keep else "\ufffd" for letter in text)
