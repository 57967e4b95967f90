"""Run as a process: trains cases in children that are killed with SIGKILL, goes on each time, until they are done.

    python suite_kill.py first|second FOLDER RANDOM CASE ...

`first` trains FOLDER/<case>/whole without interruption and begins FOLDER/<case>/planted, killed at moments chosen
here, and FOLDER/<case>/random<i>, killed at moments drawn; `second`, another process, goes on and finishes all. What
happened is written to FOLDER/<case>/<phase>.json. RANDOM is the number of moments drawn. A case is a method, or
"method:variant"; with "@scenario" it saves, evaluates and stops in another way (`SCENARIOS`).

Children are forked, which saves each of them the import of torch and transformers; there is one thread, and no tensor
is made before a fork. A lock that processes share must not exist either: a child killed while it holds one leaves it
locked for all that come after. A child that hangs is ended, and says where it hung.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import TrainerCallback

import hf_ambiser.cards as cards
import hf_ambiser.training.trainer as base
from helpers import made_data
from helpers.forking import share_no_lock
from helpers.made_run import built, fields
from helpers.suite_checks import DROPOUT, INTERRUPTED
from helpers.suite_methods import make_trainer, settings, trace_of, train_or_go_on
from hf_ambiser.methods import load_method
from hf_ambiser.run_folder import layout
from hf_ambiser.runs import run as run_module
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.training import checkpoints
from hf_ambiser.training.trainer import AmbiSERTrainer


@dataclass(frozen=True)
class Scenario:
    """How a run saves, evaluates and stops, beside `INTERRUPTED`, and its attempts: (moment, from which step on)."""

    first: list[tuple[str, int]]
    second: list[tuple[str, int]]
    arguments: dict[str, Any] = field(default_factory=dict)
    whole_run: bool = False  # with data set, scores and card, as the command line does it


# A validation loss that must rise does not, so patience has run out at the second evaluation that counts.
STOPPING = {
    "save_strategy": "epoch",
    "eval_strategy": "epoch",
    "metric_for_best_model": "loss",
    "greater_is_better": True,
    "early_stopping_patience": 1,
    "load_best_model_at_end": True,
}
SCENARIOS = {
    # Nine steps with checkpoints 2, 4, 6, 8 and 9.
    "": Scenario(
        first=[
            ("model written", 2),
            ("step taken", 1),
            ("marked, not rotated", 2),
            ("epoch end", 3),
            ("optimizer half written", 4),
            ("trajectory written", 3),
            ("method state half written", 4),
        ],
        second=[
            ("not marked", 4),
            ("marker half written", 4),
            ("marked, not rotated", 4),
            ("in rotation", 6),
            ("epoch end", 9),
            ("none", 0),
        ],
    ),
    # The same run, killed while a method's own state is written, between checkpoints and at the end of an epoch.
    "briefly": Scenario(
        first=[("step taken", 1), ("epoch end", 3), ("method state half written", 4)],
        second=[("marked, not rotated", 4), ("epoch end", 9), ("none", 0)],
    ),
    # Checkpoints 3, 6 and 9 are saved before the end of their epoch, which evaluates and logs.
    "by_epoch": Scenario(
        arguments={"save_steps": 3, "eval_strategy": "epoch", "logging_strategy": "epoch", "eval_on_start": True},
        first=[("marked, not rotated", 3), ("evaluated", 3), ("marked, not rotated", 6), ("epoch end", 6)],
        second=[("step taken", 6), ("marked, not rotated", 9), ("evaluated", 9), ("at the end", 9), ("none", 0)],
    ),
    # Fifteen steps would be trained; the run stops at 6, or at 9 where a method does not evaluate each epoch. The
    # entries of the log are means over more steps than lie between two checkpoints.
    "stops_early": Scenario(
        arguments={**STOPPING, "num_train_epochs": 5, "logging_steps": 4},
        first=[("marked, not rotated", 3), ("evaluated", 6), ("at the end", 6)],
        second=[("at the end", 6), ("best loaded", 6), ("none", 0)],
    ),
    "scored": Scenario(
        whole_run=True,
        arguments={**STOPPING, "num_train_epochs": 5, "greater_is_better": False},  # on these data the loss does rise
        first=[("scored", 0), ("rest answered", 0)],
        second=[("model saved", 0), ("results written", 0), ("card begun", 0), ("none", 0)],
    ),
}
HUNG = 120  # seconds; the longest child takes 5
SEED = 0  # of the moments at which runs are killed from outside
BEGUN = "begun"


def parts_of(case: str) -> tuple[str, Scenario]:
    """The method (with its variant) and the scenario of a case."""
    method, _, scenario = case.partition("@")
    return method, SCENARIOS[scenario]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def plant(moment: str, step: int, trainer: AmbiSERTrainer) -> None:
    """Make this process kill itself at a moment, once the run has come to a step."""

    def around(owner: Any, name: str, before: bool = False, spoil: Callable[..., None] | None = None) -> None:
        original = getattr(owner, name)

        def replaced(*args: Any, **kwargs: Any) -> Any:
            due = trainer.state.global_step >= step
            if due and before:
                die()
            if due and spoil:
                spoil(*args)
                die()
            result = original(*args, **kwargs)
            if due:
                die()
            return result

        mock.patch.object(owner, name, replaced).start()

    def half_optimizer(folder: str) -> None:
        AmbiSERTrainer._save_optimizer_and_scheduler(trainer, folder)
        cut(Path(folder) / "optimizer.pt")

    def half_state(tensors: Any, path: Path) -> None:
        path.write_bytes(b"\x80\x00\x00")

    def half_deleted(path: Path) -> None:
        (path / "model.safetensors").unlink()

    moments: dict[str, Callable[[], None]] = {
        "model written": lambda: around(trainer, "save_model"),
        "step taken": lambda: around(trainer, "step_taken"),
        "epoch end": lambda: around(trainer, "epoch_finished"),
        "trajectory written": lambda: around(base, "write_trajectory"),
        "optimizer half written": lambda: around(trainer, "_save_optimizer_and_scheduler", spoil=half_optimizer),
        "method state half written": lambda: around(base, "save_file", spoil=half_state),
        "not marked": lambda: around(checkpoints, "mark_complete", before=True),
        "marker half written": lambda: around(layout.os, "fsync", before=True),
        "marked, not rotated": lambda: around(checkpoints, "rotate", before=True),
        "in rotation": lambda: around(checkpoints.shutil, "rmtree", spoil=half_deleted),
        "evaluated": lambda: around(trainer, "evaluate"),
        "at the end": lambda: around(trainer, "_finalize_training", before=True),
        "best loaded": lambda: around(trainer, "_load_best_model"),
        "random": lambda: None,
        "none": lambda: None,
    }
    moments[moment]()
    trainer.add_callback(_Begun())


def plant_in_run(moment: str) -> None:
    """Make this process kill itself at a moment after training."""

    def around(owner: Any, name: str, before: bool = False) -> None:
        original = getattr(owner, name)

        def replaced(*args: Any, **kwargs: Any) -> None:
            if not before:
                original(*args, **kwargs)
            die()

        mock.patch.object(owner, name, replaced).start()

    moments: dict[str, Callable[[], None]] = {
        "scored": lambda: around(run_module, "save_predictions"),
        "rest answered": lambda: around(run_module, "answer_rest"),
        "model saved": lambda: around(layout.RunFolder, "write_results", before=True),
        "results written": lambda: around(layout.RunFolder, "write_results"),
        "card begun": lambda: around(cards, "write_whole", before=True),
        "random": lambda: None,
        "none": lambda: None,
    }
    moments[moment]()


class _Begun(TrainerCallback):
    """Tells the parent, by a file, that training has begun."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        Path(args.output_dir, BEGUN).touch()


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def child(case: str, folder: Path, moment: str, step: int) -> None:
    """Train or go on, and leave the process."""
    faulthandler.dump_traceback_later(HUNG, exit=True)
    status = 1
    method, scenario = parts_of(case)
    try:
        if scenario.whole_run:
            (folder / BEGUN).touch()
            plant_in_run(moment)
            told = {**load_method(method).suite_settings, **scenario.arguments, "method": method, "warmup_epochs": ...}
            told |= {"warmup_epochs": 1} if method == "ipr" else {}
            run_module.run(RunArguments.from_mapping(fields(folder.parent.parent / "dataset", folder, **told)))
        else:
            chosen = settings(method, "resume", **INTERRUPTED) | scenario.arguments
            trainer = make_trainer(method, folder, dropout=DROPOUT, **chosen)
            plant(moment, step, trainer)
            train_or_go_on(trainer)
            trace_of(trainer).save(folder / "final")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def attempt(case: str, folder: Path, moment: str = "none", step: int = 0, after: float = 0.0) -> dict[str, Any]:
    """One child until it is killed or done; how it ended, how long it trained and the checkpoint it left."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BEGUN).unlink(missing_ok=True)
    process = os.fork()
    if process == 0:
        child(case, folder, moment, step)
    status = None
    while status is None and not (folder / BEGUN).exists():
        time.sleep(0.005)
        done, code = os.waitpid(process, os.WNOHANG)
        status = code if done else None
    begun = time.monotonic()
    if status is None:
        if moment == "random":
            time.sleep(after)
            os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
    last = checkpoints.last_complete(folder)
    return {
        "folder": folder.name,
        "moment": moment,
        "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "status": os.waitstatus_to_exitcode(status),
        "last": int(last.name.split("-")[1]) if last else 0,
        "seconds": time.monotonic() - begun,
    }


def kill_at_random(case: str, root: Path, phase: str, kills: int, seconds: float) -> list[dict[str, Any]]:
    """Kill a run so many times; where it ends in between, the next one begins. The second phase ends the last one."""
    draw, attempts, killed = random.Random(f"{SEED} {phase} {case}"), [], 0
    number = max((int(path.name.removeprefix("random")) for path in root.glob("random*")), default=0)
    while killed < kills:
        ended = attempt(case, root / f"random{number}", "random", after=draw.uniform(0, 0.4) * seconds)
        attempts.append(ended)
        killed += ended["killed"]
        if not ended["killed"]:
            number += 1
            seconds *= 1 if killed else 0.5  # before the first kill: the machine had been slower in the whole run
    return [*attempts, attempt(case, root / f"random{number}")] if phase == "second" else attempts


def main(phase: str, root: Path, kills: int, cases: list[str]) -> None:
    torch.set_num_threads(1)
    share_no_lock()
    made_data.training_set(AmbiSERTrainer), made_data.evaluation_set()  # kept, so that no child makes them again
    if phase == "first" and any(parts_of(case)[1].whole_run for case in cases):
        built(root)
    gc.freeze()  # what is imported is never garbage; a collection in each child would copy all of it
    for case in cases:
        folder, report = root / case, root / case / f"{phase}.json"
        attempts: dict[str, list[dict[str, Any]]] = {}
        if phase == "first":
            attempts["whole"] = [attempt(case, folder / "whole")]
            seconds = attempts["whole"][0]["seconds"]
        else:
            seconds = json.loads((folder / "first.json").read_text())["whole"][0]["seconds"]
        planted = getattr(parts_of(case)[1], phase)
        attempts["planted"] = [attempt(case, folder / "planted", *moment) for moment in planted]
        of_phase = kills - kills // 2 if phase == "first" else kills // 2
        attempts["random"] = kill_at_random(case, folder, phase, of_phase, seconds)
        report.write_text(json.dumps(attempts, indent=1))


def read_attempts(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All attempts of a case, of both phases, by kind (`whole`, `planted`, `random`)."""
    phases = [json.loads((folder / f"{phase}.json").read_text()) for phase in ("first", "second")]
    return {kind: [attempt for phase in phases for attempt in phase.get(kind, [])] for kind in phases[0]}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
