"""Co-teaching against a literal transcription, and what it does to wrong labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers import made_data
from helpers.suite_checks import check_resume
from helpers.suite_methods import BASE, make_trainer, run, settings, state_of
from torch import Tensor

from hf_ambiser.methods.co_teaching import CoTeachingArguments, CoTeachingTrainer
from hf_ambiser.methods.co_teaching.selection import easiest, keep_rate, n_kept
from hf_ambiser.training.sampler import StepKey
from hf_ambiser.training.twin import make_twin


torch.set_num_threads(1)


# ---- how many, and which -----------------------------------------------------------------------------------------


def test_the_share_kept_falls_as_in_algorithm_1():
    rates = [keep_rate(epoch, 0.4, 4) for epoch in range(7)]
    assert rates == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6])
    assert [n_kept(8, rate) for rate in rates] == [8, 7, 6, 6, 5, 5, 5]
    assert n_kept(1, 0.1) == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_easiest_are_those_of_a_sorted_list(seed):
    rng = np.random.default_rng(seed)
    index, loss = rng.permutation(40)[:13], rng.integers(0, 5, 13) / 4  # with ties
    expected = {i for _, i in sorted(zip(loss.tolist(), index.tolist(), strict=True))[: n_kept(13, 0.6)]}
    for order in (np.arange(13), rng.permutation(13)):
        kept = easiest(torch.tensor(index[order]), torch.tensor(loss[order]), 0.6, 40)
        assert set(kept.nonzero().flatten().tolist()) == expected


@pytest.mark.parametrize("given", [{"forget_rate": 1.0}, {"forget_rate": -0.1}, {"ramp_epochs": 0}, {"select": "all"}])
def test_arguments_that_are_not_allowed(given, tmp_path):
    with pytest.raises(ValueError, match=next(iter(given))):
        CoTeachingArguments(output_dir=str(tmp_path), use_cpu=True, **given)


# ---- the whole method, slowly ------------------------------------------------------------------------------------


class Recorded(CoTeachingTrainer):
    """Keeps which utterances each step saw."""

    def update_state(self, rows: dict[str, Tensor]) -> None:
        super().update_state(rows)
        self.seen = [*getattr(self, "seen", []), rows["index"].tolist()]


def loss_of(network: Any, trainer: CoTeachingTrainer, i: int) -> Tensor:
    """Cross-entropy of one clip, alone."""
    batch = trainer.collate([trainer.data[StepKey(0, i, ())]])
    logits = network(input_values=batch["input_values"], attention_mask=batch["attention_mask"]).logits[0]
    return torch.logsumexp(logits, dim=0) - logits[int(trainer.table.observed[i].argmax())]


def transcribed_step(first: Any, second: Any, trainer: Any, batch: list[int], rate: float) -> list[set[int]]:
    """Algorithm 1, lines 4 to 8, by plain gradient descent; what each network learnt from."""
    losses = [{i: loss_of(network, trainer, i) for i in batch} for network in (first, second)]
    n = max(1, math.floor(rate * len(batch) + 0.5))
    easy = [set(sorted(batch, key=lambda i, own=own: own[i].item())[:n]) for own in losses]
    for network, own, chosen in ((first, losses[0], easy[1]), (second, losses[1], easy[0])):
        parameters = [p for p in network.parameters() if p.requires_grad]
        mean = sum(own[i] for i in chosen) / len(chosen)
        gradients = torch.autograd.grad(mean, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= trainer.args.learning_rate * gradient
    return [easy[1], easy[0]]


@pytest.mark.parametrize("cut", [(8, 1), (2, 4)])
def test_two_epochs_are_the_literal_transcription(cut, tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.suite_methods.load_method", lambda name: Recorded)
    chosen = dict(forget_rate=0.5, ramp_epochs=1, num_train_epochs=2, learning_rate=0.05)
    size = dict(per_device_train_batch_size=cut[0], gradient_accumulation_steps=cut[1])
    trainer = make_trainer("co_teaching", tmp_path, **{**BASE, **chosen, **size})
    first, second = made_data.tiny_model().train(), make_twin(made_data.tiny_model(), BASE["seed"])
    trainer.train()
    assert len(trainer.seen) == 6
    weight, peer_weight = {}, {}
    for step, batch in enumerate(trainer.seen):
        learnt = transcribed_step(first, second, trainer, batch, 1.0 if step < 3 else 0.5)
        assert [len(one) for one in learnt] == ([8, 8] if step < 3 else [4, 4])
        weight |= {i: float(i in learnt[0]) for i in batch}
        peer_weight |= {i: float(i in learnt[1]) for i in batch}
    assert trainer.table.columns["weight"].tolist() == [weight[i] for i in range(21)]
    assert trainer.table.columns["peer_weight"].tolist() == [peer_weight[i] for i in range(21)]
    assert weight != peer_weight
    for got, expected in ((trainer.model, first), (trainer.peer, second)):
        for (name, p), q in zip(got.named_parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=name)


def test_selection_over_whole_epochs_is_the_sorted_table(tmp_path):
    trainer = make_trainer("co_teaching", tmp_path, **settings("co_teaching:whole_epoch", "ranks", num_train_epochs=2))
    trainer.train()
    columns = {name: column.tolist() for name, column in trainer.table.columns.items()}
    n = n_kept(21, keep_rate(2, 0.25, 2))  # the end of the second epoch decides for the third
    for kept, judge in (("kept", "peer_loss"), ("peer_kept", "loss")):
        expected = sorted(range(21), key=lambda i, by=judge: columns[by][i])[:n]
        assert {i for i in range(21) if columns[kept][i]} == set(expected)
    assert sum(columns["weight"]) == n_kept(21, keep_rate(1, 0.25, 2))  # what the second epoch learnt from


def test_nothing_forgotten_is_hard_vote(tmp_path):
    chosen = settings("hard_vote", "learns")
    plain = run("hard_vote", tmp_path / "plain", **chosen)
    got = run("co_teaching", tmp_path / "pair", **chosen, forget_rate=0.0)
    for name, tensor in plain.tensors.items():
        assert torch.equal(got.tensors[name], tensor), name


def test_stopped_and_resumed_inside_an_epoch_of_micro_batches_is_bit_equal(tmp_path):
    """The pass beforehand draws dropout masks, so it must come after the random state is restored."""
    cut = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    check_resume("co_teaching", tmp_path, stops=(5,), arguments=cut)


# ---- the second network ------------------------------------------------------------------------------------------


def test_the_second_network_is_drawn_anew_and_a_pretrained_encoder_is_not(tmp_path):
    model = made_data.tiny_model(made_data.tiny_config(encoder="wav2vec2"))
    state = torch.random.get_rng_state()
    peer, again = make_twin(model, 3), make_twin(model, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    other = {name for name, p in peer.named_parameters() if not torch.equal(p, model.get_parameter(name))}
    assert any(name.startswith("encoder.") for name in other) and any(name.startswith("head.") for name in other)
    assert all(torch.equal(p, again.get_parameter(name)) for name, p in peer.named_parameters())
    model.encoder.save_pretrained(tmp_path / "encoder")
    model = type(model).from_encoder(tmp_path / "encoder", num_labels=4)
    model.freeze_feature_encoder()
    peer = make_twin(model, 3)
    for name, p in peer.named_parameters():
        own = model.get_parameter(name)
        assert (p is own) == (not own.requires_grad)
        assert name.startswith("head.") or torch.equal(p, own), name
    assert not torch.equal(peer.head.dense.weight, model.head.dense.weight)


def test_both_networks_stand_in_one_optimizer_and_only_what_is_trained_in_the_state(tmp_path):
    trainer = make_trainer(
        "co_teaching", tmp_path, encoder="wav2vec2", lora=True, **settings("co_teaching", "loads", weight_decay=0.1)
    )
    groups = trainer.create_optimizer().param_groups
    names = {id(p): name for network in (trainer.model, trainer.peer) for name, p in network.named_parameters()}
    for group in groups:
        half = len(group["params"]) // 2
        both = [[names[id(p)] for p in part] for part in (group["params"][:half], group["params"][half:])]
        assert both[0] == both[1]
    trained = {name for name, p in trainer.peer.named_parameters() if p.requires_grad}
    assert sum(len(group["params"]) for group in groups) == 2 * len(trained)
    buffers = {name for name, _ in trainer.peer.named_buffers()}
    kept = {name.removeprefix("peer.") for name in trainer.method_state if name.startswith("peer.")}
    assert trained <= kept and kept - trained <= buffers


def test_clipping_holds_for_each_network(tmp_path):
    chosen = settings("co_teaching", "loads", max_grad_norm=0.01, max_steps=1)
    trainer = make_trainer("co_teaching", tmp_path, **chosen)
    before = state_of(trainer)
    trainer.train()
    after = state_of(trainer)
    for start in ("model.", "method.peer."):
        moved = torch.cat([(after[k] - before[k]).flatten() for k in before if k.startswith(start)])
        assert float(moved.norm()) == pytest.approx(0.01 * BASE["learning_rate"], rel=1e-3)


# ---- what it is for ----------------------------------------------------------------------------------------------


def with_wrong_labels(split: Any) -> Any:
    """40 % of the labels replaced by another class, drawn uniformly."""
    rng = np.random.default_rng(7)
    labels = np.array(split["label"])
    wrong = rng.permutation(len(labels))[: round(0.4 * len(labels))]
    labels[wrong] = (labels[wrong] + rng.integers(1, 4, len(wrong))) % 4
    return split.map(lambda row, i: {"label": int(labels[i])}, with_indices=True, load_from_cache_file=False)


@pytest.mark.parametrize("select", ["batch", "epoch"])
def test_of_40_percent_wrong_labels_more_are_ignored_than_of_right_ones(select, tmp_path, monkeypatch):
    n = 80
    sized = made_data.training_set
    monkeypatch.setattr(made_data, "training_set", lambda *args, **kw: sized(*args, n_labelled=n, **kw))
    chosen = {**BASE, "optim": "adamw_torch", "learning_rate": 5e-3, "per_device_train_batch_size": 16}
    chosen |= {"num_train_epochs": 16, "forget_rate": 0.4, "ramp_epochs": 8, "select": select}
    trainer = make_trainer("co_teaching", tmp_path, change=with_wrong_labels, **chosen)
    trainer.train()
    wrong = trainer.table.observed.argmax(dim=1) != torch.arange(n) % 4
    assert int(wrong.sum()) == 32
    for name in ("weight", "peer_weight"):
        ignored = trainer.table.columns[name] == 0
        assert 30 <= int(ignored.sum()) <= 32  # of each batch of 16, 6 are; of all 80, 32
        assert int((ignored & wrong).sum()) > int((ignored & ~wrong).sum()), name
