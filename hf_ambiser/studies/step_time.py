"""The time of a run on this machine: measured optimiser steps and evaluation batches, times their number."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerState

from hf_ambiser.methods import load_method
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.studies.cells import Cell
from hf_ambiser.studies.progress import duration
from hf_ambiser.studies.threads import threads_of_a_cell
from hf_ambiser.training.model_arguments import ModelArguments
from hf_ambiser.training.trainer import AmbiSERTrainer


BUDGET = 12.0
# Fields whose values change what is learnt, and not how long a step takes or how many there are.
_NO_TIME = frozenset(
    """
    learning_rate weight_decay lr_scheduler_type lr_scheduler_kwargs warmup_steps warmup_ratio max_grad_norm adam_beta1
    adam_beta2 adam_epsilon label_smoothing_factor
    """.split()
)
_WARM, _STEPS = 2, 3  # number of steps that fill caches, and of steps that are timed


@dataclass(frozen=True)
class Cost:
    """Seconds of one run, or 0 if they could not be measured, and a description of how they were computed."""

    seconds: float
    words: str


def measure(
    cells: Mapping[str, Cell], jobs: int, budget: float = BUDGET, every: Mapping[str, Cell] | None = None
) -> dict[str, Cost]:
    """Measure a cell of each system, on the share of this machine's cores that it would have.

    Systems that differ only in fields that cost no time (`_NO_TIME`) are measured once. One system of each method,
    family and `freeze` comes first. When the budget is used up, the other systems get the mean of those of their
    method, and say so.

    Args:
        cells: System -> one of its cells.
        jobs: Cells at a time.
        budget: Seconds after which no further system is measured.
        every: System -> one of its cells, also of systems of which nothing is left to run; the default is `cells`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_of_a_cell(jobs))
    kinds = {name: _kind(cell) for name, cell in cells.items()}
    one_each: dict[str, Cell] = {}
    first: dict[tuple[str, str, str], str] = {}
    for name, kind in kinds.items():
        one_each.setdefault(kind, cells[name])
        first.setdefault(_method(cells[name]), kind)
    found: dict[str, Cost] = {}
    start = time.monotonic()
    try:
        for kind in tqdm(dict.fromkeys([*first.values(), *one_each]), desc="measuring", unit="system"):
            if time.monotonic() - start < budget or kind in first.values():
                found[kind] = _cost(one_each[kind], cells if every is None else every)
    finally:
        torch.set_num_threads(threads)
    return {name: found[kind] if kind in found else _by_method(found, kind, one_each) for name, kind in kinds.items()}


def _kind(cell: Cell) -> str:
    """The fields of a cell that decide what it costs, as text."""
    own = ("system", "seed", "output_dir")
    return repr(sorted((name, repr(value)) for name, value in cell.fields.items() if name not in {*_NO_TIME, *own}))


def _method(cell: Cell) -> tuple[str, str, str]:
    """The method, the model family and what is frozen, which decide most of the time."""
    fields = cell.fields
    freeze = f"freeze={fields['freeze']}" if fields.get("freeze") else ""
    return str(fields["method"]), str(fields.get("model_family") or ""), freeze


def _by_method(found: Mapping[str, Cost], kind: str, cells: Mapping[str, Cell]) -> Cost:
    own = _method(cells[kind])
    known = [cost.seconds for other, cost in found.items() if _method(cells[other]) == own and cost.seconds]
    if not known:
        return Cost(0.0, "time not measured, as that of the other systems of its method and family")
    seconds, name = sum(known) / len(known), " ".join(filter(None, own))
    return Cost(seconds, f"{duration(seconds)} (not measured: the mean of {len(known)} systems of method {name})")


def _made_like(cell: Cell, cells: Mapping[str, Cell]) -> dict[str, Any]:
    """The fields of a cell without what other cells learn, and with the architecture of the one that it begins with.

    What others learn may not exist yet, and costs nothing in a step.
    """
    fields = {name: value for name, value in cell.fields.items() if name not in dict(cell.after)}
    first = cells.get(str(cell.fields.get("pretrained")))
    if first is None or any(fields.get(name) for name in ModelArguments.of_architecture):
        return fields
    family = {"model_family": load_method(str(first.fields["method"])).model_family}
    of_first = _made_like(first, cells)
    made = family | {name: value for name, value in of_first.items() if name in ModelArguments.of_architecture}
    changed = {**(of_first.get("model_fields") or {}), **(fields.get("model_fields") or {})}
    return {**fields, **made, "model_fields": changed}


