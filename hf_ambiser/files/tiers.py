"""What a file of annotations on a time line holds, whatever program wrote it: tiers of intervals with a text."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Interval:
    """A part of a recording with a text.

    Args:
        start: Its begin in seconds.
        end: Its end in seconds.
        text: What stands there.
        line: The line of the file where it is written.
    """

    start: float
    end: float
    text: str
    line: int


@dataclass
class Tier:
    """One line of annotations.

    Args:
        name: Its name in the file.
        intervals: Its intervals that have a text, in the order of the file.
        kind: The name of its type, where the program has types.
        rater: Who annotated, where the program says so.
        speaker: Who speaks, where the program says so.
        points: How many points in time it holds; they are no parts of a recording, and nothing reads them.
    """

    name: str
    intervals: list[Interval] = field(default_factory=list)
    kind: str = ""
    rater: str = ""
    speaker: str = ""
    points: int = 0


@dataclass
class TierFile:
    """One file of annotations.

    Args:
        tiers: Its tiers; names may repeat.
        recording: The name of the recording that it names, without its ending; "" if it names none.
        broken: (line, reason) of annotations that cannot be used.
    """

    tiers: list[Tier] = field(default_factory=list)
    recording: str = ""
    broken: list[tuple[int, str]] = field(default_factory=list)


class TierFault(ValueError):
    """A file of annotations cannot be read; this says the line (0: none in particular) and the fault."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}" if line else what)
        self.line, self.what = line, what
