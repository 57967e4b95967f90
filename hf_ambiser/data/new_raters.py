"""The votes of a test split by raters who have rated nothing that a model learns from: rater-disjoint scoring.

A split keeps speakers apart, and the same people may still have rated both sides. Where a corpus names its raters, a
model can be scored on answers of people whose habits it cannot have learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ambiser.data.hub_dataset import dataset_folder
from hf_ambiser.data.loading import dataset_config, read_dataset_info, read_split_columns
from hf_ambiser.data.schema import ANONYMOUS
from hf_ambiser.data.splits.apart import side_of
from hf_ambiser.labels.policies import LabelPolicy
from hf_ambiser.labels.votes import RatingArrays, tally


@dataclass(frozen=True)
class NewRaters:
    """The votes of raters who are new to a model.

    Args:
        id: `(N,)` ids of the split's utterances, in their order.
        votes: `(N, K)` votes of the new raters; a row of zeros if all of its raters are known.
        label: `(N,)` consensus class of these votes, or -1.
        new: How many raters of the split are new.
        known: How many have rated an utterance of the training side.
    """

    id: list[str]
    votes: np.ndarray
    label: np.ndarray
    new: int
    known: int


def votes_of_new_raters(
    dataset_dir: Path | str, config: str, split: str, train_splits: Sequence[str] | None = None
) -> NewRaters:
    """Count the votes of a split again, without the raters of the training side.

    Args:
        dataset_dir: A built data set, or its name on the Hub.
        config: For example `slc-strict`.
        split: The split to score on, for example `test_clear`.
        train_splits: What a model learns from; by default every split of the training side. From a split whose labels
            are hidden no model learns what anybody answered, so its raters do not count as known.

    Raises:
        ValueError: If there is no such config or split, or a rating of these splits does not name its rater.
    """
    info, folder = read_dataset_info(dataset_dir), dataset_folder(dataset_dir)
    about = dataset_config(info, dataset_dir, config)
    learnt = [name for name in about["splits"] if side_of(name) == "train"] if train_splits is None else train_splits
    if unknown := [name for name in (split, *learnt) if name not in about["splits"]]:
        raise ValueError(
            f"{dataset_dir}, config {config!r}, has no split {unknown[0]!r}; it has {sorted(about['splits'])}."
        )
    known: set[str] = set()
    for name in learnt:
        table = read_split_columns(folder, about, name, ["ratings"])
        known |= {_named(rating["rater"], name) for ratings in table["ratings"].to_pylist() for rating in ratings}
    table = read_split_columns(folder, about, split, ["id", "ratings"])
    ratings = table["ratings"].to_pylist()
    raters = {_named(rating["rater"], split) for each in ratings for rating in each}
    policy = LabelPolicy.from_dict(info["policy"]).with_(aggregation="shares")
    counted = tally(
        policy,
        RatingArrays.from_lists(
            [
                [(one["labels"], one["self_report"], one["rater"]) for one in each if one["rater"] not in known]
                for each in ratings
            ]
        ),
    )
    new = raters - known
    return NewRaters(table["id"].to_pylist(), counted.votes, counted.label, len(new), len(raters & known))


def _named(rater: str | None, split: str) -> str:
    if not rater or rater.startswith(ANONYMOUS):
        raise ValueError(
            f"split {split!r} has ratings that do not name their rater, so nobody can tell which raters are new. Build"
            " the data set from a release that names them (IEMOCAP; CREMA-D with finishedResponses.csv and"
            " finishedEmoResponses.csv; a table with a column of raters)."
        )
    return rater
