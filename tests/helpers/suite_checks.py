"""The properties every method must have, as functions that raise AssertionError where one is broken.

`test_every_method.py` calls them on the methods as they are, `test_planted_faults.py` on methods with a planted fault.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.optimizer import AcceleratedOptimizer
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook
from transformers import TrainerCallback

from helpers.suite_methods import CLOCKS, Trace, make_trainer, run, settings, state_of, trace_of, train_or_go_on
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.training import checkpoints, loop_state
from hf_ambiser.training.sampler import StepKey
from hf_ambiser.training.trainer import AmbiSERTrainer


RTOL = 1e-5
# Everything that may spoil a resume is on: dropout, masking, augmentation (where a method has it), Adam's state,
# evaluation in between, patience, rotation. Nine steps, three an epoch: checkpoints 2, 4 and 8 lie inside an epoch, 6
# and the last one, 9, on its boundary.
INTERRUPTED = {
    "optim": "adamw_torch",
    "learning_rate": 1e-2,
    "save_strategy": "steps",
    "save_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "metric_for_best_model": "loss",
    "early_stopping_patience": 50,
    "save_total_limit": 2,
    "trajectory_every": 1,
}
DROPOUT = 0.2


# ---- comparing ---------------------------------------------------------------------------------------------------


# Figures that are differences of numbers near 1 (the discrepancy of `mmd`), and float32's rounding of such numbers.
DIFFERENCES = {"loss_domain": 1.2e-7}


def assert_close_runs(got: Trace, expected: Trace, rtol: float = RTOL) -> None:
    """Same tensors and figures up to rounding.

    Whole numbers are equal. Floats differ by at most `rtol` of the largest entry of their tensor (entry by entry it
    would ask digits of numbers that are themselves differences of larger ones), or by 1e-8, where a gradient is 0 by
    mathematics and a parameter nothing but rounding (biases of attention keys).
    """
    assert got.tensors.keys() == expected.tensors.keys()
    for name, want in expected.tensors.items():
        have = got.tensors[name]
        assert have.dtype == want.dtype and have.shape == want.shape, name
        if not want.is_floating_point():
            assert torch.equal(have, want), f"{name} differs in {int((have != want).sum())} places"
        elif want.numel():
            difference, scale = float((have - want).abs().max()), float(want.abs().max())
            assert difference <= max(rtol * scale, 1e-8), (
                f"{name} differs by {difference:.2e}, its largest entry is {scale:.2e}"
            )
    assert len(got.steps) == len(expected.steps) > 0
    for have, want in zip(got.steps, expected.steps, strict=True):
        assert have.keys() == want.keys(), f"step {want['step']}: {sorted(have)} instead of {sorted(want)}"
        for name, value in want.items():
            close = math.isclose(have[name], value, rel_tol=rtol, abs_tol=DIFFERENCES.get(name, 1e-9))
            assert close, f"{name} of step {want['step']} is {have[name]!r} instead of {value!r}"


def assert_equal_tensors(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert got.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(got[name], expected[name])]
    assert not different, f"not bit-equal: {different}"


def _equal(got: Any, expected: Any, where: str) -> None:
    assert type(got) is type(expected), f"{where}: {type(got)} instead of {type(expected)}"
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), f"{where}: {sorted(got)} instead of {sorted(expected)}"
        for key in expected:
            _equal(got[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected), f"{where}: {len(got)} items instead of {len(expected)}"
        for i, (one, other) in enumerate(zip(got, expected, strict=True)):
            _equal(one, other, f"{where}/{i}")
    elif isinstance(expected, Tensor):
        assert torch.equal(got, expected), f"{where} is not bit-equal"
    elif isinstance(expected, np.ndarray):
        assert np.array_equal(got, expected), f"{where} is not bit-equal"
    else:
        assert got == expected, f"{where}: {got!r} instead of {expected!r}"


def _read_state(path: Path) -> dict[str, Any]:
    """`trainer_state.json` without clocks and without the run folder's name."""
    state = json.loads(path.read_text())
    state["log_history"] = [
        {k: v for k, v in entry.items() if k not in CLOCKS and not k.endswith("_per_second")}
        for entry in state["log_history"]
    ]
    if state["best_model_checkpoint"]:
        state["best_model_checkpoint"] = Path(state["best_model_checkpoint"]).name
    return state


