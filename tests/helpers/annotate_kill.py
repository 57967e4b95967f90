"""Run as a process: annotates a corpus in children that are killed with SIGKILL, goes on each time, until it is done.

    python annotate_kill.py FOLDER RANDOM

FOLDER holds `corpus.tar` and `model`. FOLDER/whole<W> is annotated without a kill by W = 1 and 2 processes;
FOLDER/planted<W> is killed at the moments that stand here, one after the other; FOLDER/random<W>-<i> at RANDOM drawn
moments. FOLDER/attempts.json says how each attempt ended, and which shards were there then.

Children are forked, which saves each of them the import of torch and transformers. When one of two dies, the other one
is killed, too, as `torchrun` does it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import io
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import accelerate  # noqa: F401
import torch

from helpers.forking import share_no_lock
from hf_ambiser.cli import main as hf_ambiser
from hf_ambiser.inference import annotate, annotate_cli, annotation_folder  # noqa: F401
from hf_ambiser.inference.annotation_folder import AnnotationFolder
from hf_ambiser.inference.model_door import open_model
from hf_ambiser.run_folder import layout


SHARD, HUNG = 4, 60
# Number of processes -> moments, and how many times each one comes before a process dies. The last process dies in a
# shard, the first at the end. What only the first process does is the same however many there are.
MOMENTS = {
    1: [
        ("manifest half written", 0),
        ("nothing written", 0),
        ("without an answer written", 0),
        ("shard half written", 1),
        ("shard written", 0),
        ("nothing written", 1),
        ("all shards there", 0),
        ("joined", 0),
        ("manifest half completed", 0),
        ("none", 0),
    ],
    2: [
        ("shard half written", 0),
        ("without an answer written", 0),
        ("shard written", 0),
        ("nothing written", 0),
        ("all shards there", 0),
        ("none", 0),
    ],
}
OF_THE_FIRST = ("manifest half written", "all shards there", "joined", "manifest half completed")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def plant(moment: str, after: int) -> None:
    """Make this process kill itself at a moment that has come `after` times before."""
    left = [after]

    def around(owner: Any, name: str, *, before: bool = False, spoil: bool = False, only: str = "") -> None:
        original = getattr(owner, name)

        def replaced(*args: Any, **kwargs: Any) -> Any:
            due = only in str(args)
            left[0] -= due
            if due and left[0] < 0 and before:
                if spoil:
                    os.truncate(args[0], os.path.getsize(args[0]) // 2)
                die()
            result = original(*args, **kwargs)
            if due and left[0] < 0:
                die()
            return result

        mock.patch.object(owner, name, replaced).start()

    moments: dict[str, Callable[[], None]] = {
        "manifest half written": lambda: around(layout.os, "fsync", before=True),
        "nothing written": lambda: around(AnnotationFolder, "write_shard", before=True),
        "without an answer written": lambda: around(annotation_folder, "_write", only=".not_answered"),
        "shard half written": lambda: around(layout.os, "replace", before=True, spoil=True, only="annotated-"),
        "shard written": lambda: around(AnnotationFolder, "write_shard"),
        "all shards there": lambda: around(AnnotationFolder, "finish", before=True),
        "joined": lambda: around(AnnotationFolder, "finish"),
        "manifest half completed": lambda: around(layout.os, "fsync", before=True),
        "none": lambda: None,
    }
    moments[moment]()


def child(root: Path, out: Path, rank: int, world: int, port: int, moment: str, after: int) -> None:
    """Annotate or go on, and leave the process."""
    faulthandler.dump_traceback_later(HUNG, exit=True)
    status = 1
    try:
        if world > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        if rank == (0 if moment in OF_THE_FIRST else world - 1):
            plant(moment, after)
        words = ["annotate", str(root / "corpus.tar"), "--model", str(root / "model"), "--out", str(out)]
        words += ["--shard-size", str(SHARD), "--embeddings", "--device", "cpu", "--no-progress"]
        with contextlib.redirect_stdout(io.StringIO()):
            status = hf_ambiser(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def attempt(root: Path, out: Path, world: int, moment: str = "none", after: int = 0, delay: float = -1.0) -> dict:
    """All processes until one is killed or all are done; then how they ended, and the shards that are there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun, alive, statuses = time.monotonic(), {}, {}
    for rank in range(world):
        if (process := os.fork()) == 0:
            child(root, out, rank, world, port, moment, after)
        alive[process] = rank
    victim = random.choice(sorted(alive))
    while alive:
        done, code = os.waitpid(-1, os.WNOHANG)
        if done:
            statuses[alive.pop(done)] = os.waitstatus_to_exitcode(code)
            if code:
                for other in alive:
                    os.kill(other, signal.SIGKILL)
        elif delay >= 0 and time.monotonic() - begun > delay and victim in alive:
            os.kill(victim, signal.SIGKILL)
            delay = -1.0
        else:
            time.sleep(0.002)
    shards = sorted((out / "data").glob("*.parquet")) if out.is_dir() else []
    return {
        "folder": out.name,
        "world": world,
        "moment": moment,
        "killed": -signal.SIGKILL in statuses.values(),
        "statuses": [statuses[rank] for rank in range(world)],
        "seconds": time.monotonic() - begun,
        # A shard that is written once more is another file.
        "shards": {path.name: [path.stat().st_ino, path.stat().st_mtime_ns] for path in shards},
    }


def main(root: Path, kills: int) -> None:
    torch.set_num_threads(1)
    share_no_lock()
    random.seed(0)
    # Opened once for all children, with everything that is imported for it.
    opened = open_model(root / "model", "cpu")
    mock.patch.object(annotate, "open_model", lambda *_: opened).start()
    gc.freeze()
    attempts = []
    for world in (1, 2):
        whole = attempt(root, root / f"whole{world}", world)
        attempts.append(whole)
        attempts += [attempt(root, root / f"planted{world}", world, *moment) for moment in MOMENTS[world]]
        number = killed = 0
        while killed < kills:
            delay = random.uniform(0.1, 0.9) * whole["seconds"]
            ended = attempt(root, root / f"random{world}-{number}", world, delay=delay)
            attempts.append(ended)
            killed += ended["killed"]
            number += not ended["killed"]
        attempts.append(attempt(root, root / f"random{world}-{number}", world))
    (root / "attempts.json").write_text(json.dumps(attempts, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
