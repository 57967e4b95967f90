"""What each field of transformers' `TrainingArguments` does in a run of this package: it acts, or it is refused.

A field without effect would stand in a run's arguments and on its card as if it had acted. So each field that the
Trainer has stands in one of the lists here; the documentation shows them as one table. A field that none of them
names, because a later version of transformers has it, keeps its default.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from hf_ambiser.metrics.display import HEADLINES, LESS_IS_BETTER
from hf_ambiser.run_folder.layout import RunFolder


logger = logging.getLogger(__name__)
_OURS = "the order of utterances is this package's own (seed, length_grouping)"
_SPEECH = "it changes language models, and a model of speech has nothing that it could act on"
_RESUME = "a run that goes on would not be the run that was not stopped"
_SCRIPT = "it is for scripts of transformers; a run trains, evaluates and predicts, and goes on by itself"
_SCORES = "the scores need the answers to all utterances, in one piece"

# What learning depends on, and what is logged, evaluated and saved. `tests/test_inherited_arguments.py` changes each.
ACTS = {
    "training": "num_train_epochs max_steps learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps optim"
    " weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm per_device_train_batch_size"
    " gradient_accumulation_steps seed bf16",
    "evaluation": "eval_strategy eval_steps eval_delay eval_on_start load_best_model_at_end metric_for_best_model"
    " greater_is_better",
    "files and log": "output_dir save_strategy save_steps save_total_limit logging_strategy logging_steps"
    " logging_first_step",
}
# What changes the speed, the memory, the machine or the terminal, and not what is learnt.
MACHINE = (
    "per_device_eval_batch_size eval_accumulation_steps use_cpu fp16 tf32 full_determinism torch_empty_cache_steps"
    " activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs"
    " dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor"
    " dataloader_multiprocessing_context ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers"
    " ddp_static_graph ddp_backend ddp_timeout fsdp fsdp_config deepspeed local_rank debug disable_tqdm log_level"
    " log_level_replica log_on_each_node logging_nan_inf_filter skip_memory_metrics save_on_each_node"
    " enable_jit_checkpoint report_to run_name project"
    " trackio_space_id trackio_bucket_id trackio_static_space_id"
)
# Refused unless it has its default, and why.
REFUSED = {
    "label_smoothing_factor": "the loss is a method's own, without the Trainer's smoothing; learn from soft labels"
    " (soft_vote), which say how much an utterance is worth smoothing",
    "average_tokens_across_devices": "losses are averaged over utterances, of all devices, and there are no tokens",
    "optim_target_modules": "it is for optimisers of large language models that choose layers by name",
    "optim_args": "the optimisers that have more settings were not tried with this package",
    "torch_compile": "the models check the values that they get, which cannot be compiled",
    "torch_compile_backend": "the models check the values that they get, which cannot be compiled",
    "torch_compile_mode": "the models check the values that they get, which cannot be compiled",
    **dict.fromkeys(("use_liger_kernel", "liger_kernel_config", "use_cache", "neftune_noise_alpha"), _SPEECH),
    "auto_find_batch_size": "the size of a batch decides what is learnt; give per_device_train_batch_size, and"
    " gradient_accumulation_steps for less memory",
    "include_num_input_tokens_seen": "there are no tokens",
    **dict.fromkeys(
        ("bf16_full_eval", "fp16_full_eval"),
        "the model would be rounded when it is scored, and then saved like that; use bf16=True",
    ),
    "prediction_loss_only": _SCORES,
    "eval_do_concat_batches": _SCORES,
    "eval_use_gather_object": _SCORES,
    "include_for_metrics": _SCORES,
    "batch_eval_metrics": _SCORES,
    "save_only_model": f"a checkpoint without its optimiser cannot be gone on from: {_RESUME}. With save_strategy='no'"
    " nothing is saved on the way",
    "ignore_data_skip": _RESUME,
    "restore_callback_states_from_checkpoint": _RESUME,
    "dataloader_in_order": _RESUME,
    "data_seed": f"{_OURS}; give seed",
    "train_sampling_strategy": _OURS,
    "length_column_name": _OURS,
    "accelerator_config": f"{_OURS}, and the Trainer sets the rest",
    "parallelism_config": "it divides sequences and layers of language models",
    "remove_unused_columns": "it would remove the utterance's index; leave it False",
    "label_names": "they are always votes and consensus",
    **dict.fromkeys(("do_train", "do_predict", "resume_from_checkpoint"), _SCRIPT),
}
# Set by the Trainer itself, looked at in `check_at_start`, or about the Hub (`runs/arguments.py` has those).
ELSEWHERE = {
    "do_eval": "follows eval_strategy",
    "dataloader_drop_last": "refused when a training begins: a step takes in what is left, so nothing is dropped",
    **dict.fromkeys(
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision".split(),
        "about the Hub: a finished run is pushed once (`hf-ambiser push`)",
    ),
}


def _adam(args: Any) -> bool:
    return any(kind in str(args.optim).lower() for kind in ("adam", "lamb", "lion"))


def _word(value: Any) -> str:
    """The word that a user writes for a value, which the Trainer's arguments keep as a member of an enumeration."""
    return str(getattr(value, "value", value))