def assert_same_run_folder(got: Path, expected: Path) -> None:
    """Bit-equal: the last checkpoint, file by file, the label trajectory, and state and log at the end of training."""
    last = [checkpoints.last_complete(folder) for folder in (got, expected)]
    assert last[0] and last[1] and last[0].name == last[1].name, f"last checkpoints {last}"
    names = [{str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} for folder in last]
    assert names[0] == names[1], f"other files: {names[0] ^ names[1]}"
    for name in sorted(names[1]):
        one, other = (folder / name for folder in last)
        if name.endswith(".safetensors"):
            assert one.read_bytes() == other.read_bytes(), f"{name} is not bit-equal"
        elif name.endswith((".pt", ".pth")):
            _equal(*(torch.load(p, weights_only=False) for p in (one, other)), name)
        elif name == "trainer_state.json":
            _equal(_read_state(one), _read_state(other), name)
        elif name == loop_state.FILE:
            _equal(*(json.loads(p.read_text()) for p in (one, other)), name)
    trajectories = [sorted((folder / "trajectory").iterdir()) for folder in (got, expected)]
    assert [p.name for p in trajectories[0]] == [p.name for p in trajectories[1]], "other trajectory files"
    for one, other in zip(*trajectories, strict=True):
        assert one.read_bytes() == other.read_bytes(), f"trajectory/{other.name} is not bit-equal"
    assert_equal_tensors(*(load_file(folder / "final.safetensors") for folder in (got, expected)))
    _equal(*(json.loads((folder / "final.json").read_text()) for folder in (got, expected)), "log")


def assert_same_finished_run(got: Path, expected: Path) -> None:
    """Bit-equal: model, predictions, results, card and its figures, apart from clocks and the run's stops."""
    results = [RunFolder(folder).read_results() for folder in (got, expected)]
    for one in results:
        one["training"] = {k: v for k, v in one["training"].items() if k not in {*CLOCKS, "legs"}}
        one["log"] = [{k: v for k, v in e.items() if not k.endswith(("runtime", "_per_second"))} for e in one["log"]]
    _equal(*results, "results")
    names = [sorted(str(p.relative_to(folder)) for p in _published(folder)) for folder in (got, expected)]
    assert names[0] == names[1], f"other files: {set(names[0]) ^ set(names[1])}"
    for name in names[1]:
        one, other = (_OF_THE_RUN.sub(b"", (folder / name).read_bytes()) for folder in (got, expected))
        assert one == other, f"{name} is not bit-equal"


# What a card says of the clock ("12 s on 2 CPU threads", "At least 12 s in 2 parts (...) on 2 CPU threads") and of its
# folder, and the digests of the sections that say it.
_OF_THE_RUN = re.compile(rb'(At least )?\d+ s (in \d+ parts \([^)]*\) )?on |begin \w+ \w+ |"[\w@/]+/model"')


def _published(folder: Path) -> list[Path]:
    run = RunFolder(folder)
    return [
        path for part in (run.model, run.predictions, run.trajectory) for path in part.rglob("*") if path.is_file()
    ]


# ---- properties --------------------------------------------------------------------------------------------------


def check_learns(case: str, folder: Path) -> AmbiSERTrainer:
    """Loss on the labelled clips falls, every parameter that asks for a gradient moves; the trained trainer."""
    chosen = settings(case, "learns", optim="adamw_torch", learning_rate=5e-3, num_train_epochs=11)
    trainer = make_trainer(case, folder, **chosen)
    if trainer.needs_ambiguous:
        drawn = {epoch: trainer.ambiguous_per_step(epoch) for epoch in range(3)}
        assert drawn[2] > 0, f"the suite never shows {case} an ambiguous clip: {drawn}; set its suite_settings"
    parameters = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    before = divergence(trainer)
    trainer.train()
    after = divergence(trainer)
    assert after < 0.7 * before, f"divergence on the labelled clips went from {before:.3f} to {after:.3f}"
    still = [name for name, p in trainer.model.named_parameters() if name in parameters and p.equal(parameters[name])]
    assert not still, f"these parameters never moved: {still}"
    return trainer


