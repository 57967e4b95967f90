"""The shared suite catches what it is there to catch: each test plants one fault and sees the property break.

That the properties hold without the fault is `test_every_method.py`. Faults that only ranks show are planted in
`test_two_ranks.py`. A fault is planted in the method in which it can show at all, IPR where state is needed.
"""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers.trainer
from accelerate import Accelerator
from helpers import made_data, suite_checks, suite_loads
from helpers.suite_checks import (
    Stopped,
    check_accumulation,
    check_checkpointing,
    check_learns,
    check_precision,
    check_resume,
    check_skipped,
    check_unread,
    local_mean,
)
from torch import nn

import hf_ambiser.models.encoder_wav2vec2 as wav2vec2
from hf_ambiser.methods.ipr import IPRTrainer
from hf_ambiser.training import checkpoints
from hf_ambiser.training.augment import Augmenter
from hf_ambiser.training.checkpoints import all_checkpoints
from hf_ambiser.training.collator import UtteranceCollator
from hf_ambiser.training.dataset import TrainingSet
from hf_ambiser.training.label_table import LabelTable
from hf_ambiser.training.resuming import ResumingTrainer
from hf_ambiser.training.sampler import StepSampler
from hf_ambiser.training.trainer import AmbiSERTrainer


def caught(words: str):
    return pytest.raises(AssertionError, match=words)


# ---- batches and ranks ---------------------------------------------------------------------------------------------


def test_padding_that_counts_as_speech(tmp_path, monkeypatch):
    collate = UtteranceCollator.__call__

    def padded(self, items):
        batch = collate(self, items)
        return batch | {"attention_mask": torch.ones_like(batch["attention_mask"])}

    monkeypatch.setattr(UtteranceCollator, "__call__", padded)
    with caught("differs by|instead of"):
        check_accumulation("hard_vote", tmp_path)


def test_padding_that_leaks_through_the_group_norm(tmp_path, monkeypatch):
    monkeypatch.setattr(wav2vec2, "repair_padding", lambda encoder: None)
    with caught("differs by|instead of"):
        check_accumulation("hard_vote", tmp_path, encoder="wav2vec2")


def test_state_that_changes_with_every_micro_batch(tmp_path, monkeypatch):
    training_step = AmbiSERTrainer.training_step

    def eager(self, *args, **kwargs):
        loss = training_step(self, *args, **kwargs)
        self.step_taken()
        return loss

    monkeypatch.setattr(AmbiSERTrainer, "training_step", eager)
    with caught("differs|instead of"):
        check_accumulation("ipr", tmp_path)


def test_a_loss_that_is_a_mean_over_each_micro_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(AmbiSERTrainer, "effective_mean", local_mean)
    with caught("differs by|instead of"):
        check_accumulation("ipr", tmp_path)


def test_an_order_that_depends_on_how_a_batch_is_cut(tmp_path, monkeypatch):
    get = AmbiSERTrainer._get_train_sampler

    def shuffled(self, train_dataset=None) -> StepSampler:
        sampler = get(self, train_dataset)
        sampler.seed += self.args.per_device_train_batch_size
        return sampler

    monkeypatch.setattr(AmbiSERTrainer, "_get_train_sampler", shuffled)
    with caught("differs|instead of"):
        check_accumulation("hard_vote", tmp_path)


def test_an_undeclared_exception(tmp_path, monkeypatch):
    """IPR's own: with its contrast, which it declares, accumulation does not hold."""
    monkeypatch.setattr(IPRTrainer, "exceptions", {})
    with caught("differs|instead of"):
        check_accumulation("ipr", tmp_path)


# ---- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_resume_shifted_by_one_batch(shift, tmp_path, monkeypatch):
    skip = transformers.trainer.skip_first_batches
    monkeypatch.setattr(transformers.trainer, "skip_first_batches", lambda loader, n: skip(loader, n + shift))
    with caught("bit-equal|instead of|last checkpoints"):
        check_resume("hard_vote", tmp_path, stops=(5,))


def test_a_resume_without_random_state(tmp_path, monkeypatch):
    monkeypatch.setattr(AmbiSERTrainer, "_load_rng_state", lambda self, checkpoint: None)
    with caught("bit-equal|instead of"):
        check_resume("hard_vote", tmp_path, stops=(5,))


def test_a_resume_without_the_methods_state(tmp_path, monkeypatch):
    monkeypatch.setattr(AmbiSERTrainer, "_load_all_state", lambda self, saved: None)
    with caught("bit-equal|instead of"):
        check_resume("ipr", tmp_path, stops=(5,))


