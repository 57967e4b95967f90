"""Run by `torchrun`: cases on two ranks, as they are and resumed, and faults that only ranks can show.

    torchrun --nproc_per_node 2 suite_ranks.py FOLDER CASE ... [faults] [ARGUMENTS]

ARGUMENTS is a JSON object of training arguments for all cases.

Writes FOLDER/<as_is or fault>/<case>/rank<i> and FOLDER/resumed/<case>/{whole,stopped}.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from accelerate.state import AcceleratorState, GradientState
from torch import Tensor
from transformers import TrainingArguments

import hf_ambiser.methods.ipr.trainer as ipr
import hf_ambiser.training.trainer as base
from helpers.forking import fork, wait_for
from helpers.suite_checks import interrupted_runs, local_mean
from helpers.suite_methods import cannot, run, settings
from hf_ambiser.training.distributed import gather_with_gradient, leave_ranks, rank


HALF = {"per_device_train_batch_size": 4}


def gather_detached(tensor: Tensor) -> tuple[Tensor, int]:
    bank, start = gather_with_gradient(tensor)
    return bank.detach(), start


FAULTS = {
    # Each rank keeps to itself what it saw.
    "gather": mock.patch.object(base, "gather_rows", dict),
    # Contrast with clips of the other rank gives no gradient to them.
    "gradient_gather": mock.patch.object(ipr, "gather_with_gradient", gather_detached),
    # Losses are means over this rank's rows.
    "local_mean": mock.patch.object(base.AmbiSERTrainer, "effective_mean", local_mean),
}


def threads_of_gloo() -> list[str]:
    """Names of the threads of this process that do the work of its process group; none where there is no /proc."""
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
    return [name for name in names if "gloo" in name]


def train(folder: Path, case: str, **arguments: Any) -> None:
    run(case, folder / "run", **settings(case, "ranks", **HALF, **arguments)).save(folder / f"rank{rank()}")


def main(folder: Path, *words: str) -> None:
    """What one rank does; `words` as on the command line."""
    arguments = {name: value for word in words if word.startswith("{") for name, value in json.loads(word).items()}
    cases = [word for word in words if word != "faults" and not word.startswith("{")]
    assert TrainingArguments(output_dir=str(folder), use_cpu=True).device.type == "cpu"  # starts the process group
    gc.freeze()  # what is imported is never garbage, and every training ends with a collection
    for case in cases:
        if not cannot(case, "ranks"):
            train(folder / "as_is" / case, case, **arguments)
        if not cannot(case, "resume"):
            interrupted_runs(case, folder / "resumed" / case, stops=(3, 6), arguments=HALF | arguments)
    for name, fault in FAULTS.items() if "faults" in words else ():
        with fault:
            train(folder / name / "ipr", "ipr")
    leave_ranks()
    assert not threads_of_gloo(), "a rank whose threads of Gloo go on may abort at exit, after all work is done"


def forked_ranks(folder: Path, *words: str) -> Path:
    """As `two_rank_runs`, by forks of this process and without `torchrun`, which `test_two_ranks.py` is for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}

    def child() -> None:
        # What accelerate knows of trainings in this process is that they had one rank.
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        main(folder, *words)

    ranks = [fork(child, **place, RANK=str(i), LOCAL_RANK=str(i), LOCAL_WORLD_SIZE="2") for i in range(2)]
    assert wait_for(*ranks) == [0, 0]
    return folder


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