def _schedules(args: Any) -> bool:
    return _word(args.lr_scheduler_type) != "constant"


def _evaluates(args: Any) -> bool:
    return _word(args.eval_strategy) != "no"


def _on(*names: str) -> Callable[[Any], bool]:
    return lambda args: any(getattr(args, name, None) for name in names)


# A field that acts only beside another one -> whether that one is there, and what it is.
NEEDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("adam_beta1", "adam_beta2", "adam_epsilon"), (_adam, "an optimiser (optim) of Adam's kind")),
    "warmup_steps": (_schedules, "another lr_scheduler_type than 'constant', such as 'constant_with_warmup'"),
    "greater_is_better": (_on("metric_for_best_model"), "metric_for_best_model"),
    "load_best_model_at_end": (_evaluates, "an evaluation, and eval_strategy='no' makes none"),
    "activation_checkpointing_kwargs": (
        _on("activation_checkpointing", "gradient_checkpointing"), "activation_checkpointing=True",
    ),
    "gradient_checkpointing_kwargs": (
        _on("activation_checkpointing", "gradient_checkpointing"), "activation_checkpointing=True",
    ),
    **dict.fromkeys(
        ("dataloader_persistent_workers", "dataloader_prefetch_factor", "dataloader_multiprocessing_context"),
        (_on("dataloader_num_workers"), "dataloader_num_workers above 0"),
    ),
    "fsdp_config": (_on("fsdp"), "fsdp"),
    **dict.fromkeys(
        ("run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
        (_on("report_to"), "report_to"),
    ),
}  # fmt: skip


# The same, but not refused: everybody knows these pairs, and a command changes one of a pair that a file has set.
PAIRS = {
    "eval_steps": "eval_strategy='steps'",
    "save_steps": "save_strategy='steps'",
    "logging_steps": "logging_strategy='steps'",
}
_BY_VALIDATION = ("reduce_lr_on_plateau", "greedy")  # schedules that follow a figure of validation
# Without these, a run that goes on is another one; so a run that was begun with them may not go on.
_EXACT = ("save_only_model", "ignore_data_skip", "restore_callback_states_from_checkpoint", "dataloader_in_order")


def verdicts() -> Iterator[tuple[str, str]]:
    """Yield every field of this version's `TrainingArguments`, and what it does here in a few words."""
    acting = {name: kind for kind, names in ACTS.items() for name in names.split()}
    for field in fields(TrainingArguments):
        name = field.name
        beside = NEEDS[name][1] if name in NEEDS else PAIRS.get(name)
        needs = f"; needs {beside}" if beside else ""
        if name in REFUSED:
            yield name, f"refused: {REFUSED[name]}"
        elif name in acting:
            yield name, f"acts ({acting[name]}){needs}"
        elif name in MACHINE.split():
            yield name, f"acts (machine, speed and output){needs}"
        else:
            yield name, ELSEWHERE.get(name, "refused: this version of hf_ambiser does not know it")


def check_inherited(args: Any) -> None:
    """Refuse fields of `TrainingArguments` that would do nothing, or that end a run late.

    A run that was begun with such a field by an earlier version goes on, with a warning.

    Args:
        args: Training arguments; called when they are made, and again when a trainer gets them.

    Raises:
        ValueError: For the first such field; the message says why, and what to do.
    """
    begun = RunFolder(str(args.output_dir)).is_begun
    for wrong, cure in [*((one, "Leave it out.") for one in _useless(args)), *_not_the_best(args)]:
        if not begun:
            raise ValueError(f"{wrong} {cure}")
        logger.warning("%s The run in %s was begun with it, and goes on.", wrong, args.output_dir)
    loggers = [args.report_to] if isinstance(args.report_to, str) else list(args.report_to or [])
    missing = sorted({name for name in loggers if name != "none"} - {*get_available_reporting_integrations(), "all"})
    if missing:
        raise ValueError(
            f"report_to={loggers} needs {', '.join(missing)}, which is not installed. Install it, or leave it out."
        )


