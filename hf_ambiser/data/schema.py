"""What passes between a corpus parser and the data-set builder, and the columns of a built data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ambiser.labels.votes import RatingArrays


if TYPE_CHECKING:
    from datasets import Features

SAMPLING_RATE = 16000

# Why an item of a corpus is not in the data set. A reason that is not here is a bug, not a new reason.
REASONS: dict[str, str] = {
    "unreadable_audio": "the audio file cannot be decoded",
    "empty_audio": "the audio file holds no sample",
    "silent_audio": "the audio is digital silence",
    "too_short_audio": "the audio is shorter than the minimum duration",
    "invalid_audio": "the audio holds samples that are not finite numbers",
    "label_without_audio": "there are ratings but no audio file of that name",
    "audio_without_label": "there is an audio file but no ratings for it",
    "malformed_line": "a line of a label file is not in the release's form",
    "malformed_id": "the utterance's name is not in the release's form",
    "duplicate_label": "the utterance is labelled a second time",
    "no_votes": "nobody voted for any of the policy's classes",
    "no_consensus": "the votes give no consensus label under the policy's rule",
    "outside_classes": "the consensus is a class that the policy leaves out",
}


@dataclass(frozen=True)
class Rating:
    """One rater's answer to one utterance: raw labels in the order given; `rater` is None where unknown."""

    rater: str | None
    labels: tuple[str, ...]
    self_report: bool = False


@dataclass
class Utterance:
    """One labelled clip of a corpus, as its release has it."""

    id: str
    speaker: str
    session: str
    corpus: str
    ratings: list[Rating]
    audio_path: Path | None = None
    audio_bytes: bytes | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Listed:
    """One item that came in and is not kept (or not with a label), and why.

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


@dataclass
class CorpusScan:
    """What a parser found: `count_in == len(utterances) + len(listed)`; `notes` are remarks on kept utterances."""

    corpus: str
    utterances: list[Utterance]
    listed: list[Listed]
    notes: list[str]
    count_in: int

    def ratings(self) -> RatingArrays:
        """The ratings of all utterances in the array form `labels.tally` takes."""
        return rating_arrays(self.utterances)


def rating_arrays(utterances: Sequence[Utterance]) -> RatingArrays:
    """The ratings of utterances, in their order, in the array form `labels.tally` takes."""
    return RatingArrays.from_lists([[(r.labels, r.self_report, r.rater) for r in u.ratings] for u in utterances])


def features(classes: tuple[str, ...] | list[str]) -> Features:
    """Columns of a built data set for these K classes.

    `votes`, `soft_label`, `label`, `agreement`, `entropy` and `ratings` are what a trainer may learn from; in an
    unlabelled split they are empty (zeros, -1, NaN, []). `reference_*` always hold the raters' answer and are for
    scoring only; they are the votes' where `label` and `soft_label` are by a model of the raters, too. `audio` has the
    storage type of `datasets.Audio` without needing torchcodec: cast it when wanted.
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
