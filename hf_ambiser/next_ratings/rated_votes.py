"""The votes of a built data set, rater by rater, each utterance once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.data.hub_dataset import dataset_folder
from hf_ambiser.data.loading import cure_of, dataset_files, read_dataset_info
from hf_ambiser.data.parquet_files import read_columns
from hf_ambiser.data.schema import ANONYMOUS
from hf_ambiser.files.read import FileError
from hf_ambiser.labels.policies import LabelPolicy
from hf_ambiser.labels.votes import RatingArrays, tally


Array = np.ndarray
# Votes are stored as float32.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class RatedVotes:
    """The votes of N utterances for K classes, and the J answers that they are made of.

    Two ratings of an utterance by one rater with a name are one answer.

    Args:
        ids: N names.
        speakers: N names.
        classes: K names.
        votes: `(N, K)` counts, also of utterances whose single answers are not known.
        utterance: `(J,)` int in [0, N).
        rater: `(J,)` int in [0, R), or -1 for a rater without a name.
        answers: `(J, K)` the votes that come from each answer; a row is 0 if it counts for no class.
        raters: R names.
        n_unknown: Utterances with votes whose answers are not known one by one (a split that hides its labels keeps
            no ratings).
        content: Digest of the data set's files; None in one of an early version.
    """

    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    classes: tuple[str, ...]
    votes: Array
    utterance: Array
    rater: Array
    answers: Array
    raters: tuple[str, ...]
    n_unknown: int = 0
    content: str | None = None

    def weighted(self, weights: Mapping[str, float]) -> Array:
        """`(N, K)` votes, where a vote of a rater with a name counts as much as `weights` say."""
        of_rater = np.array([*(weights[name] for name in self.raters), 1.0])
        less = self.answers * (1 - of_rater[self.rater])[:, None]
        votes = self.votes.copy()
        np.subtract.at(votes, self.utterance, less)
        return np.maximum(votes, 0.0)  # rounding can give -1e-17


def read_rated_votes(dataset: Path | str) -> RatedVotes:
    """Read the votes of every utterance of a data set, those of hidden labels, too.

    Args:
        dataset: Folder that `build()` made, or the name of a data set on the Hub.

    Raises:
        FileNotFoundError: If it is no built data set.
        ValueError: If it holds no utterance. As a FileError, if a file cannot be used.
    """
    info, folder, cure = read_dataset_info(dataset), dataset_folder(dataset), cure_of(dataset)
    files = dataset_files(folder, info)
    if not files:
        raise FileError(folder, "holds no split of its build", cure)
    table = read_columns(files, ("id", "speaker", "ratings", "reference_votes"), cure)
    # An utterance may stand in several configurations, and one of them may hide its labels.
    rows: dict[str, int] = {}
    ids, ratings = table["id"].to_pylist(), table["ratings"].to_pylist()
    for row, name in enumerate(ids):
        if name not in rows or (not ratings[rows[name]] and ratings[row]):
            rows[name] = row
    if not rows:
        raise ValueError(f"{dataset} holds no utterance, so there is nothing to rate.")
    kept = sorted(rows.values())
    n_classes = len(info["classes"])
    votes = np.array(table["reference_votes"].take(kept).to_pylist(), dtype=np.float64).reshape(len(kept), n_classes)
    speakers = table["speaker"].take(kept).to_pylist()
    policy = LabelPolicy.from_dict(info["policy"])
    return rated_votes(
        [ids[row] for row in kept], speakers, votes, [ratings[row] for row in kept], policy, info.get("content")
    )


def rated_votes(
    ids: Sequence[str],
    speakers: Sequence[str],
    votes: Array,
    ratings: Sequence[Sequence[Mapping[str, Any]]],
    policy: LabelPolicy,
    content: str | None = None,
) -> RatedVotes:
    """Count each rating under the policy, as `labels.votes.tally` counts them.

    Args:
        ids: N names.
        speakers: N names.
        votes: `(N, K)` all votes.
        ratings: Of each utterance its ratings, each with `rater`, `labels`, `self_report`, as they are stored.
        policy: Says which votes a rating gives.
        content: Digest of the data set.
    """
    utterance = np.array([n for n, given in enumerate(ratings) for _ in given], dtype=np.int64)
    flat = [rating for given in ratings for rating in given]
    # Each rating as an utterance of its own: a policy treats each rating alone, so the sums are the utterances' votes.
    alone = RatingArrays.from_lists([[(tuple(one["labels"]), one["self_report"])] for one in flat])
    answers = tally(policy.with_(aggregation="shares", aggregation_options={}), alone).votes
    names = [one["rater"] for one in flat]
    named = sorted({name for name in names if _is_name(name)})
    numbers = {name: number for number, name in enumerate(named)}
    rater = np.array([numbers.get(name, -1) for name in names], dtype=np.int64)

    found = np.zeros_like(votes)
    np.add.at(found, utterance, answers)
    differs = np.abs(found - votes).max(axis=1, initial=0.0) > _ROUNDING
    known = ~differs[utterance]
    utterance, rater, answers = _one_answer_each(utterance[known], rater[known], answers[known])
    unknown = int((differs & (votes.sum(axis=1) > 0)).sum())
    return RatedVotes(
        tuple(ids), tuple(speakers), policy.classes, votes, utterance, rater, answers, tuple(named), unknown, content
    )


def _is_name(rater: str | None) -> bool:
    return rater is not None and not rater.startswith(ANONYMOUS)


def _one_answer_each(utterance: Array, rater: Array, answers: Array) -> tuple[Array, Array, Array]:
    """Join the answers of a rater with a name to the same utterance."""
    own = np.where(rater >= 0, rater, rater.max(initial=-1) + 1 + np.arange(len(rater)))
    pairs, place = np.unique(np.stack([utterance, own], axis=1), axis=0, return_inverse=True)
    joined, of_rater = np.zeros((len(pairs), answers.shape[1])), np.full(len(pairs), -1, dtype=np.int64)
    np.add.at(joined, place.ravel(), answers)
    of_rater[place.ravel()] = rater
    return pairs[:, 0], of_rater, joined
