"""Measure what a method's own work costs: its share of a training step on this machine, on one thread.

python train_scripts/step_cost.py --dataset data/crema_d    # IPR: the augmentation of ambiguous utterances
python train_scripts/step_cost.py --config crema_d/meta --dataset data/crema_d --epoch 1

Trains some steps as they are in an epoch (meta's epochs 1, 3, ... are those of labels and weights) and times, inside
them, augmentation, and what a method observes and updates of labels and weights.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.config_files import read_config
from hf_ambiser.runs.run import prepare
from hf_ambiser.studies.step_time import timed_steps


class Stopwatch:
    """Adds up the time that functions take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added up."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            return result

        return timed


def main() -> int:
    """Measure and print."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="crema_d/ipr", help="file, or name (default: %(default)s)")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--dataset_config", help="(default: as the config says)")
    parser.add_argument("--epoch", type=int, default=0, help="in which the steps are (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        fields = {**read_config(args.config), "dataset": str(args.dataset), "output_dir": folder}
        fields |= {"dataset_config": args.dataset_config} if args.dataset_config else {}
        trainer, _ = prepare(RunArguments.from_mapping(fields))
        trainer.takes_ambiguous = lambda epoch: True  # type: ignore[method-assign]
        trainer.state.epoch = float(args.epoch)
        timed_steps(trainer, warm=0, steps=5)  # decoded audio, noise pools and memory are warm
        augmentation, state = Stopwatch(), Stopwatch()
        if trainer.data._augment is not None:
            trainer.data._augment = augmentation.around(trainer.data._augment)  # type: ignore[assignment]
        trainer.observe = state.around(trainer.observe)  # type: ignore[method-assign]
        trainer.step_taken = state.around(trainer.step_taken)  # type: ignore[method-assign]
        seconds = sum(timed_steps(trainer, warm=0, steps=args.steps))
        utterances = trainer.args.per_device_train_batch_size
        if trainer.needs_ambiguous:
            utterances += (1 + trainer.needs_augmented) * trainer.ambiguous_per_step(0)
    each = 1000 * seconds / args.steps
    print(f"{args.steps} steps of {utterances} utterances, epoch {args.epoch}: {each:.0f} ms a step, of which")
    for what, watch in (("augmentation", augmentation), ("labels and weights", state)):
        print(f"  {what} {1000 * watch.seconds / args.steps:.2f} ms = {100 * watch.seconds / seconds:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