def _cost(cell: Cell, cells: Mapping[str, Cell]) -> Cost:
    from hf_ambiser.runs.run import prepare

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        try:
            arguments = RunArguments.from_mapping({**_made_like(cell, cells), "output_dir": folder})
            trainer, tests = prepare(arguments)
            if trainer.data.frames is not None:
                # The frames of the frozen encoder are kept, so the cells of the study will find them.
                start = time.perf_counter()
                trainer, tests = prepare(arguments)
        except (ValueError, OSError) as error:
            return Cost(0.0, f"time not measured ({' '.join(str(error).split())})")
        opening = time.perf_counter() - start
        total, words, all_steps = 0.0, [], 0
        for ambiguous, epochs in _phases(trainer).items():
            trainer.takes_ambiguous = lambda epoch, now=ambiguous: now  # type: ignore
            seconds = median(timed_steps(trainer, _WARM, _STEPS))
            per_epoch = math.ceil(len(trainer.get_train_dataloader()) / trainer.args.gradient_accumulation_steps)
            steps = round(epochs * per_epoch)
            total += steps * seconds
            all_steps += steps
            words.append(
                f"{steps} steps of {1000 * seconds:.0f} ms" + (" with ambiguous utterances" if ambiguous else "")
            )
        evaluations: list[tuple[Any, int]] = [(test, 1) for test in tests.values()]
        if trainer.eval_dataset is not None:
            evaluations.append((trainer.eval_dataset, _evaluations(trainer, all_steps)))
        batches = sum(n * math.ceil(len(data) / trainer.args.eval_batch_size) for data, n in evaluations)
        if evaluations:
            seconds = _timed_evaluation(trainer, evaluations[0][0])
            total += batches * seconds
            words.append(f"{batches} evaluation batches of {1000 * seconds:.0f} ms")
        return Cost(total + opening, f"{duration(total + opening)} ({', '.join(words)}, {opening:.1f} s to open)")


def _epochs(trainer: AmbiSERTrainer) -> float:
    args = trainer.args
    if args.max_steps > 0:
        return args.max_steps * args.gradient_accumulation_steps / len(trainer.get_train_dataloader())
    return args.num_train_epochs


def _evaluations(trainer: AmbiSERTrainer, steps: int) -> int:
    """Return how often a training of `steps` steps evaluates; `eval_steps` below 1 is a share of the training."""
    args = trainer.args
    if args.eval_strategy == "steps":
        state = TrainerState()
        state.compute_steps(args, steps)
        return steps // max(1, state.eval_steps)
    return math.ceil(_epochs(trainer)) if args.eval_strategy == "epoch" else 0


def _phases(trainer: AmbiSERTrainer) -> dict[bool, float]:
    """Return the number of epochs without and with ambiguous utterances: steps of a warm-up cost less."""
    left, phases = _epochs(trainer), dict[bool, float]()
    for epoch in range(math.ceil(left)):
        taken = trainer.takes_ambiguous(epoch)
        phases[taken] = phases.get(taken, 0.0) + min(1.0, left - epoch)
    return phases


def timed_steps(trainer: AmbiSERTrainer, warm: int, steps: int) -> list[float]:
    """Return the seconds of `steps` optimiser steps of a prepared trainer, each, after `warm` that fill caches.

    The steps change the trainer's model.
    """
    model: Any = trainer.model
    optimizer, batches, taken = trainer.create_optimizer(), _for_ever(trainer), []
    trainer.current_gradient_accumulation_steps = n = trainer.args.gradient_accumulation_steps
    trainer.begin_average()
    model.train()
    for _ in range(warm + steps):
        start = time.perf_counter()
        samples, _ = trainer.get_batch_samples(itertools.islice(batches, n), n, trainer.args.device)
        for inputs in samples:
            trainer.training_step(model, inputs)
        optimizer.step()
        trainer.step_taken()
        trainer.average_step()
        optimizer.zero_grad()
        _wait(trainer)
        taken.append(time.perf_counter() - start)
    trainer.average = None
    return taken[warm:]


def _for_ever(trainer: AmbiSERTrainer) -> Iterator[Any]:
    return itertools.chain.from_iterable(trainer.get_train_dataloader() for _ in itertools.count())


def _timed_evaluation(trainer: AmbiSERTrainer, data: Any) -> float:
    """Return the seconds of the second evaluation batch; the first fills caches."""
    model: Any = trainer.model
    seconds = 0.0
    for inputs in itertools.islice(trainer.get_eval_dataloader(data), 2):
        start = time.perf_counter()
        trainer.prediction_step(model, inputs, prediction_loss_only=False)
        _wait(trainer)
        seconds = time.perf_counter() - start
    return seconds


def _wait(trainer: AmbiSERTrainer) -> None:
    if trainer.args.device.type == "cuda":
        torch.cuda.synchronize()
