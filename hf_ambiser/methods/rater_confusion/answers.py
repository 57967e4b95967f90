"""The answers of named raters to the training utterances, as votes under the data set's own label policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.data.schema import ANONYMOUS
from hf_ambiser.data.split_source import SplitSource
from hf_ambiser.labels.policies import LabelPolicy
from hf_ambiser.labels.votes import RatingArrays, tally


# Votes are stored as float32.
_ROUNDING = 1e-3
_NAMES = (
    "Take a data set whose ratings name their raters (IEMOCAP; CREMA-D with finishedResponses.csv and"
    " finishedEmoResponses.csv; a table with a column of raters), or method soft_vote."
)


@dataclass(frozen=True)
class Answers:
    """The J answers of R raters to N utterances.

    Args:
        utterance: `(J,)` int in [0, N), ascending.
        rater: `(J,)` int in [0, R).
        votes: `(J, K)` the votes that each answer gives; no row is zeros.
        raters: R names, sorted.
    """

    utterance: np.ndarray
    rater: np.ndarray
    votes: np.ndarray
    raters: list[str]


def policy_of(sources: Sequence[SplitSource], classes: Sequence[str]) -> LabelPolicy:
    """Return the rules by which the ratings of training utterances were counted.

    Without a source (a split that `load_split` did not load), a label is the class of that name.

    Args:
        sources: The splits that the utterances come from.
        classes: K names.

    Raises:
        ValueError: If two sources count ratings by different rules.
    """
    folders = list(dict.fromkeys(source.dataset for source in sources))
    policies = [LabelPolicy.from_dict(read_dataset_info(folder)["policy"]) for folder in folders]
    if not policies:
        return LabelPolicy("class names", tuple(classes), {name.lower(): name for name in classes})
    for folder, policy in zip(folders, policies, strict=True):
        if policy.to_dict() != policies[0].to_dict():
            raise ValueError(
                f"{folders[0]} and {folder} count ratings by different label policies, so answers of their raters"
                " cannot be compared. Build both with one policy."
            )
    return policies[0].with_(aggregation="shares", aggregation_options={})


def read_answers(
    ids: Sequence[str], ratings: Sequence[Sequence[dict[str, Any]]], votes: np.ndarray, policy: LabelPolicy
) -> Answers:
    """Count each rating by itself.

    Args:
        ids: N names.
        ratings: Of each utterance its ratings, as they are stored.
        votes: `(N, K)` all votes.
        policy: Says which votes a rating gives.

    Raises:
        ValueError: If an answer that counts has no rater's name, or if the answers are not the votes.
    """
    utterance = np.array([n for n, given in enumerate(ratings) for _ in given], dtype=np.int64)
    flat = [rating for given in ratings for rating in given]
    alone = RatingArrays.from_lists([[(tuple(one["labels"]), one["self_report"])] for one in flat])
    counted = tally(policy, alone).votes
    counts = counted.sum(axis=1) > 0
    utterance, counted = utterance[counts], counted[counts]
    names = [one["rater"] for one, kept in zip(flat, counts, strict=True) if kept]
    unnamed = np.array([name is None or name.startswith(ANONYMOUS) for name in names], dtype=bool)
    if unnamed.any():
        raise ValueError(
            f"{unnamed.sum()} of {len(names)} answers do not name their rater, the first is to utterance"
            f" {ids[utterance[unnamed.argmax()]]!r}; method 'rater_confusion' has a layer for each rater. {_NAMES}"
        )
    found = np.zeros_like(votes)
    np.add.at(found, utterance, counted)
    differs = np.abs(found - votes).max(axis=1, initial=0.0) > _ROUNDING
    if differs.any():
        raise ValueError(
            f"the answers to {differs.sum()} utterances are not their votes, the first is"
            f" {ids[int(differs.argmax())]!r}: a split with revealed labels keeps no ratings, and method"
            f" 'rater_confusion' learns from each. {_NAMES}"
        )
    raters = sorted(set(names))
    number = {name: i for i, name in enumerate(raters)}
    return Answers(utterance, np.array([number[name] for name in names], dtype=np.int64), counted, raters)
