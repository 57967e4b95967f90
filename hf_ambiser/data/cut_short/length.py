"""What an audio file says of its own length."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """What the container of an audio file says about whether all of it is there.

    Args:
        missing: What is missing, in words that need no name before them; "" if nothing is known to be.
        known: Whether a file of this kind, cut short anywhere, would be found out; False where it does not say how
            long it is.
        least: Samples of a channel that a decoder must give; None: as many as libsndfile says.
        flac_at: Where a FLAC stream begins; -1 for everything else.
    """

    missing: str = ""
    known: bool = True
    least: int | None = None
    flac_at: int = -1


UNKNOWN = Length(known=False)
