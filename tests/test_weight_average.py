"""`average_weights`: which weights are averaged, when, and where the average is scored, saved and gone on from."""

from __future__ import annotations

import json

import pytest
import torch
from helpers import made_data
from helpers.suite_checks import assert_equal_tensors, assert_same_run_folder, check_ranks, check_resume
from helpers.suite_methods import EVERY_KIND, ONE_OF_A_KIND, make_trainer, needs, settings
from helpers.suite_ranks import forked_ranks
from safetensors.torch import load_file
from transformers import TrainerCallback

from hf_ambiser.methods import load_method
from hf_ambiser.training.checkpoints import all_checkpoints
from hf_ambiser.training.weight_average import learning_tensors


DECAY = 0.7
ON_RANKS = ["co_teaching", "ipr", "meta"]
# Checkpoints of the average are of one place in the code; these have most beside it.
RESUMED = ["ipr", "mcil", "meta", "slc"]
# Networks that begin again in the middle of a run, and their average with them: arguments, and what counts the rounds.
AFRESH = {"emotion_profile_refinery": ({}, "stage"), "mcil": ({"retrain": "afresh"}, "round")}
SAVED = {"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 9}


class _Weights(TrainerCallback):
    """Copies of the network's own weights after each optimiser step that had a gradient, and where it began."""

    def __init__(self, trainer, counts_rounds=""):
        self.trainer, self.counts_rounds = trainer, counts_rounds
        self.seen, self.rounds = [], []

    def _now(self):
        return {name: t.detach().clone() for name, t in learning_tensors(self.trainer.model).items()}

    def on_train_begin(self, args, state, control, **kwargs):
        self.first = self._now()

    def on_optimizer_step(self, args, state, control, **kwargs):
        if any(p.grad is not None for p in self.trainer.model.parameters()):
            self.seen.append(self._now())
            self.rounds.append(int(self.trainer.method_state.get(self.counts_rounds, 0)))


def trained(method, folder, counts_rounds="", **arguments):
    trainer = make_trainer(method, folder, **settings(method, "resume") | arguments)
    watch = _Weights(trainer, counts_rounds)
    trainer.add_callback(watch)
    trainer.train()
    return trainer, watch


def assert_average(got, first, seen):
    """`got` is the average of the weights `seen`: the definition, tensor by tensor, in double precision."""
    average = {name: tensor.double() for name, tensor in first.items()}
    for n, weights in enumerate(seen):
        d = min(DECAY, (1 + n) / (10 + n))
        for name, tensor in weights.items():
            average[name] = d * average[name] + (1 - d) * tensor.double()
    for name, tensor in average.items():
        torch.testing.assert_close(got[name].double(), tensor, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("method", [method for method in EVERY_KIND if method != "emotion_profile_refinery"])
def test_the_model_of_a_run_is_the_average_of_its_steps(method, tmp_path):
    trainer, watch = trained(method, tmp_path, average_weights=DECAY)
    got, last = learning_tensors(trainer.model), watch.seen[-1]
    assert_average(got, watch.first, watch.seen)
    assert any(not torch.equal(got[name], last[name]) for name in got), "the last weights are not the average"


@pytest.mark.parametrize("method", ["ipr", "mcil"])
def test_the_average_has_the_statistics_of_batch_norm_that_fit_its_weights(method, tmp_path):
    trainer, watch = trained(method, tmp_path, average_weights=DECAY, encoder="batch-norm", **SAVED)
    got, last = learning_tensors(trainer.model), watch.seen[-1]
    assert_average(got, watch.first, watch.seen)
    statistics = [name for name in got if name.endswith(("running_mean", "running_var"))]
    assert len(statistics) == 4 and not any(torch.equal(got[name], last[name]) for name in statistics)


@pytest.mark.parametrize("method", EVERY_KIND)
def test_learning_does_not_see_the_average(method, tmp_path):
    plain, own = trained(method, tmp_path / "plain", **SAVED)
    averaged, own_too = trained(method, tmp_path / "averaged", average_weights=DECAY, **SAVED)
    assert len(own.seen) == len(own_too.seen) > 0
    for before, after in zip(own.seen, own_too.seen, strict=True):
        assert_equal_tensors(after, before)
    assert_equal_tensors(averaged._all_state(), plain._all_state())
    losses = [[entry["loss"] for entry in one.training_log if "loss" in entry] for one in (plain, averaged)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("method", AFRESH)
def test_a_network_that_begins_again_has_a_new_average(method, tmp_path):
    arguments, rounds = AFRESH[method]
    trainer, watch = trained(method, tmp_path, rounds, average_weights=DECAY, **arguments)
    begun = watch.rounds.index(watch.rounds[-1])
    assert 0 < begun < len(watch.seen)
    assert_average(learning_tensors(trainer.model), watch.first, watch.seen[begun:])


@pytest.mark.parametrize(
    "method",
    [m if m in RESUMED else pytest.param(m, marks=pytest.mark.slow) for m in ONE_OF_A_KIND],
)
def test_stopped_and_resumed_with_an_average_is_bit_equal(method, tmp_path):
    needs(method, "resume")
    check_resume(method, tmp_path, arguments={"average_weights": DECAY})


def test_validation_and_checkpoints_have_the_average_and_the_run_its_best(tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss"}
    trainer, watch = trained("soft_vote", tmp_path, average_weights=DECAY, **SAVED, **best)
    evaluated = [entry for entry in trainer.training_log if "eval_loss" in entry]
    checkpoints = all_checkpoints(tmp_path)
    assert len(checkpoints) == len(evaluated) == 3
    for checkpoint, entry in zip(checkpoints, evaluated, strict=True):
        saved = load_file(checkpoint / "model.safetensors")
        assert_average(saved, watch.first, watch.seen[: int(entry["step"])])
        trainer.model.load_state_dict(saved)
        assert trainer.evaluate()["eval_loss"] == pytest.approx(entry["eval_loss"], rel=1e-6)
    chosen = load_file(tmp_path / f"checkpoint-{trainer.state.best_global_step}" / "model.safetensors")
    again, _ = trained("soft_vote", tmp_path / "again", average_weights=DECAY, **SAVED, **best)
    assert_equal_tensors({n: t for n, t in again.model.state_dict().items() if n in chosen}, chosen)


def test_an_error_in_an_evaluation_leaves_the_own_weights_in_the_model(tmp_path):
    arguments = settings("soft_vote", "resume") | SAVED | {"average_weights": DECAY}
    trainer = make_trainer("soft_vote", tmp_path, **arguments)
    watch = _Weights(trainer)
    trainer.add_callback(watch)

    def broken(*args):
        raise RuntimeError("broken")

    trainer.compute_metrics = broken
    with pytest.raises(RuntimeError, match="broken"):
        trainer.train()
    assert_equal_tensors(watch._now(), watch.seen[-1])


def test_an_average_with_lora_is_of_the_adapter(tmp_path):
    trainer, watch = trained("soft_vote", tmp_path, lora=True, encoder="wav2vec2", average_weights=DECAY)
    got = learning_tensors(trainer.model)
    assert any("lora" in name for name in got)
    assert_average(got, watch.first, watch.seen)


@pytest.mark.parametrize("value", [-0.1, 1, 1.5])
def test_another_decay_is_refused(value, tmp_path):
    with pytest.raises(ValueError, match=rf"average_weights={value} is the decay .* less than 1"):
        load_method("soft_vote").arguments_class(output_dir=str(tmp_path), average_weights=value)


IMPOSSIBLE = {
    "needs parameters in float32, and .* torch.bfloat16": lambda trainer: trainer.model.bfloat16(),
    "FSDP and DeepSpeed divide .*ddp": lambda trainer: setattr(trainer, "is_fsdp_enabled", True),
    "a schedule-free optimiser averages": lambda trainer: setattr(trainer.args, "optim", "schedule_free_adamw"),
    "model_init makes a new model": lambda trainer: setattr(trainer, "model_init", lambda: trainer.model),
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_weights_that_cannot_be_averaged_are_refused(message, tmp_path):
    trainer = make_trainer("soft_vote", tmp_path, **settings("soft_vote", "resume", average_weights=DECAY))
    trainer.check_average()
    IMPOSSIBLE[message](trainer)
    with pytest.raises(ValueError, match=rf"average_weights=0\.7:? {message}"):
        trainer.check_average()


def test_a_run_that_cannot_be_averaged_is_refused_before_it_begins(tmp_path):
    chosen = settings("slc", "resume", average_weights=DECAY, optim="schedule_free_adamw")
    with pytest.raises(ValueError, match=r"average_weights=0\.7: a schedule-free"):
        make_trainer("slc", tmp_path, **chosen)


def test_a_parameter_with_two_names_is_averaged_once(tmp_path):
    runs = []
    for name, decay in (("plain", 0.0), ("averaged", DECAY)):
        trainer = make_trainer("soft_vote", tmp_path / name, **settings("soft_vote", "resume", average_weights=decay))
        trainer.model.second_name = next(iter(trainer.model.head.children()))
        watch = _Weights(trainer)
        trainer.add_callback(watch)
        trainer.add_callback(_EvaluateOften(trainer))
        trainer.train()
        runs.append(watch.seen)
    for plain, averaged in zip(*runs, strict=True):
        assert_equal_tensors(averaged, plain)


class _EvaluateOften(TrainerCallback):
    def __init__(self, trainer):
        self.trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer.predict(made_data.evaluation_set())


def test_prototypes_stay_those_of_the_learning_network(tmp_path):
    saved = {}
    for name, decay in (("plain", 0.0), ("averaged", DECAY)):
        trained("ipr", tmp_path / name, average_weights=decay, **SAVED)
        saved[name] = [load_file(one / "model.safetensors") for one in all_checkpoints(tmp_path / name)]
    for plain, averaged in zip(saved["plain"], saved["averaged"], strict=True):
        assert torch.equal(plain["head.prototypes"], averaged["head.prototypes"])
        assert not torch.equal(plain["head.out_proj.weight"], averaged["head.out_proj.weight"])


@pytest.mark.parametrize(("was", "now"), [(0, 0.7), (0.7, 0), (0.7, 0.2)])
def test_a_run_goes_on_with_the_average_that_it_was_begun_with(was, now, tmp_path):
    trainer, _ = trained("soft_vote", tmp_path, max_steps=3, save_strategy="steps", save_steps=3, average_weights=was)
    trainer = make_trainer("soft_vote", tmp_path, **settings("soft_vote", "resume", average_weights=now))
    with pytest.raises(ValueError, match=rf"saved with average_weights={was}, and the run now has .*={now}\."):
        trainer.train(resume_from_checkpoint=True)


def test_predictions_after_training_are_those_of_the_saved_model(tmp_path):
    trainer, _ = trained("soft_vote", tmp_path, average_weights=DECAY)
    answer = trainer.predict(made_data.evaluation_set()).predictions
    trainer.save_model(str(tmp_path / "model"))
    again = type(trainer.model).from_pretrained(tmp_path / "model")
    assert_equal_tensors(dict(again.state_dict()), dict(trainer.model.state_dict()))
    trainer.model.load_state_dict(again.state_dict())
    assert (trainer.predict(made_data.evaluation_set()).predictions == answer).all()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    arguments = json.dumps({"average_weights": DECAY})
    return forked_ranks(tmp_path_factory.mktemp("two_ranks"), *ON_RANKS, arguments)


@pytest.mark.parametrize("case", ON_RANKS)
def test_two_ranks_have_the_average_of_one_process(case, two_ranks, tmp_path):
    check_ranks(case, tmp_path, two_ranks, average_weights=DECAY)
    folder = two_ranks / "resumed" / case
    assert_same_run_folder(folder / "stopped", folder / "whole")
