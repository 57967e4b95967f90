"""Every field of transformers' `TrainingArguments` acts, or it is refused before the first step."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.suite_methods import make_trainer, state_of
from transformers import EvalPrediction, TrainingArguments

from hf_ambiser.metrics.display import HEADLINES
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.inherited_arguments import (
    ACTS,
    ELSEWHERE,
    MACHINE,
    NEEDS,
    PAIRS,
    REFUSED,
    check_inherited,
    verdicts,
)
from hf_ambiser.training.validation import ValidationMetrics


SHORT = {
    "num_train_epochs": 2, "per_device_train_batch_size": 8, "optim": "sgd", "learning_rate": 0.01, "use_cpu": True,
    "disable_tqdm": True, "logging_steps": 1, "save_strategy": "no", "eval_strategy": "epoch", "seed": 0,
}  # fmt: skip
ADAM = {"optim": "adamw_torch"}
# The best of these epochs, by a loss that must rise, is not the last one.
BEST = {"save_strategy": "epoch", "load_best_model_at_end": True, "metric_for_best_model": "loss"}
# Field -> the value that must make a difference, and what stands beside it.
CHANGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "num_train_epochs": (3, {}),
    "max_steps": (2, {}),
    "learning_rate": (0.02, {}),
    "lr_scheduler_type": ("linear", {}),
    "lr_scheduler_kwargs": ({"num_cycles": 3}, {"lr_scheduler_type": "cosine_with_restarts"}),
    "warmup_steps": (4, {"lr_scheduler_type": "constant_with_warmup"}),
    "optim": ("adamw_torch", {}),
    "weight_decay": (0.5, {}),
    "adam_beta1": (0.5, ADAM),
    "adam_beta2": (0.5, ADAM),
    "adam_epsilon": (0.1, ADAM),
    "max_grad_norm": (1e-3, {}),
    "per_device_train_batch_size": (4, {}),
    "gradient_accumulation_steps": (2, {}),
    "seed": (1, {}),
    "bf16": (True, {}),
    "eval_strategy": ("steps", {}),
    "eval_steps": (2, {"eval_strategy": "steps"}),
    "eval_delay": (2, {}),
    "eval_on_start": (True, {}),
    "load_best_model_at_end": (
        True,
        {"save_strategy": "epoch", "greater_is_better": True, "metric_for_best_model": "loss"},
    ),
    "metric_for_best_model": ("js", {"save_strategy": "epoch", "load_best_model_at_end": True}),
    "greater_is_better": (True, BEST),
    "save_strategy": ("epoch", {}),
    "save_steps": (2, {"save_strategy": "steps"}),
    "save_total_limit": (1, {"save_strategy": "epoch", "num_train_epochs": 3}),
    "logging_strategy": ("epoch", {"logging_steps": 500}),
    "logging_steps": (2, {}),
    "logging_first_step": (True, {"logging_steps": 3}),
}
USELESS: dict[str, Any] = {
    "label_smoothing_factor": 0.1, "average_tokens_across_devices": False, "optim_target_modules": ["x"],
    "optim_args": "a=1", "torch_compile": True, "torch_compile_backend": "eager", "torch_compile_mode": "default",
    "use_liger_kernel": True, "liger_kernel_config": {"rope": True}, "use_cache": True, "neftune_noise_alpha": 5.0,
    "auto_find_batch_size": True, "include_num_input_tokens_seen": "all", "prediction_loss_only": True,
    "eval_do_concat_batches": False, "eval_use_gather_object": True, "include_for_metrics": ["loss"],
    "batch_eval_metrics": True, "save_only_model": True, "ignore_data_skip": True,
    "restore_callback_states_from_checkpoint": False, "dataloader_in_order": False, "data_seed": 1,
    "train_sampling_strategy": "group_by_length", "length_column_name": "seconds",
    "accelerator_config": {"split_batches": True}, "remove_unused_columns": True, "label_names": ["x"],
    "bf16_full_eval": True, "fp16_full_eval": True, "do_train": True,
    "do_predict": True, "resume_from_checkpoint": "somewhere",
    "parallelism_config": object(),
}  # fmt: skip
ALONE: dict[str, Any] = {
    "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_epsilon": 0.1, "warmup_steps": 4, "greater_is_better": True,
    "activation_checkpointing_kwargs": {"use_reentrant": False},
    "gradient_checkpointing_kwargs": {"use_reentrant": False}, "dataloader_persistent_workers": True,
    "dataloader_prefetch_factor": 2, "dataloader_multiprocessing_context": "spawn",
    "fsdp_config": {"min_num_params": 1},
    "run_name": "x", "project": "x", "trackio_space_id": "me/x", "trackio_bucket_id": "me/x",
    "trackio_static_space_id": "me/x",
}  # fmt: skip
WITHOUT = {"optim": "sgd", "logging_strategy": "epoch", "save_strategy": "epoch"}


def with_metrics(folder: Path, given: dict[str, Any]) -> Any:
    trainer = make_trainer("hard_vote", folder, dropout=0.1, **given)
    trainer.compute_metrics = ValidationMetrics(list(trainer.bare_model().config.id2label.values()))
    return trainer


def what_came_out(folder: Path, given: dict[str, Any]) -> Any:
    """All that a run leaves: weights, log, best figure, checkpoints."""
    trainer = with_metrics(folder, given)
    trainer.train()
    times = ("runtime", "per_second", "flos")
    log = [{k: v for k, v in entry.items() if not any(t in k for t in times)} for entry in trainer.training_log]
    weights = {name: tensor.tolist() for name, tensor in state_of(trainer).items()}
    saved = sorted(path.name for path in folder.glob("checkpoint-*"))
    return weights, log, trainer.state.best_metric, saved


def test_every_field_of_this_version_stands_in_one_list():
    named = [*" ".join(ACTS.values()).split(), *MACHINE.split(), *REFUSED, *ELSEWHERE]
    assert len(named) == len(set(named))
    assert not [name for name, said in verdicts() if "does not know" in said]
    assert NEEDS.keys() <= set(named) - REFUSED.keys()


def test_every_field_that_acts_is_changed_here():
    acting = set(" ".join(ACTS.values()).split())
    assert acting - {"output_dir"} == CHANGES.keys()  # every run here has its own output_dir
    known = {f.name for f in fields(TrainingArguments)}
    assert PAIRS.keys() <= acting
    assert known & REFUSED.keys() <= USELESS.keys() and known & NEEDS.keys() <= ALONE.keys() | CHANGES.keys()


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> dict[str, Any]:
    """What came out of runs that several fields are compared with."""
    return {"folder": tmp_path_factory.mktemp("known")}


@pytest.mark.parametrize("field", CHANGES)
def test_it_acts(field, known, tmp_path):
    value, beside = CHANGES[field]
    given = {**SHORT, **({"eval_strategy": "no"} if field in ACTS["training"].split() else {}), **beside}
    given.pop(field, None) if field not in SHORT else None
    name = repr(sorted(given.items()))
    if name not in known:
        known[name] = what_came_out(known["folder"] / str(len(known)), given)
    assert what_came_out(tmp_path / "changed", {**given, field: value}) != known[name]


@pytest.mark.parametrize("field", USELESS)
def test_what_would_do_nothing_is_refused(field, tmp_path):
    if field not in {f.name for f in fields(TrainingArguments)}:
        pytest.skip(f"this version of transformers has no {field}")
    with pytest.raises((ValueError, ImportError), match=rf"{field}|torch_compile|liger"):
        AmbiSERTrainingArguments(str(tmp_path), use_cpu=True, **{field: USELESS[field]})
    changed = AmbiSERTrainingArguments(str(tmp_path), use_cpu=True)
    setattr(changed, field, USELESS[field])
    with pytest.raises(ValueError, match=f"{field}.*cannot be used.*Leave it out"):
        check_inherited(changed)  # as a trainer does with arguments that were changed after they were made


@pytest.mark.parametrize("field", ALONE)
def test_what_acts_only_beside_another_field_is_refused_alone(field, tmp_path):
    if field not in {f.name for f in fields(TrainingArguments)}:
        pytest.skip(f"this version of transformers has no {field}")
    with pytest.raises(ValueError, match=rf"({field}|checkpointing_kwargs).* does nothing here: it needs|prefetch"):
        AmbiSERTrainingArguments(str(tmp_path), use_cpu=True, **WITHOUT, **{field: ALONE[field]})


def test_a_run_that_was_begun_with_a_useless_field_goes_on_unless_it_would_be_another_one(tmp_path, caplog):
    given = {**SHORT, "save_strategy": "epoch"}
    make_trainer("hard_vote", tmp_path, **given).train()
    RunFolder(tmp_path).write_arguments({"do_train": True})
    make_trainer("hard_vote", tmp_path, **given, do_train=True).train(resume_from_checkpoint=True)
    assert "do_train=True cannot be used" in caplog.text and "goes on" in caplog.text
    with pytest.raises(ValueError, match="save_only_model=True cannot be used: a checkpoint without its optimiser"):
        make_trainer("hard_vote", tmp_path, **given, save_only_model=True).train(resume_from_checkpoint=True)


def test_a_logger_that_is_not_installed_is_refused_when_the_arguments_are_made(tmp_path):
    with pytest.raises(ValueError, match=r"report_to=\['comet_ml'\] needs comet_ml, which is not installed"):
        AmbiSERTrainingArguments(str(tmp_path), use_cpu=True, report_to="comet_ml")


@pytest.mark.parametrize(
    "given,words",
    [
        ({"fp16": True}, "fp16=True does nothing on a CPU"),
        ({"tf32": True}, "tf32"),
        ({"dataloader_drop_last": True}, "dataloader_drop_last=True does nothing"),
        ({"metric_for_best_model": "accuracy", "load_best_model_at_end": True, "save_strategy": "epoch"},
         "metric_for_best_model='accuracy' is not one of .*'ua'"),
    ],
)  # fmt: skip
def test_what_cannot_act_on_this_device_or_data_is_refused_before_the_first_step(given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        with_metrics(tmp_path, {**SHORT, **given}).train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_training_with_dataloader_drop_last_that_was_begun_goes_on_and_all_of_its_answers_are_there(tmp_path):
    given = {**SHORT, "per_device_eval_batch_size": 8, "save_strategy": "epoch"}
    make_trainer("hard_vote", tmp_path, **given).train()
    trainer = make_trainer("hard_vote", tmp_path, **given, dataloader_drop_last=True)
    trainer.train(resume_from_checkpoint=True)
    data = trainer.eval_dataset
    assert len(data) % 8, "the last batch must not be full, or this shows nothing"
    assert len(trainer.predict(data).predictions) == len(data)
    assert trainer.args.dataloader_drop_last  # what the run folder says stays


def test_the_direction_of_a_figure_is_that_of_a_right_answer_against_a_wrong_one(tmp_path):
    votes = np.array([[6, 1, 1], [1, 6, 1], [1, 3, 4], [2, 3, 3], [0, 0, 8], [4, 4, 0]])
    labels = (votes, np.where(votes.max(1) > 3, votes.argmax(1), -1))
    figures = ValidationMetrics(["anger", "neutral", "sadness"])
    shares = votes / votes.sum(1, keepdims=True)
    right, wrong = (
        figures(EvalPrediction(np.log(answer + 1e-3), labels)) for answer in (shares, np.roll(shares, 1, axis=1)[::-1])
    )
    assert right.keys() == wrong.keys() == set(HEADLINES)
    for name in HEADLINES:
        given = AmbiSERTrainingArguments(str(tmp_path), use_cpu=True, metric_for_best_model=f"eval_{name}")
        assert given.greater_is_better == (right[name] > wrong[name]), name
    for own in ({"metric_for_best_model": "loss"}, {"metric_for_best_model": "ua", "greater_is_better": False}):
        assert AmbiSERTrainingArguments(str(tmp_path), use_cpu=True, **own).greater_is_better is False


def test_without_a_direction_the_checkpoint_with_the_least_js_is_kept_and_the_other_one_is_warned_of(tmp_path, caplog):
    given = {**SHORT, "num_train_epochs": 3, "save_strategy": "epoch", "load_best_model_at_end": True}
    trainer = with_metrics(tmp_path / "least", {**given, "metric_for_best_model": "js"})
    trainer.train()
    assert trainer.state.best_metric == min(entry["eval_js"] for entry in trainer.training_log if "eval_js" in entry)
    assert "chooses by the worse value" not in caplog.text
    with_metrics(tmp_path / "most", {**given, "metric_for_best_model": "js", "greater_is_better": True}).train()
    assert (
        "greater_is_better=True with metric_for_best_model='js' chooses by the worse value: of js, less is better"
        in caplog.text
    )
    caplog.clear()
    own = {"metric_for_best_model": "wer", "greater_is_better": False}
    trainer = make_trainer("hard_vote", tmp_path / "own", **given, **own)
    trainer.compute_metrics = lambda prediction: {"wer": 0.5}
    trainer.train()
    assert trainer.state.best_metric == 0.5 and "worse value" not in caplog.text
