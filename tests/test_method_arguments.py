"""Every argument of a method acts, or is refused by its name: no number, a negative one, one that has no part."""

from __future__ import annotations

import dataclasses

import pytest
from transformers import TrainingArguments

from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.training.preparation import training_set


THEIRS = {own.name for own in dataclasses.fields(TrainingArguments)}


def numbers(method):
    """Names of the arguments of a method, and of those that all have, that are numbers."""
    for own in dataclasses.fields(load_method(method).arguments_class):
        if own.name not in THEIRS and {"int", "float"} & set(str(own.type).replace("|", " ").split()):
            yield own.name


@pytest.mark.parametrize("method", available_methods())
def test_no_argument_is_a_number_that_is_none(method):
    names = list(numbers(method))
    assert len(names) >= 9
    for name in names:
        for bad in (float("nan"), float("inf"), -1):
            with pytest.raises(ValueError, match=rf"\b{name}\b"):
                load_method(method).arguments_class(output_dir="unused", num_train_epochs=50, **{name: bad})


def test_arguments_of_transformers_are_read_too():
    with pytest.raises(ValueError, match="learning_rate=nan"):
        load_method("soft_vote").arguments_class(output_dir="unused", learning_rate=float("nan"))


@pytest.mark.parametrize(
    ("method", "arguments", "idle"),
    [
        ("label_distribution", {"transport_blur": 0.2}, "transport_blur"),
        ("label_distribution", {"class_distance": "equal"}, "class_distance"),
        ("label_distribution", {"divergence": "kl", "transport_steps": 7}, "transport_steps"),
        ("label_distribution", {"divergence": "optimal_transport", "target_smoothing": 0.5}, "target_smoothing"),
        ("mmd", {"domain_steepness": 5.0}, "domain_steepness"),
        ("dann", {"domain_schedule": "constant", "domain_steepness": 5.0}, "domain_steepness"),
        ("daan", {"omega": "fixed", "domain_distance": "loss"}, "domain_distance"),
        ("rater_confusion", {"common_size": 5}, "common_size"),
    ],
)
def test_an_argument_that_another_one_leaves_without_a_part_is_refused(method, arguments, idle):
    with pytest.raises(ValueError, match=rf"{idle}=.* (acts with|moves) .*Leave {idle} out"):
        load_method(method).arguments_class(output_dir="unused", **arguments)


@pytest.mark.parametrize(("epochs", "share"), [(1, 0.5), (2, 0.95)])
def test_both_steps_of_emotion_existence_need_an_epoch(epochs, share):
    with pytest.raises(ValueError, match="existence_share.*leaves no epoch that learns the distribution"):
        load_method("emotion_existence").arguments_class(
            output_dir="unused", num_train_epochs=epochs, existence_share=share
        )


def prepared(method, **arguments):
    """What the trainer does with its data, up to the first check; no split is read."""
    args = load_method(method).arguments_class(output_dir="unused", num_train_epochs=50, **arguments)
    training_set(None, object(), load_method(method), args, None, None)


@pytest.mark.parametrize("method", [m for m in available_methods() if not load_method(m).needs_augmented])
def test_copies_are_described_only_to_a_method_that_makes_them(method):
    with pytest.raises(ValueError, match=f"augmentation=.*'{method}' makes none"):
        prepared(method, augmentation={"kind": "noise"})


@pytest.mark.parametrize("method", [m for m in available_methods() if not load_method(m).needs_ambiguous])
def test_ambiguous_utterances_of_a_step_are_counted_only_where_some_are_drawn(method):
    with pytest.raises(ValueError, match=f"ambiguous_per_labelled=3.0.*'{method}' draws none"):
        prepared(method, ambiguous_per_labelled=3.0)
