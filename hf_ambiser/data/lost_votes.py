"""The votes of a release that are in no utterance of a data set, by the reason why.

Parsers count here whatever they cannot keep, so that votes in = votes counted + votes excluded holds for everything
that the label files say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


# Reasons beside those for which something is listed (the keys of `schema.REASONS`).
UNKNOWN_LABEL = "unknown label"
SECOND_ANSWER = "second answer of a rater"
NO_UTTERANCE = "before the first utterance of a file"
NO_BLOCK = "below no line that names an utterance"
NO_RATER = "without a rater's name"
PARTITION = "not looked at (partition)"
LIMIT = "not looked at (limit)"
_NOT_LISTED = (UNKNOWN_LABEL, SECOND_ANSWER, NO_UTTERANCE, NO_BLOCK, NO_RATER, PARTITION, LIMIT)


@dataclass
class LostVotes:
    """Votes by reason, in both units in which a label policy may count.

    Args:
        labels: Reason -> labels.
        ratings: Reason -> ratings that are lost as a whole. Under `multi_label="fractional"` a rating is one vote,
            whatever labels it has, so an unknown label beside known ones loses no vote.
    """

    labels: Counter[str] = field(default_factory=Counter)
    ratings: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, labels: int, ratings: int | None = None) -> None:
        """Count labels, and the ratings that they were (by default one for each label)."""
        if labels:
            self.labels[reason] += labels
            self.ratings[reason] += labels if ratings is None else ratings

    def add_ratings(self, reason: str, ratings: Iterable[tuple[str, ...]]) -> None:
        """Count whole ratings, each given by its labels."""
        for labels in ratings:
            self.add(reason, len(labels), 1)

    def update(self, other: LostVotes) -> None:
        """Count the votes of another one, too."""
        self.labels.update(other.labels)
        self.ratings.update(other.ratings)

    def by_reason(self, multi_label: str) -> dict[str, float]:
        """Return reason -> weight of the votes under a policy's way to count several labels by one rater."""
        counts = self.ratings if multi_label == "fractional" else self.labels
        return {
            reason if reason in _NOT_LISTED else f"listed, {reason}": float(n)
            for reason, n in sorted(counts.items())
            if n
        }
