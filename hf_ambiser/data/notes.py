"""Remarks of a build as they are stored: bounded in length and number, and without folders of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from hf_ambiser.untrusted.places import shortened, without_places


# A file that is not what it seems gives a remark for each of its lines. Whoever reads a report reads none of them.
MOST_NOTES = 1000
MOST_LETTERS = 4000


def stored_notes(notes: Sequence[str]) -> list[str]:
    """Return the notes in one line each; of too many, the first ones and how many there are besides."""
    kept = [shortened(without_places(" ".join(note.splitlines())), MOST_LETTERS) for note in notes[:MOST_NOTES]]
    left = len(notes) - len(kept)
    return kept + ([f"{left} more remarks like these are left out"] if left else [])
