"""The types that a corpus parser gives to the data-set builder, and the columns of a built data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ambiser.data.lost_votes import LostVotes
from hf_ambiser.labels.votes import RatingArrays
from hf_ambiser.untrusted.places import shortened, without_places


if TYPE_CHECKING:
    from datasets import Features

    from hf_ambiser.data.audio import AudioProblem

SAMPLING_RATE = 16000

# The reasons why something in a corpus is not in the data set. `Listed` refuses any other reason.
REASONS: dict[str, str] = {
    "unreadable_audio": "the audio file cannot be decoded",
    "lfs_stub": "a stub of Git LFS stands in place of the audio; `git lfs pull` fetches it",
    "empty_audio": "the audio file holds no sample",
    "silent_audio": "the audio is digital silence",
    "too_short_audio": "the audio is shorter than the minimum duration",
    "too_long_audio": "the audio is longer than an utterance can be",
    "invalid_audio": "the audio holds samples that are not finite numbers, or far above full scale",
    "label_without_audio": "there are ratings but no audio file of that name",
    "audio_without_label": "there is an audio file but no ratings for it",
    "malformed_line": "a line of the labels cannot be read, or holds what cannot stand there",
    "malformed_id": "the utterance's name is missing, or not in the form that it must have",
    "duplicate_label": "the utterance is labelled a second time",
    "no_votes": "nobody voted for any of the policy's classes",
    "no_consensus": "the votes give no consensus label under the policy's rule",
    "outside_classes": "the consensus is a class that the policy leaves out",
    "ambiguous_audio": "several audio files have the name that the table gives",
    "no_such_part": "the row's start and end are no part of the recording",
    "no_speaker": "the table does not say who speaks, or in which session",
    "rated_twice": "the rater has rated the utterance in an earlier row, which counts",
    "conflicting_row": "the row gives its utterance another speaker or session than an earlier row, which counts",
    "held_apart": "the config leaves the utterance out of this split, because its speaker, sentence ... stands on"
    " another side (`--disjoint`); other configs may have it",
}


# What the stored `rater` of an anonymous rating begins with, if the kind of the rating is known.
ANONYMOUS = "anonymous:"


@dataclass(frozen=True)
class Rating:
    """One rater's answer to one utterance.

    Args:
        rater: The rater's name; None if it is unknown.
        labels: Raw labels in the order given.
        self_report: Whether the rater is the speaker.
        kind: What the rater was shown, where ratings of several kinds may stand side by side; "" elsewhere.
        intensity: How strong the emotion seemed to the rater (0 to 100); None if nobody asked.
    """

    rater: str | None
    labels: tuple[str, ...]
    self_report: bool = False
    kind: str = ""
    intensity: int | None = None

    @property
    def stored_rater(self) -> str | None:
        """The `rater` of a stored row: `<name>` or `<name>:<kind>`; `anonymous:<kind>` (nobody's name), or None."""
        if not self.kind:
            return self.rater
        return f"{ANONYMOUS}{self.kind}" if self.rater is None else f"{self.rater}:{self.kind}"


@dataclass
class Utterance:
    """One labelled utterance of a corpus, as it is in the release.

    `about_speaker` holds `sex` ("female", "male") and `age` (years) of its speaker, where the corpus says so; they go
    into the data set's `speakers.csv`. `extra` holds whatever else the release says. Its audio is `audio_bytes`, else
    what `read_audio` gives each time (or why it cannot), else the file `audio_path`, which also names its place.
    """

    id: str
    speaker: str
    session: str
    corpus: str
    ratings: list[Rating]
    audio_path: Path | None = None
    audio_bytes: bytes | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    about_speaker: dict[str, Any] = field(default_factory=dict)
    read_audio: Callable[[], bytes | AudioProblem] | None = None


@dataclass(frozen=True)
class Listed:
    """Something that came in and is not kept (or is kept without a label), with the reason.

    Lists may be published and are compared between builds, so `detail` loses folders of this machine and addresses in
    memory, and what is longer than a reader needs.

    Raises:
        ValueError: If the reason is not one of `REASONS`.
    """

    id: str
    reason: str
    detail: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"{self.id}: reason {self.reason!r} is not one of {sorted(REASONS)}.")
        for name in ("id", "detail", "source"):
            object.__setattr__(self, name, shortened(getattr(self, name)))
        object.__setattr__(self, "detail", without_places(self.detail))


