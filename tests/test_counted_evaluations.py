"""What a method does before it does what it is for counts neither for early stopping nor for the best model."""

from __future__ import annotations

import pytest
from helpers.suite_methods import METHODS, make_trainer, settings

from hf_ambiser.methods import load_method


# Evaluated after each epoch. The figure gets worse and worse, so patience of one would end it after the second.
COUNTED = {
    "num_train_epochs": 5,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "load_best_model_at_end": True,
    "metric_for_best_model": "loss",
    "greater_is_better": False,
    "early_stopping_patience": 1,
}
EPOCHS = {"divide_mix": {"warmup_epochs": 2}, "emotion_profile_refinery": {"stages": 2}}
PREPARING = ["divide_mix", "emotion_existence", "emotion_profile_refinery", "ipr", "mcil", "self_training"]


def prepared(method, folder):
    more = EPOCHS.get(method, {"warmup_epochs": 2} if "warmup_epochs" in fields_of(method) else {})
    return make_trainer(method, folder, **settings(method, "resume") | COUNTED | more)


def fields_of(method):
    return load_method(method).arguments_class.__dataclass_fields__


def test_every_method_with_a_beginning_of_its_own_says_so(tmp_path):
    assert [method for method in METHODS if prepared(method, tmp_path / method).counted_after] == PREPARING


def trained_worse_and_worse(method, folder, monkeypatch):
    """A trainer after training in which each evaluation was worse than the one before, and the epochs of these."""
    trainer = prepared(method, folder)
    evaluate, seen = trainer.evaluation_loop, []

    def worse(*args, **kwargs):
        output = evaluate(*args, **kwargs)
        seen.append(trainer.state.epoch)
        return output._replace(metrics={**output.metrics, "eval_loss": float(len(seen))})

    monkeypatch.setattr(trainer, "evaluation_loop", worse)
    trainer.train()
    return trainer, seen


@pytest.mark.parametrize("method", PREPARING)
def test_worse_and_worse_figures_stop_no_run_before_its_method_began(method, tmp_path, monkeypatch):
    trainer, seen = trained_worse_and_worse(method, tmp_path, monkeypatch)
    begins = trainer.counted_after
    assert begins >= 2 and seen == [float(epoch) for epoch in range(1, int(begins) + 3)]
    assert trainer.state.best_global_step == (begins + 1) * (trainer.state.max_steps // 5)


def test_a_method_without_one_stops_as_early_as_ever(tmp_path, monkeypatch):
    trainer, seen = trained_worse_and_worse("soft_vote", tmp_path, monkeypatch)
    assert len(seen) == 2 and trainer.state.best_global_step == trainer.state.max_steps // 5


# The first stages of the other two grow with the epochs, so their last one always counts.
@pytest.mark.parametrize("method", ["divide_mix", "ipr", "mcil", "self_training"])
def test_a_run_without_an_evaluation_that_counts_chooses_no_model(method, tmp_path):
    trainer = prepared(method, tmp_path)
    trainer.args.num_train_epochs = trainer.counted_after
    with pytest.raises(ValueError, match=r"the first \d+ epochs of \w+Trainer .* do not count, and the run has \d+\."):
        trainer.train()


NONE = {
    "epoch": ({"eval_strategy": "epoch", "eval_delay": 999}, "eval_delay=999: the run has 5 epochs"),
    "steps": (
        {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "eval_delay": 999},
        "eval_delay=999: the run has [0-9]+ steps",
    ),
    "part of an epoch": (
        {"eval_strategy": "epoch", "num_train_epochs": 2.5, "eval_delay": 2.7},
        "eval_delay=2.7: the run has 2.5 epochs",
    ),
    "no": ({"eval_strategy": "no", "save_strategy": "best", "early_stopping_patience": None}, "eval_strategy='no'"),
}


@pytest.mark.parametrize("case", NONE)
def test_a_model_is_not_chosen_among_no_evaluation(case, tmp_path):
    given, named = NONE[case]
    given = {"save_strategy": given["eval_strategy"], **given}
    with pytest.raises(ValueError, match=named):
        make_trainer("soft_vote", tmp_path, **settings("soft_vote", "resume") | COUNTED | given).train()
