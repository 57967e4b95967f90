"""The votes of a built data set, rater by rater: none is invented, lost or counted twice."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.made_run import built

from hf_ambiser.data.build import build
from hf_ambiser.data.corpora import simulated
from hf_ambiser.labels.policies import LabelPolicy
from hf_ambiser.next_ratings.rated_votes import rated_votes, read_rated_votes


CLASSES = ("anger", "joy")
POLICY = LabelPolicy("two", CLASSES, {"anger": "anger", "joy": "joy", "other": None})


def rating(rater: str | None, *labels: str, self_report: bool = False) -> dict:
    return {"rater": rater, "labels": list(labels), "self_report": self_report}


def read(ratings: list[list[dict]], votes: list[list[float]], policy: LabelPolicy = POLICY):
    ids = [f"u{i}" for i in range(len(ratings))]
    return rated_votes(ids, ["s"] * len(ids), np.array(votes, dtype=float), ratings, policy)


def listed(found) -> list[tuple[int, str | None, list[float]]]:
    names = [*found.raters, None]
    return sorted(
        ((int(u), names[r], y.tolist()) for u, r, y in zip(found.utterance, found.rater, found.answers, strict=True)),
        key=str,
    )


def test_each_answer_counts_as_the_policy_says():
    ratings = [
        [
            rating("b", "anger"),
            rating("a", "Joy", "anger"),
            rating("c", "other"),
            rating("a2", "joy", self_report=True),
        ],
        [rating(None, "joy"), rating(None, "joy"), rating("anonymous:voice", "anger")],
        [],
    ]
    found = read(ratings, [[1, 1], [1, 2], [0, 0]])
    assert found.raters == ("a", "a2", "b", "c") and found.n_unknown == 0
    assert listed(found) == sorted(
        [
            (0, "a", [0, 1]), (0, "a2", [0, 0]), (0, "b", [1, 0]), (0, "c", [0, 0]),
            (1, None, [0, 1]), (1, None, [0, 1]), (1, None, [1, 0]),
        ],
        key=str,
    )  # fmt: skip
    halves = read(ratings, [[1.5, 0.5], [1, 2], [0, 0]], POLICY.with_(multi_label="fractional"))
    assert (0, "a", [0.5, 0.5]) in listed(halves)
    both = read(ratings, [[2, 1], [1, 2], [0, 0]], POLICY.with_(multi_label="each", self_reports=False))
    assert (0, "a", [1, 1]) in listed(both)


def test_two_answers_of_one_rater_are_one():
    found = read([[rating("a", "anger"), rating("a", "joy"), rating(None, "joy"), rating(None, "joy")]], [[1, 3]])
    assert listed(found) == sorted([(0, "a", [1, 1]), (0, None, [0, 1]), (0, None, [0, 1])], key=str)


def test_a_vote_counts_as_much_as_its_rater():
    ratings = [[rating("a", "anger"), rating("b", "anger"), rating(None, "joy")], [rating("b", "joy")]]
    found = read(ratings, [[2, 1], [0, 1]])
    np.testing.assert_allclose(found.weighted({"a": 1.0, "b": 0.25}), [[1.25, 1], [0, 0.25]])
    np.testing.assert_allclose(found.weighted({"a": 1.0, "b": 1.0}), found.votes)
    np.testing.assert_allclose(found.weighted({"a": 0.0, "b": 0.0}), [[0, 1], [0, 0]])


def test_votes_whose_answers_are_not_stored_count_and_are_said():
    ratings = [[rating("a", "anger")], [], [rating("a", "joy")]]
    found = read(ratings, [[1, 0], [2, 1], [1, 1]])  # of the third, one answer is missing
    assert found.n_unknown == 2 and found.raters == ("a",)
    assert listed(found) == [(0, "a", [1, 0])]
    np.testing.assert_allclose(found.weighted({"a": 0.5}), [[0.5, 0], [2, 1], [1, 1]])


def test_a_built_data_set_gives_each_utterance_once_with_the_votes_of_its_raters(tmp_path):
    dataset = built(tmp_path, n=40, configs=("ipr-strict", "slc-strict"))
    found = read_rated_votes(dataset)
    scan = simulated.scan(tmp_path / "corpus")
    ours = {u.id: sorted((r.rater, r.labels[0]) for r in u.ratings) for u in scan.utterances}
    words = {"anger": "anger", "happiness": "happiness", "sadness": "sadness", "neutral": "neutral"}
    theirs: dict[str, list] = {name: [] for name in found.ids}
    for u, r, y in zip(found.utterance, found.rater, found.answers, strict=True):
        theirs[found.ids[u]].append((found.raters[r], words[found.classes[int(y.argmax())]]))
    assert len(set(found.ids)) == len(found.ids) and found.n_unknown == 0
    for name, answers in theirs.items():
        assert sorted(answers) == ours[name]
    sums = np.zeros_like(found.votes)
    np.add.at(sums, found.utterance, found.answers)
    np.testing.assert_allclose(sums, found.votes)


def test_a_split_that_hides_its_labels_keeps_its_votes(tmp_path):
    simulated.generate(tmp_path / "corpus", n_utterances=40, n_speakers=10, seed=0)
    build(
        "simulated", tmp_path / "corpus", tmp_path / "dataset", configs=["ipr-strict"], d1_quota="per_class",
        min_per_class=1, progress=False,
    )  # fmt: skip
    found = read_rated_votes(tmp_path / "dataset")
    hidden = set(range(len(found.ids))) - set(found.utterance.tolist())
    assert 0 < len(hidden) == found.n_unknown
    assert (found.votes[sorted(hidden)].sum(axis=1) == 5).all()


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a built data set"):
        read_rated_votes(tmp_path)
