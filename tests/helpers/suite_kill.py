"""Run as a process: trains cases in children that are killed with SIGKILL, goes on each time, until they are done.

    python suite_kill.py first|second FOLDER CASE ...

`first` trains FOLDER/<case>/whole without interruption and begins FOLDER/<case>/planted, killed at moments chosen
here, and FOLDER/<case>/random, killed at moments drawn; `second`, another process, goes on and finishes both. What
happened is written to FOLDER/<case>/<phase>.json.

Children are forked, which saves each of them the import of torch and transformers; there is one thread, and no tensor
is made before a fork.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import TrainerCallback

import hf_ambiser.training.trainer as base
from helpers import made_data
from helpers.suite_checks import DROPOUT, INTERRUPTED
from helpers.suite_methods import make_trainer, settings, trace_of, train_or_go_on
from hf_ambiser.run_folder import layout
from hf_ambiser.training import checkpoints
from hf_ambiser.training.trainer import AmbiSERTrainer


# Attempts of one run of nine steps with checkpoints 2, 4, 6, 8 and 9: (moment, from which step on).
PLANTED = {
    "first": [
        ("model written", 2),
        ("step taken", 1),
        ("marked, not rotated", 2),
        ("epoch end", 3),
        ("optimizer half written", 4),
        ("trajectory written", 3),
        ("method state half written", 4),
    ],
    "second": [
        ("not marked", 4),
        ("marker half written", 4),
        ("marked, not rotated", 4),
        ("in rotation", 6),
        ("epoch end", 9),
        ("none", 0),
    ],
}
# Shares of the time that the whole run takes, drawn with this seed, after which it is killed from outside.
SEED = 0
RANDOM = {"first": 3, "second": 2}
BEGUN = "begun"


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
        "random": lambda: None,
        "none": lambda: None,
    }
    moments[moment]()
    trainer.add_callback(_Begun())


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
    status = 1
    try:
        trainer = make_trainer(case, folder, dropout=DROPOUT, **settings(case, "resume", **INTERRUPTED))
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
        "moment": moment,
        "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "status": os.waitstatus_to_exitcode(status),
        "last": int(last.name.split("-")[1]) if last else 0,
        "seconds": time.monotonic() - begun,
    }


def main(phase: str, root: Path, cases: list[str]) -> None:
    torch.set_num_threads(1)
    made_data.training_set(AmbiSERTrainer), made_data.evaluation_set()  # kept, so that no child makes them again
    gc.freeze()  # what is imported is never garbage; a collection in each child would copy all of it
    for case in cases:
        folder, report = root / case, root / case / f"{phase}.json"
        attempts = {"planted": [], "random": []}
        if phase == "first":
            attempts["whole"] = [attempt(case, folder / "whole")]
            seconds = attempts["whole"][0]["seconds"]
        else:
            seconds = json.loads((folder / "first.json").read_text())["whole"][0]["seconds"]
        for moment, step in PLANTED[phase]:
            attempts["planted"].append(attempt(case, folder / "planted", moment, step))
        draw = random.Random(f"{SEED} {phase} {case}")
        while len(attempts["random"]) < RANDOM[phase]:
            ended = attempt(case, folder / "random", "random", after=draw.uniform(0, 0.4) * seconds)
            if not ended["killed"] and phase == "first" and not attempts["random"]:
                # Finished before the first kill: the machine had been slower during the whole run. Begin again.
                shutil.rmtree(folder / "random")
                seconds /= 2
                continue
            attempts["random"].append(ended)
        if phase == "second":
            attempts["random"].append(attempt(case, folder / "random"))
        report.write_text(json.dumps(attempts, indent=1))


def read_attempts(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All attempts of a case, of both phases, by kind (`whole`, `planted`, `random`)."""
    phases = [json.loads((folder / f"{phase}.json").read_text()) for phase in ("first", "second")]
    return {kind: [attempt for phase in phases for attempt in phase.get(kind, [])] for kind in phases[0]}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
