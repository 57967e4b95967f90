"""The shared suite's ground: which methods there are, how each is run small, and what a run leaves to compare.

Nothing here names a method. A method says with which small arguments all of its phases occur (`suite_settings`), which
variants it has (`variants`) and which property it cannot have (`exceptions`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils import logging as transformers_logging

from helpers import made_data
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.training import checkpoints
from hf_ambiser.training.augment import Augmenter
from hf_ambiser.training.frame_cache import FrameCache
from hf_ambiser.training.trainer import AmbiSERTrainer


HELPERS = Path(__file__).parent
TESTS = HELPERS.parent
METHODS = available_methods()
# A case is a method, or a variant that it declares: "method:variant".
VARIANTS = [f"{method}:{variant}" for method in METHODS for variant in load_method(method).variants]
# What a method overrides to keep state or to draw utterances. Methods that have all of it from the same classes are
# killed, resumed and divided among ranks by the same code, whatever their labels and losses are: the default run does
# this to the first of each kind.
STATE_HOOKS = (
    "update_state",
    "observe",
    "epoch_finished",
    "takes_ambiguous",
    "step_taken",
    "get_batch_samples",
    "create_optimizer",
    "before_training",
)


def kind_of(method: str) -> tuple[object, ...]:
    """What two methods share that the default run kills only one of."""
    return tuple(getattr(load_method(method), hook) for hook in STATE_HOOKS)


ONE_OF_A_KIND = list({kind_of(method): method for method in reversed(METHODS)}.values())[::-1]
# All methods, those that another one stands for under `-m slow`.
EVERY_KIND = [
    method if method in ONE_OF_A_KIND else pytest.param(method, marks=pytest.mark.slow) for method in METHODS
]
OTHERS = [method for method in METHODS if method not in ONE_OF_A_KIND]
PROPERTIES = {
    "learns": "loss falls, every parameter moves",
    "accumulation": "batch 8 x 1 equals 2 x 4, at dropout 0",
    "ranks": "two ranks equal one process, at dropout 0",
    "resume": "killed and resumed equals uninterrupted",
    "loads": "saves and loads with the same probabilities everywhere",
    "unread": "labels of ambiguous utterances are not read",
    "skipped": "a step that the gradient scaler skips changes nothing",
    "precision": "bfloat16 autocast keeps losses and state in float32",
    "checkpointing": "trains with activation checkpointing",
}
# Compared between steps that are divided in other ways, which draw other random numbers.
DIVIDED = ("accumulation", "ranks")
# Runs that lie at a kink of a ReLU with the common seed: weights moved by 1e-7 at the beginning give another run.
SEEDS = {"slc:as_printed": 4, "slc:accumulating": 6}
# Nine steps of 8 labelled utterances, of which there are 21, and of 9 ambiguous ones, of which there are 25: neither
# fills its last step, and 9 divides into neither two ranks nor four micro-batches. Plain SGD for comparisons between
# batches cut differently: Adam divides by the root of the squared gradient, which makes a step of full size from a
# gradient that is nothing but rounding. The learning rate is small, so that training does not amplify rounding much.
BATCH = 8
BASE = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": BATCH,
    "per_device_eval_batch_size": 4,
    "optim": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "logging_steps": 1,
    "save_strategy": "no",
    "eval_strategy": "no",
    "trajectory_every": 0,
    "use_cpu": True,
    "disable_tqdm": True,
    "seed": 3,
}
CLOCKS = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "eval_runtime"}


def settings(case: str, prop: str, **changes: Any) -> dict[str, Any]:
    """Arguments of a small run of a case, under which it must have a property; `model_fields` are the model's."""
    method, _, variant = case.partition(":")
    trainer_class = load_method(method)
    chosen = {**BASE, **trainer_class.suite_settings, **(trainer_class.variants[variant] if variant else {})}
    chosen["seed"] = SEEDS.get(case, chosen["seed"])
    if prop in DIVIDED:  # a method's own networks have dropout, too
        names = (field.name for field in fields(trainer_class.arguments_class))
        chosen |= {name: 0.0 for name in names if name.endswith("dropout")}
    _, holds_with = trainer_class.exceptions.get(prop, ("", None))
    return {**chosen, **(holds_with or {}), **changes}


def cannot(case: str, prop: str) -> str | None:
    """Why a case cannot have a property under any arguments, if it says so."""
    reason, holds_with = load_method(case.partition(":")[0]).exceptions.get(prop, ("", {}))
    return reason if holds_with is None else None


def needs(case: str, prop: str) -> None:
    """Skip a test of a property that a case says it cannot have."""
    reason = cannot(case, prop)
    if reason:
        pytest.skip(f"{case} declares that it cannot have '{prop}': {reason}")


def declared_exceptions() -> list[str]:
    """One line for each property that a method says it cannot have."""
    return [
        f"{method}, {prop} ({PROPERTIES[prop]}): {reason}" + (f" [tested with {holds}]" if holds else " [not tested]")
        for method in METHODS
        for prop, (reason, holds) in load_method(method).exceptions.items()
    ]


