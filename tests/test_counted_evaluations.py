"""What a method does before it does what it is for counts neither for early stopping nor for the best model."""

from __future__ import annotations

import pytest
from helpers.suite_methods import METHODS, make_trainer, settings

from hf_ambiser.methods import load_method
from hf_ambiser.training.validation import best_epochs


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
BEGINNING = ["divide_mix", "ipr", "mcil", "self_training"]
PLAIN = {
    "load_best_model_at_end": False,
    "early_stopping_patience": None,
    "metric_for_best_model": None,
    "greater_is_better": None,
}


@pytest.mark.parametrize("by", ["num_train_epochs", "max_steps"])
@pytest.mark.parametrize("method", BEGINNING)
def test_a_run_that_would_never_come_to_what_its_method_is_for_is_refused(method, by, tmp_path):
    """Also where `max_steps` decides, of which the arguments do not know how many epochs it is."""
    trainer = prepared(method, tmp_path)
    for name, value in PLAIN.items():
        setattr(trainer.args, name, value)
    steps = len(trainer.get_train_dataloader()) // trainer.args.gradient_accumulation_steps
    trainer.args.num_train_epochs = 50 if by == "max_steps" else trainer.counted_after
    trainer.args.max_steps = int(trainer.counted_after * steps) if by == "max_steps" else -1
    with pytest.raises(ValueError, match=r"the first \d+ epochs of \w+Trainer prepare it, and the run has \d+"):
        trainer.train()


SHORT = {
    "warm-up of the head": ("hard_vote", {"head_warmup_epochs": 2}, 2, "learns for 2 epochs"),
    # Epochs 1, 2: the warm-up; 3 and 4: the last round, in which the networks have begun afresh.
    "last round": (
        "mcil",
        {"warmup_epochs": 2, "retrain": "afresh", "relabel_epochs": 0, "head_warmup_epochs": 2},
        4,
        "learns for 2 epochs",
    ),
    "no label epoch": ("meta", {}, 1, "labels and weights in every second epoch, and the run has 1"),
}


@pytest.mark.parametrize("case", SHORT)
def test_a_run_in_which_a_part_would_never_learn_is_refused(case, tmp_path):
    """One step of another epoch is enough: the rule counts epochs that are begun."""
    method, given, epochs, said = SHORT[case]
    own = settings(method, "resume") | PLAIN | {"eval_strategy": "no", "save_strategy": "no", "num_train_epochs": 50}
    trainer = make_trainer(method, tmp_path / "short", **own | given)
    steps = len(trainer.get_train_dataloader()) // trainer.args.gradient_accumulation_steps
    trainer.args.max_steps = epochs * steps
    with pytest.raises(ValueError, match=said):
        trainer.train()
    trainer = make_trainer(method, tmp_path / "long", **own | given | {"max_steps": epochs * steps + 1})
    trainer.train()


def test_a_label_epoch_at_the_end_is_no_epoch_of_metas_network(tmp_path):
    trainer = make_trainer("meta", tmp_path, **settings("meta", "resume"))
    assert [trainer.epochs_of_the_network(epochs) for epochs in (2, 3, 4, 4.5)] == [1, 3, 3, 4.5]


@pytest.mark.parametrize("method", ["ipr", "self_training", "mcil"])
def test_the_ramp_has_the_length_of_the_training_whichever_field_says_it(method, tmp_path):
    own = settings(method, "resume") | PLAIN | {"eval_strategy": "no", "save_strategy": "no", "warmup_epochs": 1}
    by_epochs = make_trainer(method, tmp_path / "epochs", **own | {"num_train_epochs": 3})
    steps = len(by_epochs.get_train_dataloader()) // by_epochs.args.gradient_accumulation_steps
    by_steps = make_trainer(method, tmp_path / "steps", **own | {"num_train_epochs": 50, "max_steps": 3 * steps})
    seen = {}
    for trainer in (by_epochs, by_steps):
        weights = seen[trainer] = []
        begin = trainer.begin_epoch
        trainer.begin_epoch = lambda t=trainer, b=begin, w=weights: (b(), w.append(float(t.beta)))
        trainer.train()
    assert len(seen[by_epochs]) == 3 and seen[by_epochs] == seen[by_steps] and max(seen[by_steps]) > 0.1


def test_a_checkpoint_is_made_of_every_evaluation_that_may_be_the_best(tmp_path):
    own = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 4}
    with pytest.raises(ValueError, match="eval_steps=2 and save_steps=4 may load a model that is not the best"):
        make_trainer("soft_vote", tmp_path, **settings("soft_vote", "resume") | COUNTED | own)
    for same in ({"save_steps": 2}, {"save_strategy": "best"}, PLAIN):
        make_trainer("soft_vote", tmp_path, **settings("soft_vote", "resume") | COUNTED | own | same)


def test_patience_below_one_is_refused(tmp_path):
    for patience in (0, -1):
        with pytest.raises(ValueError, match="must be 1 or more, or None, which never stops"):
            prepared_with = settings("soft_vote", "resume") | COUNTED | {"early_stopping_patience": patience}
            make_trainer("soft_vote", tmp_path, **prepared_with)


def test_best_epochs_are_those_that_count():
    log = [{"epoch": float(e), "eval_loss": e / 10, "eval_ua": 1 - e / 10} for e in range(1, 6)]
    assert {name: one["epoch"] for name, one in best_epochs(log, 2).items()} == {"loss": 3.0, "ua": 3.0}
    assert best_epochs(log, 5) == {} and best_epochs(log)["ua"]["epoch"] == 1.0


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
