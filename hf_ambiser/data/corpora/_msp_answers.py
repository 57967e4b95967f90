"""The answers of raters as the MSP laboratory's label files hold them, in MSP-Podcast and in MSP-IMPROV.

A rater's line is `WORKER00000001; Other-confused; Concerned,Confused; A:3.0; V:3.0; D:4.0;`: a name, one primary
emotion, any number of secondary ones, and attributes. "Other" is followed by a free text, which may hold commas and
semicolons.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from hf_ambiser.data.lost_votes import NO_RATER, SECOND_ANSWER, UNKNOWN_LABEL, LostVotes
from hf_ambiser.data.release_files import Remarks
from hf_ambiser.data.schema import Rating
from hf_ambiser.untrusted.numbers import decimal_number


OTHER = "other"
UNREADABLE = "lines hold no rating that can be read, and do not count"
_NUMBER = r"\s*(-?\d+(?:\.\d+)?|NaN)\s*"
_LINE = re.compile(rf"([^;]+?)\s*;(.*?);?\s*A:{_NUMBER};\s*V:{_NUMBER};\s*D:{_NUMBER}(?:;\s*N:{_NUMBER})?;?\s*", re.I)
# Ways to write one word that public readers of these corpora meet.
_ALIASES = {"surprised": "surprise", "fearful": "fear", "disgusted": "disgust", "frustration": "frustrated"}


def split_line(line: str) -> tuple[str, str, str] | None:
    """Return rater, primary and secondary emotions of a rater's line, None if it is not one.

    It is read from the right, because only the attributes have a form that no free text has.
    """
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None
    middle = match[2].strip()
    # The free text after "Other" may hold semicolons; the list of secondary emotions stands behind the last one.
    cut = middle.rpartition if middle.lower().startswith(OTHER) and middle.count(";") > 1 else middle.partition
    primary, _, secondary = cut(";")
    return match[1].strip(), primary.strip(), secondary.strip()


def number(text: object) -> float | None:
    """Read a release's mean of an attribute; None for NaN and for what is no number."""
    return decimal_number(str(text))


@dataclass
class Answers:
    """The ratings of a release, by utterance and rater.

    Args:
        primary: The words that a rater may choose as the one primary emotion, without "other".
        secondary: The words of the secondary emotions, without "other".
    """

    primary: Sequence[str]
    secondary: Sequence[str]
    ratings: dict[str, dict[str, Rating]] = field(default_factory=dict)
    # Utterance -> rater -> what the rater typed behind "Other".
    typed: dict[str, dict[str, str]] = field(default_factory=dict)
    remarks: Remarks = field(default_factory=Remarks)
    # The ratings of utterances that do not count, by reason.
    lost: LostVotes = field(default_factory=LostVotes)

    def told(self, primary: str, secondary: str) -> tuple[str, ...]:
        """Return the labels of a rating: the primary emotion, and behind it the secondary ones that differ from it.

        A primary emotion that the release does not have stands as the rater's line has it.
        """
        words = [self._word(primary, self.primary) or " ".join(primary.lower().split())]
        words += [
            OTHER if (word := self._word(part, self.secondary)) is None else word for part in secondary.split(",")
        ]
        return tuple(dict.fromkeys(word for word in words if word))

    def of(self, utterance: str) -> list[Rating]:
        """Return the ratings of an utterance that count."""
        return list(self.ratings.get(utterance, {}).values())

    def labels_of(self, utterance: str) -> list[tuple[str, ...]]:
        """Return the labels of each rating of an utterance that counts."""
        return [rating.labels for rating in self.of(utterance)]

    def add(self, utterance: str, rater: str, primary: str, secondary: str, place: str) -> None:
        """Take a rating, with its labels as `told` gives them.

        A rater's second rating of an utterance does not count; releases have such rows, mostly copies.
        """
        first, labels = self._word(primary, self.primary), self.told(primary, secondary)
        if not rater:
            self.remarks.add(UNREADABLE, place)
            self.lost.add_ratings(NO_RATER, [labels])
            return
        if not first:
            self.remarks.add("ratings have a primary emotion that the release does not have, and do not count", place)
            self.lost.add_ratings(UNKNOWN_LABEL, [labels])
            return
        for part in secondary.split(","):
            if self._word(part, self.secondary) is None:
                self.remarks.add("secondary emotions are words outside the release's list, read as `other`", place)
        rating = Rating(rater, labels)
        known = self.ratings.setdefault(utterance, {})
        if rater in known:
            same = "the same answer" if known[rater] == rating else "another answer"
            self.remarks.add(f"ratings are a rater's second one of an utterance ({same}), and do not count", place)
            self.lost.add_ratings(SECOND_ANSWER, [labels])
            return
        known[rater] = rating
        if text := primary[len(OTHER) :].strip(" -:") if first == OTHER else "":
            self.typed.setdefault(utterance, {})[rater] = text

    @staticmethod
    def _word(text: str, allowed: Sequence[str]) -> str | None:
        """Return a word of the release in lower case, "" if there is none, None if it is not one of these."""
        word = " ".join(text.lower().split())
        word = _ALIASES.get(word, word)
        if not word or word in allowed:
            return word
        return OTHER if word.startswith(OTHER) else None