def test_an_adapter_whose_prototypes_are_not_restored(tmp_path, monkeypatch):
    load = AmbiSERTrainer._load_from_checkpoint

    def forgetful(self, *args, **kwargs):
        before = self.prototypes.clone()
        load(self, *args, **kwargs)
        self.prototypes = before

    monkeypatch.setattr(IPRTrainer, "_load_from_checkpoint", forgetful)
    with caught("bit-equal|instead of"):
        check_resume("ipr", tmp_path, stops=(5,), lora=True, encoder="wav2vec2")


# Checkpoints on the epochs' boundaries only: 3, 6 and 9.
BOUNDARY = {"save_steps": 3, "eval_steps": 3}


def test_an_epochs_end_lost_with_a_checkpoint_on_its_boundary(tmp_path, monkeypatch):
    check_resume("ipr", tmp_path / "as_is", stops=(4,), arguments=BOUNDARY)
    monkeypatch.setattr(ResumingTrainer, "go_on", ResumingTrainer._begin_leg)
    with caught("bit-equal|instead of"):
        check_resume("ipr", tmp_path, stops=(4,), arguments=BOUNDARY)


def test_the_last_epochs_end_lost(tmp_path, monkeypatch):
    def die_at_the_end(trainer):
        def epoch_finished(epoch):
            if epoch == 2:
                raise Stopped

        trainer.epoch_finished = epoch_finished

    check_resume("hard_vote", tmp_path / "as_is", stops=(99,), spoil=die_at_the_end)
    monkeypatch.setattr(ResumingTrainer, "go_on", ResumingTrainer._begin_leg)
    with caught("other trajectory files"):
        check_resume("hard_vote", tmp_path, stops=(99,), spoil=die_at_the_end)


def test_an_epochs_end_that_runs_again(tmp_path, monkeypatch):
    go_on = ResumingTrainer.go_on

    def again(self):
        go_on(self)
        self.method_state["epochs_finished"].clamp_(max=max(self.epoch - 1, 0))
        self.finish_epochs(self.epoch)

    monkeypatch.setattr(ResumingTrainer, "go_on", again)
    with caught("bit-equal|instead of"):
        # Resumed in epoch 1, whose prototypes are computed once more, by a model that has moved on.
        check_resume("ipr", tmp_path, stops=(5,), arguments={"warmup_epochs": 2})


def test_augmentation_from_the_global_random_state(tmp_path, monkeypatch):
    draw = Augmenter.draw
    monkeypatch.setattr(
        Augmenter, "draw", lambda self, seed, epoch, key: draw(self, np.random.randint(10**6), epoch, key)
    )
    with caught("bit-equal|instead of"):
        check_resume("ipr", tmp_path, stops=(5,))


def test_a_torn_checkpoint_that_counts(tmp_path, monkeypatch):
    def tear(trainer):
        def save(folder):
            raise Stopped  # the model is written, the optimiser's state is not

        trainer._save_optimizer_and_scheduler = save

    check_resume("hard_vote", tmp_path / "as_is", stops=(99,), spoil=tear)
    newest = lambda folder, with_best: checkpoints.Choice((all_checkpoints(folder) or [None])[-1], {})  # noqa: E731
    monkeypatch.setattr(checkpoints, "choose", newest)
    monkeypatch.setattr(checkpoints, "drop_incomplete", lambda folder: [])
    with caught("could not go on|bit-equal|instead of"):
        check_resume("hard_vote", tmp_path, stops=(99,), spoil=tear)


# ---- what is read, what is skipped, which precision ----------------------------------------------------------------


def test_a_trainer_that_reads_the_hidden_labels(tmp_path, monkeypatch):
    initialise, correct = TrainingSet.__init__, AmbiSERTrainer.correct

    def leaky(self, labelled, ambiguous=None, **kwargs):
        initialise(self, labelled, ambiguous, **kwargs)
        self.observed[self.n_labelled :] = np.asarray(ambiguous["reference_soft_label"])

    def supervised(self, outputs, batch):
        targets, weights = correct(self, outputs, batch)
        return targets, weights + batch.ambiguous

    monkeypatch.setattr(TrainingSet, "__init__", leaky)
    monkeypatch.setattr(IPRTrainer, "correct", supervised)
    with caught("bit-equal"):
        check_unread("ipr", tmp_path)


def test_targets_from_a_reference_column(tmp_path, monkeypatch):
    targets = lambda data, target: (np.asarray(data["reference_soft_label"]), np.ones(len(data), bool))  # noqa: E731
    monkeypatch.setattr("hf_ambiser.training.dataset._targets", targets)
    with caught("bit-equal"):
        check_unread("hard_vote", tmp_path)


