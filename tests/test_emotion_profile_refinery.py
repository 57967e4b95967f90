"""Emotion profile refinery against a literal transcription, and what is refused."""

from __future__ import annotations

import pytest
import torch
from helpers import made_data
from helpers.plain_descent import answers_alone, assert_same_network, cross_entropy, descend, logits_alone, recorded
from helpers.suite_methods import BASE, make_trainer, settings

from hf_ambiser.methods.emotion_profile_refinery import (
    EmotionProfileRefineryArguments,
    EmotionProfileRefineryTrainer,
)
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.collator import LABELLED


NAME = "emotion_profile_refinery"


def test_two_stages_are_two_networks(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.suite_methods.load_method", lambda name: recorded(EmotionProfileRefineryTrainer))
    rate = 0.05
    trainer = make_trainer(NAME, tmp_path, **{**BASE, "learning_rate": rate, "stages": 2})
    trainer.train()
    labels = trainer.table.observed
    assert len(trainer.seen) == 9
    first, second = made_data.tiny_model().train(), made_data.tiny_model().train()

    def train(network, steps):
        for batch, _ in steps:
            rows = [cross_entropy(logits_alone(network, trainer, i), labels[i]) for i in batch]
            descend([network], lambda rows=rows: sum(rows) / len(rows), rate)

    train(first, trainer.seen[:6])
    labels = answers_alone(first, trainer, range(21)).softmax(dim=1)
    torch.testing.assert_close(trainer.table.columns["profile"], labels, rtol=1e-4, atol=1e-6)
    train(second, trainer.seen[6:])
    assert_same_network(trainer.model, second)


@pytest.mark.parametrize(
    ("epochs", "stages", "expected"), [(7, 3, [0, 0, 0, 1, 1, 2, 2]), (4, 2, [0, 0, 1, 1]), (2.5, 2, [0, 0, 1])]
)
def test_stages_share_the_epochs(epochs, stages, expected, tmp_path):
    trainer = make_trainer(NAME, tmp_path, **{**BASE, "num_train_epochs": epochs, "stages": stages})
    assert [trainer.stage_of(epoch) for epoch in range(len(expected))] == expected
    assert trainer.stage_of(len(expected)) == stages - 1


@pytest.mark.parametrize(("label", "leads"), [("profile", 2), ("consensus", 0)])
def test_a_share_of_the_target_is_hard(label, leads, tmp_path):
    trainer = make_trainer(NAME, tmp_path, **settings(NAME, "learns", hard_share=0.25, hard_label=label))
    assert int(trainer.table.observed[4].argmax()) == 0
    trainer.table.write(torch.tensor([4]), profile=torch.tensor([[0.2, 0.0, 0.5, 0.3]]))
    targets, weights = trainer.correct(None, BatchRows(torch.tensor([4]), torch.tensor([LABELLED])))
    expected = [0.75 * p + 0.25 * (k == leads) for k, p in enumerate([0.2, 0.0, 0.5, 0.3])]
    assert targets[0].tolist() == pytest.approx(expected) and weights.tolist() == [1.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stages": 1}, "stages=1 must be 2 or more"),
        ({"hard_share": 1.5}, "hard_share=1.5 is a share"),
        ({"hard_label": "votes"}, "hard_label='votes' is not one of"),
        ({"hard_label": "consensus"}, "no hard label is used"),
        ({"hard_label": "consensus", "hard_share": 1.0}, "no profile is used, so nothing is refined"),
        ({"max_steps": 9}, "max_steps=9 does not say where a stage ends"),
        ({"head_warmup_epochs": 2, "num_train_epochs": 8}, "head_warmup_epochs=2 leaves some of the 3 stages"),
        ({"num_train_epochs": 2}, "num_train_epochs=2 gives some of the 3 stages no epoch"),
    ],
)
def test_values_that_are_not_allowed(given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        EmotionProfileRefineryArguments(str(tmp_path), use_cpu=True, **given)
