"""A made release: files in a folder, and what a reader must make of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import soundfile


@dataclass
class Release:
    """What a made tree holds.

    Args:
        root: What a user passes as `--root`.
        utterances: Id -> (speaker, session, ratings); a rating is (rater or None, label, further labels ...).
        listed: (id, reason) of all that is not kept.
        lost: Reason -> labels of the label files that are in no utterance.
        notes: Words of which each must stand in some note.
        tables: Files without which the release is not found, from the root.
        header: A table of which no reader can do without the columns; "": there is none.
    """

    root: Path
    utterances: dict[str, tuple[str, str, list[tuple]]] = field(default_factory=dict)
    listed: set[tuple[str, str]] = field(default_factory=set)
    lost: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    header: str = ""

    def add(self, name: str, speaker: str, session: str, ratings: list[tuple]) -> None:
        self.utterances[name] = (speaker, session, ratings)

    def told(self) -> int:
        """How many labels the label files tell."""
        kept = sum(len(rating) - 1 for _, _, ratings in self.utterances.values() for rating in ratings)
        return kept + sum(self.lost.values())


@cache
def sound(seed: int) -> bytes:
    """A WAV file of 0.15 s, another one for each seed, so that no two utterances are copies."""
    buffer = io.BytesIO()
    noise = 0.1 * np.random.default_rng(seed).standard_normal(2400)
    soundfile.write(buffer, noise.clip(-0.9, 0.9).astype(np.float32), 16000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def voices(folder: Path, names: Iterable[str], first: int = 0) -> None:
    """A recording of its own for each name."""
    for seed, name in enumerate(names, start=first):
        write(folder / f"{name}.wav", sound(seed))