def _useless(args: Any) -> Iterator[str]:
    """Yield what is wrong with each field that would do nothing."""
    said = dict(verdicts())
    for field in fields(type(args)):
        name = field.name
        if name not in said or _is_default(field, getattr(args, name)):
            continue
        if said[name].startswith("refused: "):
            yield f"{name}={getattr(args, name)!r} cannot be used: {said[name].removeprefix('refused: ')}."
        elif name in NEEDS and not NEEDS[name][0](args):
            yield f"{name}={getattr(args, name)!r} does nothing here: it needs {NEEDS[name][1]}."


def check_without_validation(args: Any) -> None:
    """Refuse what looks at validation utterances in a training that has none.

    A run that an earlier version began goes on, with a warning.

    Raises:
        ValueError: For the first such field.
    """
    begun = RunFolder(str(args.output_dir)).is_begun
    schedule = _word(args.lr_scheduler_type)
    for name, value, looks in (
        ("early_stopping_patience", args.early_stopping_patience, args.early_stopping_patience is not None),
        ("load_best_model_at_end", True, args.load_best_model_at_end),
        ("lr_scheduler_type", schedule, schedule in _BY_VALIDATION),
    ):
        wrong = f"{name}={value!r} needs validation utterances"
        if looks and begun:
            logger.warning("%s, and there are none. The run in %s goes on without.", wrong, args.output_dir)
        elif looks:
            raise ValueError(f"{wrong}: give eval_dataset (on the command line: validation_split), or leave it out.")


def _not_the_best(args: Any) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with how checkpoints and evaluations fall together, and its cure."""
    strategies = {_word(args.eval_strategy), _word(args.save_strategy)}
    if not args.load_best_model_at_end or strategies != {"steps"} or args.save_steps == args.eval_steps:
        return
    yield (
        f"load_best_model_at_end=True with eval_steps={args.eval_steps:g} and save_steps={args.save_steps:g} may load"
        " a model that is not the best, or the last one: an evaluation without a checkpoint counts, too.",
        "Give both the same value, or set save_strategy='best'.",
    )


def check_at_start(args: Any, metric_names: Sequence[str] | None, begins: bool) -> None:
    """Refuse what cannot act on this device and these figures; called before the first step.

    Args:
        args: The trainer's arguments.
        metric_names: Names that an evaluation has; None: a function of the user decides it.
        begins: Whether the training begins. One that goes on must reach its scores.

    Raises:
        ValueError: For the first such field.
    """
    own = {field.name: field for field in fields(type(args))}
    for name in _EXACT:
        if name in own and not _is_default(own[name], getattr(args, name)):
            raise ValueError(
                f"{name}={getattr(args, name)!r} cannot be used: {REFUSED[name]}. Leave it out, and give another"
                " output_dir."
            )
    for name in ("fp16", "tf32"):
        if getattr(args, name) and args.device.type == "cpu":
            raise ValueError(
                f"{name}=True does nothing on a CPU, where this run trains. Leave it out, or use bf16=True."
            )
    if begins and args.dataloader_drop_last:
        raise ValueError(
            "dataloader_drop_last=True does nothing: a step takes in what is left of an epoch, so no utterance is"
            " dropped. Leave it out."
        )
    metric = args.metric_for_best_model
    if metric is not None and metric_names is not None and metric.removeprefix("eval_") not in metric_names:
        raise ValueError(f"metric_for_best_model={metric!r} is not one of {list(metric_names)}.")
    # What a function of the user's measures may be an error under any name.
    ours = metric is not None and metric_names is not None
    if begins and ours and args.greater_is_better != more_is_better(metric):
        logger.warning(
            "greater_is_better=%s with metric_for_best_model=%r chooses by the worse value: of %s, %s is better. Leave"
            " greater_is_better out.",
            args.greater_is_better,
            metric,
            metric.removeprefix("eval_"),
            "less" if args.greater_is_better else "more",
        )


def more_is_better(metric: str) -> bool:
    """Whether a greater value of a figure is the better one; the Trainer takes that of every figure but a loss."""
    name = metric.removeprefix("eval_")
    return name not in LESS_IS_BETTER and not name.endswith("loss")


# What an evaluation of the trainer measures.
METRICS = ("loss", *HEADLINES)


def _is_default(field: Field[Any], value: Any) -> bool:
    """Whether a field has the default, or what the arguments make of the default by themselves."""
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    if field.name == "accelerator_config" and value is not None:
        from transformers.trainer_pt_utils import AcceleratorConfig

        given = value.to_dict() if hasattr(value, "to_dict") else value
        return (
            {**AcceleratorConfig().to_dict(), **given} == AcceleratorConfig().to_dict()
            if isinstance(given, dict)
            else False
        )
    if field.name == "label_names":
        return value in (None, ["votes", "consensus"])
    return getattr(value, "value", value) == getattr(default, "value", default)
