"""What a row of the side-by-side benchmark is told, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_ambiser.benchmark.against.speech import Speech, Spoken
from hf_ambiser.benchmark.against.turns import Spent
from hf_ambiser.data.schema import SAMPLING_RATE


FASTER, NO_SLOWER = "x faster", "x the time"  # what a ratio means: other / ours, or ours / other


@dataclass(frozen=True)
class Settings:
    """How long and how much a row measures.

    Args:
        speech: Where utterances come from.
        seconds: After so many seconds no round of a row begins.
        least: Rounds of a row that there are however long they take.
        lengths: Shortest and longest utterance of mixed lengths, in seconds.
        folder: Empty folder for the row's files; it is there as long as the row's ways are called.
        few: Number of utterances for a quick look; None: as many as the row needs.
    """

    speech: Speech
    seconds: float
    least: int
    lengths: tuple[float, float]
    folder: Path = Path()
    few: int | None = None

    def similar(self, n: int) -> list[Spoken]:
        """Return utterances of the corpus as they are; for a quick look, their beginnings."""
        whole = self.speech.similar(n)
        if self.few is None:
            return whole
        return [Spoken(one.samples[: round(0.5 * SAMPLING_RATE)], one.label) for one in whole]


@dataclass(frozen=True)
class Measured:
    """What a row has measured.

    Args:
        encoder: Of the models.
        other: What ours was compared with; "" if with nothing.
        utterances: Of one round.
        rounds: Way -> what each round took; ours first.
        ways: Way -> does the work once more, for a profile.
        note: What else there is to say.
        figures: More figures, for the JSON.
    """

    encoder: str
    other: str
    utterances: int
    rounds: Mapping[str, list[Spent]]
    ways: Mapping[str, Callable[[], Spent]]
    note: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def reached(row: Mapping[str, Any]) -> bool:
    """Whether a row's ratio has reached its goal."""
    ratio, goal = row["ratio"]["value"], row["goal"]
    return bool(ratio >= goal if row["meaning"] == FASTER else ratio <= goal)
