"""Layers of named raters against loops over answers; answers read from ratings; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.made_data import CLASSES
from helpers.suite_methods import make_trainer, settings

from hf_ambiser.data.split_source import SplitSource
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.methods.rater_confusion import RaterConfusionArguments, answers
from hf_ambiser.methods.rater_confusion.answers import policy_of, read_answers
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.collator import LABELLED


NAME = "rater_confusion"
BATCH = BatchRows(torch.tensor([4, 0, 9]), torch.full((3,), LABELLED))


def rating(rater, *labels, self_report=False):
    return {"rater": rater, "labels": list(labels), "self_report": self_report}


def softmax(values):
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def times(matrix, vector):
    return [sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix]


# ---- answers -----------------------------------------------------------------------------------------------------


def test_ratings_become_answers_under_the_policy():
    policy = get_policy("iemocap-4", multi_label="fractional")
    ratings = [
        [rating("b", "Anger"), rating("a", "Excited", "Sadness"), rating("f", "Anger", self_report=True)],
        [],
        [rating("b", "Frustration"), rating("b", "Neutral")],
    ]
    votes = np.array([[1.0, 0.5, 0.5, 0.0], [0.0] * 4, [0.0, 0.0, 0.0, 1.0]])
    found = read_answers(["u", "v", "w"], ratings, votes, policy)
    assert found.raters == ["a", "b"] and found.utterance.tolist() == [0, 0, 2] and found.rater.tolist() == [1, 0, 1]
    assert found.votes.tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]]
    with pytest.raises(ValueError, match=r"answers to 1 utterances are not their votes, the first is 'v'"):
        read_answers(["u", "v", "w"], ratings, votes + np.array([[0], [1], [0]]), policy)
    for name in (None, "anonymous:voice"):
        unnamed = [ratings[0], [], [rating(name, "Neutral")]]
        with pytest.raises(ValueError, match=r"1 of 3 answers do not name their rater, the first is to .* 'w'"):
            read_answers(["u", "v", "w"], unnamed, votes, policy)


def test_the_policy_is_that_of_the_data_set(monkeypatch):
    policies = {"x": get_policy("iemocap-4", aggregation="dawid_skene"), "y": get_policy("crema-d-6")}
    monkeypatch.setattr(answers, "read_dataset_info", lambda folder: {"policy": policies[folder].to_dict()})
    sources = [SplitSource("x", "c", "d1"), SplitSource("x", "c", "d2"), SplitSource("y", "c", "d1")]
    assert policy_of(sources[:2], []) == get_policy("iemocap-4")
    with pytest.raises(ValueError, match="x and y count ratings by different label policies"):
        policy_of(sources, [])
    assert policy_of([], ["Anger", "joy"]).class_map == {"anger": "Anger", "joy": "joy"}


def test_a_data_set_without_names_is_refused(tmp_path):
    def nameless(split):
        def change(row):
            return {"ratings": [{**one, "rater": None} for one in row["ratings"]]}

        return split.map(change, features=split.features, load_from_cache_file=False)

    with pytest.raises(ValueError, match=r"105 of 105 answers do not name their rater.*method 'rater_confusion' has"):
        make_trainer(NAME, tmp_path, change=nameless, **settings(NAME, "learns"))


# ---- the loss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["crowd_layer", "conal"])
def test_the_loss_is_that_of_every_answer(form, tmp_path):
    trainer = make_trainer(NAME, tmp_path, **settings(NAME, "learns", form=form))
    random = torch.Generator().manual_seed(0)
    layers = trainer.layers
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random))
    outputs = type("Outputs", (), {})()
    outputs.logits, outputs.embedding = torch.randn(3, 4, generator=random), torch.randn(3, 16, generator=random)
    weights = torch.tensor([1.0, 0.5, 2.0])
    got = trainer.row_loss(outputs, BATCH, trainer.table.observed[BATCH.index], weights).tolist()
    scale = 1.0 if form == "crowd_layer" else 2.0
    identity = [[scale * (j == k) for k in range(4)] for j in range(4)]

    def matrix(change):
        return [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(change.tolist(), identity, strict=True)]

    names = sorted({one["rater"] for row in trainer.data.ratings for one in row})
    assert names == [f"r{i}" for i in range(7)]
    for n, i in enumerate(BATCH.index.tolist()):
        p, expected = softmax(outputs.logits[n].tolist()), 0.0
        assert len(trainer.data.ratings[i]) == 5
        for one in trainer.data.ratings[i]:
            r, k = names.index(one["rater"]), CLASSES.index(one["labels"][0])
            a = times(matrix(layers.change[r]), p)
            if form == "conal":
                v = layers.of_utterance(outputs.embedding[n]).tolist()
                u = layers.of_rater.weight[r].tolist()
                cosine = sum(x * y for x, y in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
                omega = 1 / (1 + math.exp(-cosine))
                common = times(matrix(layers.common_change), p)
                a = [omega * g + (1 - omega) * own for g, own in zip(common, a, strict=True)]
            expected -= math.log(softmax(a)[k])
        assert got[n] == pytest.approx(float(weights[n]) * expected / 5, rel=1e-4)
    distance = trainer.extra_loss(outputs, BATCH)
    if form == "crowd_layer":
        assert distance == 0.0
    else:
        common, total = matrix(layers.common_change), 0.0
        for r in range(7):
            own = matrix(layers.change[r])
            total += math.sqrt(sum((own[j][k] - common[j][k]) ** 2 for j in range(4) for k in range(4)))
        assert float(distance) == pytest.approx(-1e-5 * total, rel=1e-4)


def test_the_trajectory_says_what_a_rater_answers(tmp_path):
    trainer = make_trainer(NAME, tmp_path, **settings(NAME, "learns", form="crowd_layer"))
    with torch.no_grad():
        trainer.layers.change[2, 3, 1] = 5.0  # this rater answers class 3 where class 1 is heard
    shown = trainer.trajectory_tensors()["rater_confusion"]
    assert shown.shape == (7, 4, 4) and int(shown[2, 1].argmax()) == 3
    assert shown[2, 1].tolist() == pytest.approx(softmax([0.0, 1.0, 0.0, 5.0]))


def test_a_rater_who_confuses_two_emotions_is_found_out(tmp_path):
    """One of seven raters hears sadness as neutral; their layer learns it."""

    def confused(split):
        def change(row):
            ratings = [
                {**one, "labels": ["neutral"]} if one["rater"] == "r3" and one["labels"] == ["sadness"] else one
                for one in row["ratings"]
            ]
            words = [one["labels"][0] for one in ratings]
            votes = [float(words.count(word)) for word in CLASSES]
            return {"ratings": ratings, "votes": votes, "soft_label": [v / 5 for v in votes]}

        return split.map(change, features=split.features, load_from_cache_file=False)

    chosen = {"optim": "adamw_torch", "learning_rate": 5e-3, "num_train_epochs": 12, "rater_rate": 10.0}
    trainer = make_trainer(NAME, tmp_path, change=confused, **settings(NAME, "learns", **chosen))
    trainer.train()
    sadness, neutral = CLASSES.index("sadness"), CLASSES.index("neutral")
    says_neutral = trainer.trajectory_tensors()["rater_confusion"][:, sadness, neutral]
    assert int(says_neutral.argmax()) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"form": "glad"}, "form='glad' is not one of"),
        ({"rater_rate": 0.0}, "rater_rate=0.0 must be above 0"),
        ({"form": "conal", "common_size": 0}, "common_size=0 must be 1 or more"),
        ({"form": "conal", "own_confusion": -1.0}, "own_confusion=-1.0 must be 0 or more"),
        ({"own_confusion": 0.1}, "own_confusion=0.1 acts with form='conal' alone"),
        ({"drop_raters": 0.1}, "learns from the answer of each rater"),
    ],
)
def test_values_that_are_not_allowed(given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        RaterConfusionArguments(str(tmp_path), use_cpu=True, **given)
