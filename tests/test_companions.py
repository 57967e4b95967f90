"""Networks that only training has: how they begin, learn, are averaged over ranks, saved and refused.

That they resume, survive kills and equal one process on two ranks is tested on the methods that have one
(`test_every_method.py`, `test_two_ranks.py`, `test_killed_runs.py`).
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from helpers.suite_methods import BASE, make_trainer, state_of
from torch import Tensor, nn

from hf_ambiser.training import companions
from hf_ambiser.training.companions import CompanionTrainer, average_gradients, in_float32


class Judged(CompanionTrainer):
    """Learns beside its labels which utterances have an odd number, by a small network on the embedding."""

    def set_up(self) -> None:
        super().set_up()
        self.judge = self.add_companion("judge", small_network, rate=3.0)
        self.other = self.add_companion("other", small_network)

    def extra_loss(self, outputs: Any, batch: Any) -> Tensor:
        odd = (batch.index % 2).float()
        said = in_float32(self.judge, outputs.embedding.detach()).squeeze(1)
        values = nn.functional.binary_cross_entropy_with_logits(said, odd, reduction="none")
        return self.effective_mean(values, "labelled")


def small_network() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 1))


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.suite_methods.load_method", lambda name: Judged)
    return lambda **given: make_trainer("judged", tmp_path / "run", **{**BASE, "max_steps": 2, **given})


def test_it_begins_by_seed_and_name_alone(made):
    torch.manual_seed(11)
    one = made()
    after = torch.random.get_rng_state()
    torch.manual_seed(12)
    again, another = made(), made(seed=4)
    assert torch.equal(one.judge[0].weight, again.judge[0].weight)
    assert not torch.equal(one.judge[0].weight, one.other[0].weight)
    assert not torch.equal(one.judge[0].weight, another.judge[0].weight)
    with mock.patch.object(Judged, "set_up", CompanionTrainer.set_up):
        torch.manual_seed(11)
        made()
    assert torch.equal(torch.random.get_rng_state(), after), "a companion changed random numbers of others"


def test_it_learns_with_the_model_and_is_saved_in_checkpoints_only(made, tmp_path):
    trainer = made(save_strategy="steps", save_steps=1)
    before = state_of(trainer)
    trainer.train()
    after = state_of(trainer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    judge = {name for name in before if name.startswith("method.judge.")}
    assert len(judge) == 6 and judge <= moved
    assert not any(name.startswith("method.other.") for name in moved), "it had no gradient"
    assert trainer.judge[0].weight.grad is None
    saved = {name for name in trainer.bare_model().state_dict() if "judge" in name}
    assert not saved
    again = made()
    again.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))
    for name in judge:
        assert torch.equal(state_of(again)[name], after[name]), name


@pytest.mark.parametrize("divided", [False, True])
def test_its_groups_have_its_rate_and_the_runs_weight_decay(made, divided):
    trainer = made(weight_decay=0.1, **({"encoder_learning_rate": 1e-4, "head_warmup_epochs": 0.5} if divided else {}))
    for _ in range(2):
        optimizer = trainer.create_optimizer()
    name_of = {id(p): f"{n}.{key}" for n, c in trainer.companions.items() for key, p in c.module.named_parameters()}
    got = {
        name_of[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
        if id(p) in name_of
    }
    rate = BASE["learning_rate"]
    for name, decay in {"0.weight": 0.1, "0.bias": 0.0, "2.weight": 0.0, "3.weight": 0.1, "3.bias": 0.0}.items():
        assert got[f"judge.{name}"] == pytest.approx((3 * rate, decay))
        assert got[f"other.{name}"] == pytest.approx((rate, decay))
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    trainer.train()  # with a warm-up of the head, whose groups a companion must not disturb


def test_clipping_holds_for_it_alone(made):
    trainer = made(max_grad_norm=0.01, max_steps=1)
    before = state_of(trainer)
    trainer.train()
    after = state_of(trainer)
    for start, rate in (("model.", 1), ("method.judge.", 3)):
        moved = torch.cat([(after[k] - before[k]).flatten() for k in before if k.startswith(start)])
        assert float(moved.norm()) == pytest.approx(0.01 * BASE["learning_rate"] * rate, rel=1e-3)


def test_ranks_share_a_gradient_that_one_of_them_has(monkeypatch):
    module = small_network()
    module[0].weight.grad = torch.full_like(module[0].weight, 2.0)
    monkeypatch.setattr(companions, "world_size", lambda: 2)
    sizes = [p.numel() for p in module.parameters()]
    other = torch.zeros(sum(sizes) + len(sizes))  # the other rank has a gradient of the second parameter alone
    other[sizes[0] : sizes[0] + sizes[1]] = 3.0
    other[sum(sizes) + 1] = 1.0
    monkeypatch.setattr(companions.dist, "all_reduce", lambda tensor: tensor.add_(other))
    average_gradients(module)
    assert torch.equal(module[0].weight.grad, torch.full_like(module[0].weight, 1.0))
    assert torch.equal(module[0].bias.grad, torch.full_like(module[0].bias, 1.5))
    assert all(p.grad is None for p in module[2:].parameters())


def test_it_computes_in_float32_under_autocast():
    module, given = small_network(), torch.randn(3, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(given).dtype == torch.bfloat16
        got = in_float32(module, given.bfloat16())
    assert got.dtype == torch.float32 and torch.equal(got, module(given.bfloat16().float()))


def test_what_is_refused(made, monkeypatch):
    trainer = made()
    with pytest.raises(ValueError, match="has a companion 'judge' already"):
        trainer.add_companion("judge", small_network)
    with pytest.raises(ValueError, match="rate=2.0: a twin learns at the rates of the model"):
        trainer.add_companion("copy", small_network, rate=2.0, twin=True)
    trainer.is_deepspeed_enabled = True
    with pytest.raises(ValueError, match="FSDP or DeepSpeed, because they do not shard its third one"):
        trainer.add_companion("third_one", small_network)
    optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    trainer = made()
    trainer.optimizer, trainer.lr_scheduler = optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer)
    with pytest.raises(ValueError, match="give no schedule by `optimizers`"):
        trainer.create_optimizer()