def test_state_that_changes_in_a_skipped_step(tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", False)
    with caught("skipped: True, changed"):
        check_skipped("ipr", tmp_path, monkeypatch)


def test_state_in_half_precision(tmp_path, monkeypatch):
    def set_up(self):
        self.method_state["average"] = torch.zeros(3, dtype=torch.bfloat16)

    monkeypatch.setattr(AmbiSERTrainer, "set_up", set_up)
    with caught("average is torch.bfloat16"):
        check_precision("hard_vote", tmp_path)


def test_autocast_that_is_off(tmp_path, monkeypatch):
    make = suite_checks.make_trainer
    monkeypatch.setattr(suite_checks, "make_trainer", lambda *args, bf16=False, **kwargs: make(*args, **kwargs))
    with caught("autocast was off"):
        check_precision("hard_vote", tmp_path)


def test_checkpointing_that_is_off(tmp_path, monkeypatch):
    train = suite_checks.run
    monkeypatch.setattr(suite_checks, "run", lambda *args, activation_checkpointing=0, **kw: train(*args, **kw))
    with caught("nothing was computed again"):
        check_checkpointing("hard_vote", tmp_path)


def test_a_model_that_changes_with_every_forward_pass(tmp_path, monkeypatch):
    train, forward, calls = suite_checks.run, nn.Conv2d.forward, [0]

    def drifting(self, values):
        calls[0] += self.training
        return forward(self, values) * (1 + 1e-3 * calls[0])

    def from_zero(*args, **kwargs):
        calls[0] = 0
        return train(*args, **kwargs)

    monkeypatch.setattr(nn.Conv2d, "forward", drifting)
    monkeypatch.setattr(suite_checks, "run", from_zero)
    with caught("differs by|instead of"):
        check_checkpointing("hard_vote", tmp_path)


# ---- learning, saving and loading ----------------------------------------------------------------------------------


def test_a_parameter_that_gets_no_gradient(tmp_path, monkeypatch):
    tiny_model = made_data.tiny_model

    def with_a_dead_part(*args, **kwargs):
        model = tiny_model(*args, **kwargs)
        model.head.forgotten = nn.Parameter(torch.ones(2))
        return model

    monkeypatch.setattr(made_data, "tiny_model", with_a_dead_part)
    with caught("never moved.*forgotten"):
        check_learns("hard_vote", tmp_path)


def test_targets_that_are_shuffled(tmp_path, monkeypatch):
    correct = AmbiSERTrainer.correct

    def wrong(self, outputs, batch):
        targets, weights = correct(self, outputs, batch)
        return targets[torch.randperm(len(targets))], weights

    monkeypatch.setattr(AmbiSERTrainer, "correct", wrong)
    with caught("divergence"):
        check_learns("hard_vote", tmp_path)


def test_a_method_whose_ambiguous_phase_the_suite_never_reaches(tmp_path, monkeypatch):
    monkeypatch.setattr(IPRTrainer, "suite_settings", {})
    with caught("never shows ipr an ambiguous clip"):
        check_learns("ipr", tmp_path)


def test_prototypes_that_are_not_saved(tmp_path, monkeypatch):
    trainer = check_learns("ipr", tmp_path / "run")
    save = type(trainer.model).save_pretrained

    def without(self, folder, state_dict=None, **kwargs):
        state = {k: v for k, v in (state_dict or self.state_dict()).items() if "prototypes" not in k}
        save(self, folder, state_dict=state, **kwargs)

    suite_loads.save(trainer, tmp_path / "as_is")
    suite_loads.check_loads(tmp_path / "as_is", trainer)
    monkeypatch.setattr(type(trainer.model), "save_pretrained", without)
    suite_loads.save(trainer, tmp_path)
    with caught("Mismatch|mismatch"):
        suite_loads.check_loads(tmp_path, trainer)


def test_an_adapter_without_its_head(tmp_path, monkeypatch):
    import peft

    config = peft.LoraConfig
    monkeypatch.setattr(peft, "LoraConfig", lambda modules_to_save, **fields: config(**fields))
    trainer = suite_loads.train_adapter("ipr", tmp_path)
    with caught("Mismatch|mismatch"):
        suite_loads.check_adapter(tmp_path, trainer)


def test_a_label_table_that_is_not_written(tmp_path, monkeypatch):
    """The comparison looks into the table: one write left out on the resumed side is seen."""
    write, left = LabelTable.write, [True]

    def lazy(self, index, **values):
        if left and Path(tmp_path / "stopped" / "checkpoint-8").exists():
            left.clear()
            return
        write(self, index, **values)

    monkeypatch.setattr(LabelTable, "write", lazy)
    with caught("bit-equal"):
        check_resume("self_training", tmp_path, stops=(5,))


def test_a_test_that_reaches_for_the_network():
    for reach in (lambda: socket.create_connection(("example.org", 80), 1), lambda: socket.getaddrinfo("8.8.8.8", 53)):
        with pytest.raises(OSError, match="tests run without a network"):
            reach()