@torch.no_grad()
def divergence(trainer: AmbiSERTrainer) -> float:
    """Mean KL divergence of the labelled clips' targets from the answers, in evaluation mode.

    Cross-entropy less the targets' own entropy, so that it may fall to 0 for soft labels as for hard ones.
    """
    model = trainer.model.eval()
    batch = trainer.collate([trainer.data[StepKey(0, i, ())] for i in range(trainer.data.n_labelled)])
    logits = model(input_values=batch["input_values"], attention_mask=batch["attention_mask"]).logits
    targets = trainer.table.observed[batch["index"]]
    return float(torch.nn.functional.kl_div(logits.log_softmax(-1), targets, reduction="batchmean"))


def local_mean(self: AmbiSERTrainer, values: Tensor, group: str) -> Tensor:
    """A planted fault, in place of `effective_mean`: the mean over this micro-batch's or this rank's own rows."""
    return values.float().sum() / max(len(values), 1)


def check_accumulation(case: str, folder: Path, rtol: float = RTOL, **options: Any) -> None:
    """Batch 8 x 1 equals 2 x 4, up to `rtol` of each tensor's largest entry."""
    chosen = settings(case, "accumulation")
    whole = run(case, folder, **chosen, **options)
    cut = chosen | {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert_close_runs(run(case, folder, **cut, **options), whole, rtol)


def check_ranks(case: str, folder: Path, two_ranks: Path, fault: str = "", **arguments: Any) -> None:
    """Two ranks equal one process; what the method keeps is bit-equal on both. `arguments` are those of the ranks."""
    done = two_ranks / (fault or "as_is") / case
    ranks = [Trace.load(done / f"rank{i}") for i in range(2)]
    assert_equal_tensors(ranks[1].tensors, ranks[0].tensors)
    assert_close_runs(ranks[0], run(case, folder, **settings(case, "ranks", **arguments)))


class Stopped(BaseException):
    """A run's end that nothing inside it may catch."""


class _StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Stopped


def check_resume(case: str, folder: Path, **options: Any) -> None:
    """Stopped and resumed equals uninterrupted, bit for bit; `options` as in `interrupted_runs`."""
    interrupted_runs(case, folder, **options)
    assert_same_run_folder(folder / "stopped", folder / "whole")


def interrupted_runs(
    case: str,
    folder: Path,
    stops: tuple[int, ...] = (3, 5, 6),
    arguments: dict[str, Any] | None = None,
    spoil: Callable[[AmbiSERTrainer], None] = lambda trainer: None,
    **options: Any,
) -> None:
    """Train FOLDER/whole, and FOLDER/stopped, which ends before each of the given steps and goes on from a checkpoint.

    All inside this process, so quick; `suite_kill.py` kills processes. `spoil` is done to the first trainer that is
    stopped.
    """
    chosen = settings(case, "resume", **INTERRUPTED) | (arguments or {})
    for name, moments in (("whole", ()), ("stopped", stops)):
        for stop in (*moments, None):
            trainer = make_trainer(case, folder / name, dropout=DROPOUT, **chosen, **options)
            if stop is not None:
                trainer.add_callback(_StopAt(stop))
            if moments and stop == moments[0]:
                spoil(trainer)
            try:
                train_or_go_on(trainer)
            except Stopped:
                continue
            except Exception as error:
                raise AssertionError(f"{case} could not go on: {error!r}") from error
        if trainer.is_world_process_zero():
            trace_of(trainer).save(folder / name / "final")
        trainer.accelerator.wait_for_everyone()


def check_unread(case: str, folder: Path) -> None:
    """What the raters say of ambiguous utterances changes nothing, nor does any `reference_*` column.

    A method that says it reads them (`ambiguous_target`) is given them, so that only the second holds for it.
    """
    chosen = settings(case, "unread")
    expected = run(case, folder, **chosen)
    got = run(case, folder, **chosen, change=_spoil)
    assert_equal_tensors(got.tensors, expected.tensors)
    assert got.steps == expected.steps


def _spoil(split: Any) -> Any:
    """Garbage in every column that a trainer has no business reading."""
    hidden = split[0]["label"] < 0
    k = len(split[0]["votes"])

    def garbage(row: dict[str, Any], i: int) -> dict[str, Any]:
        noise = np.random.default_rng(i).random(k)
        noise /= noise.sum()
        changed = {
            "reference_votes": (9 * noise).tolist(),
            "reference_soft_label": noise.tolist(),
            "reference_label": int(noise.argmax()),
            "true_distribution": noise.tolist(),
        }
        if hidden:
            changed |= {name.removeprefix("reference_"): value for name, value in changed.items() if "ref" in name}
            changed |= {"agreement": float(noise.max()), "entropy": 1.0, "tier": "no_consensus"}
            changed |= {"speaker": f"x{i}", "session": f"y{i}"}
        return changed

    return split.map(garbage, with_indices=True, features=split.features, load_from_cache_file=False)


class _Watch(TrainerCallback):
    """The state before and after every optimiser step."""

    def __init__(self, trainer: AmbiSERTrainer) -> None:
        self.trainer = trainer
        self.before: list[dict[str, Tensor]] = []
        self.after: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.before.append(state_of(self.trainer))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.after.append(state_of(self.trainer))


def check_skipped(case: str, folder: Path, monkeypatch: Any) -> None:
    """Where the gradient scaler skips the optimiser's step, parameters, label table and method state stay."""
    skipped = {1, 5, 7}
    step = AcceleratedOptimizer.step

    def sometimes(self: AcceleratedOptimizer, closure: Callable[[], Any] | None = None) -> None:
        self._is_overflow = len(watch.before) - 1 in skipped
        if not self._is_overflow:
            step(self, closure)

    with monkeypatch.context() as patch:
        patch.setattr(AcceleratedOptimizer, "step", sometimes)
        trainer = make_trainer(case, folder, **settings(case, "skipped"))
        watch = _Watch(trainer)
        trainer.add_callback(watch)
        trainer.train()
    assert len(watch.before) == len(watch.after) == 9
    for i, (before, after) in enumerate(zip(watch.before, watch.after, strict=True)):
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        assert bool(changed) != (i in skipped), f"step {i}, skipped: {i in skipped}, changed: {changed}"


def check_precision(case: str, folder: Path) -> None:
    """Under bfloat16 autocast losses, prototypes and label table stay float32, and the run stays near float32's."""
    chosen = settings(case, "precision")
    exact = run(case, folder, **chosen)
    trainer = make_trainer(case, folder, **chosen, bf16=True)
    losses: list[Tensor] = []
    compute_loss = trainer.compute_loss
    seen: list[torch.dtype] = []
    layers = [module for module in trainer.model.head.modules() if isinstance(module, torch.nn.Linear)]
    hooks = [m.register_forward_hook(lambda module, given, out: seen.append(out.dtype)) for m in layers]

    def watched(*args: Any, **kwargs: Any) -> Any:
        losses.append(compute_loss(*args, **kwargs))
        return losses[-1]

    trainer.compute_loss = watched  # type: ignore[method-assign]
    trainer.train()
    for hook in hooks:
        hook.remove()
    assert torch.bfloat16 in seen, "autocast was off, so this shows nothing"
    assert losses and all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses)
    for name, tensor in state_of(trainer).items():
        assert tensor.dtype in (torch.float32, torch.int64), f"{name} is {tensor.dtype}"
        assert torch.isfinite(tensor).all(), name
    figures = [[step["loss"] for step in trace.steps if "loss" in step] for trace in (trace_of(trainer), exact)]
    np.testing.assert_allclose(*figures, rtol=0.05)


def check_checkpointing(case: str, folder: Path, **options: Any) -> None:
    """Activation checkpointing computes the same, and a method's state does not change twice."""
    chosen = settings(case, "checkpointing")
    traces, calls = [], []
    for options["activation_checkpointing"] in (False, True):
        calls.append(0)
        with register_module_forward_hook(lambda module, given, out: calls.append(calls.pop() + module.training)):
            traces.append(run(case, folder, **chosen, **options))
    assert calls[1] > calls[0], "nothing was computed again, so this shows nothing"
    assert_close_runs(traces[1], traces[0])
