"""Multi-classifier interactive learning against a literal transcription, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import made_data
from helpers.plain_descent import answers_alone, assert_same_network, cross_entropy, descend, logits_alone, recorded
from helpers.suite_methods import BASE, make_trainer

from hf_ambiser.methods.mcil import MCILArguments, MCILTrainer
from hf_ambiser.methods.mcil.new_labels import counted, new_labels
from hf_ambiser.training.collator import LABELLED


LOGITS = torch.randn(3, 40, 4, generator=torch.Generator().manual_seed(0))


def test_labels_are_counted_one_by_one():
    probability = LOGITS.softmax(dim=-1)
    votes, mean, majority = (new_labels(LOGITS, form) for form in ("votes", "mean", "majority"))
    ties = 0
    for i in range(LOGITS.shape[1]):
        best = [max(range(4), key=lambda k, m=m: float(LOGITS[m, i, k])) for m in range(3)]
        number = [best.count(k) for k in range(4)]
        average = [sum(float(probability[m, i, k]) for m in range(3)) / 3 for k in range(4)]
        assert counted(LOGITS)[i].tolist() == number
        assert votes[i].tolist() == pytest.approx([n / 3 for n in number])
        assert mean[i].tolist() == pytest.approx(average, rel=1e-5)
        leaders = [k for k in range(4) if number[k] == max(number)]
        ties += len(leaders) > 1
        assert int(majority[i].argmax()) == max(leaders, key=lambda k: average[k]) and majority[i].sum() == 1
    assert ties > 3


@pytest.mark.parametrize("retrain", ["go_on", "afresh"])
def test_two_epochs_are_the_literal_transcription(retrain, tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.suite_methods.load_method", lambda name: recorded(MCILTrainer))
    rate = 0.05
    chosen = {"num_train_epochs": 2, "warmup_epochs": 1, "classifiers": 3, "retrain": retrain, "learning_rate": rate}
    trainer = make_trainer("mcil", tmp_path, **{**BASE, **chosen})
    begun = [made_data.tiny_model(), *map(copy.deepcopy, trainer.others.values())]
    networks = [copy.deepcopy(network).train() for network in begun]
    assert not torch.equal(begun[0].head.out_proj.weight, begun[1].head.out_proj.weight)
    assert not torch.equal(begun[1].head.out_proj.weight, begun[2].head.out_proj.weight)
    trainer.train()

    new, beta = {}, 0.5  # e_c = 1 of e_m = 2 epochs: the ramp of Eq. 7 is at its end
    for step, (batch, roles) in enumerate(trainer.seen):
        if step == 3:
            answers = [answers_alone(network, trainer, range(21, 46)).argmax(dim=1) for network in networks]
            new = {21 + j: [[int(a[j]) for a in answers].count(k) / 3 for k in range(4)] for j in range(25)}
            if retrain == "afresh":
                for network, beginning in zip(networks, begun, strict=True):
                    network.load_state_dict(beginning.state_dict())

        def loss(batch=batch, roles=roles, new=new):
            total = 0
            for network in networks:
                clear, ambiguous = [], []
                for i, role in zip(batch, roles, strict=True):
                    target = trainer.table.observed[i].tolist() if role == LABELLED else new[i]
                    value = cross_entropy(logits_alone(network, trainer, i), target)
                    (clear if role == LABELLED else ambiguous).append(value)
                total = total + sum(clear) / len(clear) + (beta * sum(ambiguous) / len(ambiguous) if ambiguous else 0)
            return total

        descend(networks, loss, rate)
    assert {LABELLED} == set(trainer.seen[0][1]) and len(set(trainer.seen[3][1])) == 2
    expected = torch.tensor([new[i] for i in range(21, 46)])
    torch.testing.assert_close(trainer.table.columns["new_label"][21:], expected)
    assert trainer.table.columns["classifier_votes"][21:].sum(dim=1).tolist() == [3] * 25
    for got, slow in zip([trainer.model, *trainer.others.values()], networks, strict=True):
        assert_same_network(got, slow)


def test_rounds(tmp_path):
    for relabel, expected in ((0, [0, 0, 1, 1, 1, 1, 1]), (2, [0, 0, 1, 1, 2, 2, 3])):
        chosen = {"num_train_epochs": 7, "warmup_epochs": 2, "relabel_epochs": relabel, "classifiers": 2}
        trainer = make_trainer("mcil", tmp_path, **{**BASE, **chosen})
        assert [trainer.round_of(epoch) for epoch in range(7)] == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"classifiers": 1}, "classifiers=1 must be 2 or more; one alone is `self_training`"),
        ({"new_label": "vote"}, "new_label='vote' is not one of"),
        ({"retrain": "no"}, "retrain='no' is not one of"),
        ({"relabel_epochs": -1}, "relabel_epochs=-1 must be 0 or more"),
        ({"retrain": "afresh", "relabel_epochs": 2, "head_warmup_epochs": 2}, "every 2 epochs .* never learn again"),
        ({"warmup_epochs": 0}, "warmup_epochs=0 must be 1 or more"),
        ({"distribution_alignment": True}, "come from several at the end of an epoch"),
    ],
)
def test_values_that_are_not_allowed(given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        MCILArguments(str(tmp_path), use_cpu=True, **given)
