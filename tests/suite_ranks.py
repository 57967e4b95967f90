"""Run by `torchrun`: all methods on two ranks, as they are, resumed, and with faults that only ranks can show.

Writes FOLDER/<as_is or fault>/<method>/rank<i> and FOLDER/resumed/<method>/{whole,stopped}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import torch.distributed as dist
from suite_checks import check_resume, local_mean
from suite_methods import METHODS, make_trainer, settings, trace_of
from torch import Tensor
from transformers import TrainingArguments

import hf_ambiser.methods.ipr.trainer as ipr
import hf_ambiser.trainer as base
from hf_ambiser.distributed import gather_with_gradient


HALF = {"per_device_train_batch_size": 4}


def write(folder: Path, method: str) -> None:
    trainer = make_trainer(method, folder / "run", **settings(method, prop="ranks") | HALF)
    trainer.train()
    trace_of(trainer).save(folder / f"rank{trainer.args.process_index}")


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


def main(folder: Path) -> None:
    TrainingArguments(output_dir=str(folder), use_cpu=True).device  # starts the process group
    for method in METHODS:
        write(folder / "as_is" / method, method)
        check_resume(method, folder / "resumed" / method, stops=(3, 6), arguments=HALF)
    for name, fault in FAULTS.items():
        with fault:
            write(folder / name / "ipr", "ipr")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