def make_trainer(
    case: str,
    folder: Path,
    dropout: float = 0.0,
    encoder: str = "log-mel",
    lora: bool = False,
    frozen: bool = False,
    change: Callable[..., Any] = lambda split: split,
    model_fields: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> AmbiSERTrainer:
    """A trainer on made data with a tiny model; `arguments` as `settings` gives them.

    A `frozen` encoder's frames come from a cache beside the folder: means of two, scaled, all layers summed.
    """
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    trainer_class = load_method(case.partition(":")[0])
    args = trainer_class.arguments_class(output_dir=str(folder), **arguments)
    family = trainer_class.model_family
    config = made_data.tiny_config(dropout, encoder, family)
    summed = {"layers": "weighted_sum", "standardize_frames": True, "frames_averaged": 2} if frozen else {}
    for field, value in {**summed, **(model_fields or {})}.items():
        assert hasattr(config, field), f"{case}: a model of family {family} has no field {field!r}"
        setattr(config, field, value)
    model = made_data.tiny_model(config, family=family)
    extractor = made_data.extractor(model)
    if lora:
        from peft import LoraConfig, get_peft_model

        wanted = LoraConfig(
            r=2, target_modules=model.lora_target_modules(), modules_to_save=model.lora_modules_to_save
        )
        model = get_peft_model(model, wanted)
    evaluated = made_data.evaluation_set() if args.eval_strategy != "no" else None
    heard = None if args.labelled_augmentation is None else Augmenter(args.labelled_augmentation)
    target = args.target or trainer_class.target
    data = made_data.training_set(trainer_class, change=change, target=target, labelled_augment=heard)
    if frozen:
        model.freeze_encoder()
        cache = FrameCache(folder.parent / "frames", model, extractor)
        data.use_frames(cache, copies=2)
        if evaluated is not None:
            evaluated.use_frames(cache)
    return trainer_class(model, args, data, evaluated, feature_extractor=extractor)


def train_or_go_on(trainer: AmbiSERTrainer) -> None:
    """As `hf_ambiser.runs.run.run` does it: from the last whole checkpoint in the folder, if there is one."""
    folder = Path(str(trainer.args.output_dir))
    if trainer.is_world_process_zero():
        checkpoints.drop_incomplete(folder)
    trainer.accelerator.wait_for_everyone()
    trainer.train(resume_from_checkpoint=True)


@dataclass
class Trace:
    """What a run leaves: `tensors`, the model's state and the method's, and `steps`, the figures logged each step."""

    tensors: dict[str, Tensor]
    steps: list[dict[str, float]]

    def save(self, path: Path) -> None:
        """Two files, `path`.safetensors and `path`.json."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, path.with_suffix(".safetensors"))
        path.with_suffix(".json").write_text(json.dumps(self.steps))

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Inverse of `save`."""
        return cls(load_file(path.with_suffix(".safetensors")), json.loads(path.with_suffix(".json").read_text()))


def state_of(trainer: AmbiSERTrainer) -> dict[str, Tensor]:
    """Copies of all that training changes: parameters and buffers, label table, method state."""
    parts = {"model": trainer.bare_model().state_dict(), "method": trainer._all_state()}
    return {f"{part}.{k}": v.detach().clone().contiguous() for part, state in parts.items() for k, v in state.items()}


def trace_of(trainer: AmbiSERTrainer) -> Trace:
    """The trace of a finished run; its last figures are the loss of the whole training."""
    return Trace(state_of(trainer), [_without_clocks(h) for h in trainer.training_log])


def _without_clocks(figures: dict[str, Any]) -> dict[str, Any]:
    # How many operations a batch takes depends on how it is padded, so on how a step is divided.
    return {k: v for k, v in figures.items() if k not in {*CLOCKS, "total_flos"} and not k.endswith("_per_second")}


def run(case: str, folder: Path, **arguments: Any) -> Trace:
    """Train from the beginning to the end; the trace has the answers to the evaluation clips, too."""
    trainer = make_trainer(case, folder, **arguments)
    trainer.train()
    answer = trainer.predict(made_data.evaluation_set())
    trace = trace_of(trainer)
    trace.tensors["predictions"] = torch.as_tensor(answer.predictions)
    trace.steps.append({"step": -1, "test_loss": answer.metrics["test_loss"]})
    return trace


def environment(**more: str) -> dict[str, str]:
    """For a process that a test starts: it finds the package and the suite, and says where it was if it aborts."""
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    found = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONFAULTHANDLER": "1"}
    return {**os.environ, **found, **more}


def call(command: list[str], folder: Path, **more: str) -> str:
    """Standard output of a process.

    Raises:
        AssertionError: If it fails, with the end of what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment(**more), timeout=540)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6000:]}"
    return done.stdout


def two_rank_runs(folder: Path, *what: str) -> Path:
    """`suite_ranks.py` on two processes, once for several cases."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    call([*launch, str(HELPERS / "suite_ranks.py"), str(folder), *what], folder)
    return folder


def killed_runs(folder: Path, *cases: str, kills: int = 5) -> Path:
    """`suite_kill.py`: begun in one process, finished in another with another hash seed; `kills` moments are drawn."""
    for i, phase in enumerate(("first", "second")):
        command = [sys.executable, str(HELPERS / "suite_kill.py"), phase, str(folder), str(kills), *cases]
        call(command, folder, PYTHONHASHSEED=str(i))
    return folder
