"""A log-mel encoder with batch norm learns under every kind of method, and its moving averages are never lost.

Accumulation and ranks are no properties here: the statistics of a batch are those of what is computed together.
"""

from __future__ import annotations

import pytest
import torch
from helpers.suite_checks import check_checkpointing, check_resume
from helpers.suite_methods import ONE_OF_A_KIND, make_trainer, needs, settings

from hf_ambiser.methods import load_method
from hf_ambiser.models.valid_batch_norm import ValidBatchNorm
from hf_ambiser.training.weight_average import learning_tensors


# Methods whose network has an encoder of waveforms; those of others take their spectrum, or features, as they are.
KINDS = [method for method in ONE_OF_A_KIND if load_method(method).model_family == "prototype"]


def norms_of(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, ValidBatchNorm)}


@pytest.mark.parametrize("method", KINDS)
def test_a_method_learns_with_batch_norm(method, tmp_path):
    chosen = settings(method, "resume")
    trainer = make_trainer(method, tmp_path, encoder="batch-norm", **chosen)
    before = {name: norm.running_mean.clone() for name, norm in norms_of(trainer.model).items()}
    trainer.train()
    norms = norms_of(trainer.model)
    assert len(norms) == len(before) == 2
    for name, norm in norms.items():
        assert torch.isfinite(norm.running_var).all() and not torch.equal(norm.running_mean, before[name])


@pytest.mark.parametrize("method", ["ipr", "co_teaching"])
def test_stopped_and_resumed_equals_uninterrupted(method, tmp_path):
    needs(method, "resume")
    check_resume(method, tmp_path, encoder="batch-norm", arguments={"average_weights": 0.7})


def test_activation_checkpointing_counts_a_batch_once(tmp_path):
    check_checkpointing("ipr", tmp_path, encoder="batch-norm")


@pytest.mark.parametrize("part", ["below adapters", "in a frozen encoder"])
def test_statistics_that_do_not_learn_stay(part, tmp_path):
    chosen = settings("hard_vote", "learns")
    trainer = make_trainer("hard_vote", tmp_path, encoder="batch-norm", lora=part == "below adapters", **chosen)
    if part == "in a frozen encoder":
        trainer.model.freeze_encoder()
    norms = norms_of(trainer.model)
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}
    trainer.train()
    for name, norm in norms.items():
        torch.testing.assert_close(norm.running_mean, before[name], atol=0, rtol=0)
    assert norms and not any("running_mean" in name for name in learning_tensors(trainer.model))
