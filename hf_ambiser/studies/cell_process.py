"""The work of a cell's process: one ordinary run. This module imports everything that a run needs."""

from __future__ import annotations

import torch
from transformers.utils import logging

from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run
from hf_ambiser.studies.beginnings import remember
from hf_ambiser.studies.cells import Cell
from hf_ambiser.training.checkpoints import drop_all


for _name in available_methods():
    load_method(_name)


def train(cell: Cell, threads: int, drop_checkpoints: bool = False) -> None:
    """Train and score a cell, or resume it; then delete its checkpoints, if that is asked for."""
    import datasets

    torch.set_num_threads(threads)
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    remember(cell)
    run(RunArguments.from_mapping(cell.fields))
    if drop_checkpoints:
        drop_all(cell.folder)