@dataclass(frozen=True)
class TableRows:
    """What became of the rows of a user's table, and of the votes in them.

    Args:
        counts: `rows_in` = `rows_used` + `rows_listed`; `votes_in` (labels in the rows that can be read) =
            `votes_used` (of utterances with audio) + `votes_in_listed_rows` + `votes_of_listed_utterances`;
            `empty_cells`, where a label could stand and none does.
        listed: The rows that are not used; `source` is the table and the line.

    Raises:
        ValueError: If one of the two sums does not hold.
    """

    counts: dict[str, int]
    listed: list[Listed]

    def __post_init__(self) -> None:
        c = self.counts
        lost_rows = c["rows_in"] - c["rows_used"] - c["rows_listed"]
        lost = c["votes_in"] - c["votes_used"] - c["votes_in_listed_rows"] - c["votes_of_listed_utterances"]
        if lost_rows or lost or c["rows_listed"] != len(self.listed):
            raise ValueError(f"rows or votes of a table do not add up: {c}. This is a bug of hf_ambiser; report it.")

    def without(self, utterance: Utterance) -> TableRows:
        """Count the votes of an utterance that was used until now as those of a listed one."""
        c, votes = self.counts, sum(len(rating.labels) for rating in utterance.ratings)
        moved = {"votes_used": c["votes_used"] - votes}
        moved["votes_of_listed_utterances"] = c["votes_of_listed_utterances"] + votes
        return TableRows({**c, **moved}, self.listed)


@dataclass
class CorpusScan:
    """What a parser found. `count_in == len(utterances) + len(listed)`; `notes` are remarks on kept utterances.

    `rows` is there if the corpus is a table of a user's own. `lost` has every vote of the label files that is in no
    utterance's ratings.
    """

    corpus: str
    utterances: list[Utterance]
    listed: list[Listed]
    notes: list[str]
    count_in: int
    rows: TableRows | None = None
    lost: LostVotes = field(default_factory=LostVotes)

    def ratings(self) -> RatingArrays:
        """Return the ratings of all utterances as the arrays that `labels.votes.tally` takes."""
        return rating_arrays(self.utterances)


def rating_arrays(utterances: Sequence[Utterance]) -> RatingArrays:
    """Return the ratings of these utterances, in their order, as the arrays that `labels.votes.tally` takes."""
    return RatingArrays.from_lists([[(r.labels, r.self_report, r.rater) for r in u.ratings] for u in utterances])


def features(classes: tuple[str, ...] | list[str]) -> Features:
    """The columns of a built data set for these K classes.

    A trainer may learn from `votes`, `soft_label`, `label`, `agreement`, `entropy` and `ratings`; a split with hidden
    labels has zeros, -1, NaN and [] there. `reference_*` always hold the raters' votes and are for scoring only, also
    if `label` and `soft_label` come from a model of the raters. `audio` has the storage type of `datasets.Audio`, so
    it can be cast to that, but it does not need torchcodec.
    """
    from datasets import ClassLabel, Features, List, Value

    shares = List(Value("float32"), length=len(classes))
    return Features(
        {
            "id": Value("string"),
            "audio": {"bytes": Value("binary"), "path": Value("string")},
            "duration": Value("float32"),
            "speaker": Value("string"),
            "session": Value("string"),
            "corpus": Value("string"),
            "ratings": List({"rater": Value("string"), "labels": List(Value("string")), "self_report": Value("bool")}),
            "votes": shares,
            "soft_label": shares,
            "label": ClassLabel(names=list(classes)),
            "agreement": Value("float32"),
            "entropy": Value("float32"),
            "tier": Value("string"),
            "reference_votes": shares,
            "reference_soft_label": shares,
            "reference_label": ClassLabel(names=list(classes)),
            "true_distribution": shares,
        }
    )
