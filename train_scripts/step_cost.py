"""What augmentation costs: its share of a training step of IPR with the log-mel encoder, on this machine.

python train_scripts/step_cost.py --dataset data/crema_d

Trains some steps on one thread and times, inside them, the augmentation of ambiguous clips.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from hf_ambiser.data.augment import Augmenter
from hf_ambiser.runs.arguments import RunArguments, read_config
from hf_ambiser.runs.run import prepare
from hf_ambiser.runs.step_time import timed_steps


class Stopwatch:
    """An augmenter that adds up the time it takes."""

    def __init__(self, augment: Augmenter) -> None:
        self.augment = augment
        self.seconds = 0.0

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Augment, timed."""
        start = time.perf_counter()
        result = self.augment(*args, **kwargs)  # type: ignore[arg-type]
        self.seconds += time.perf_counter() - start
        return result


def main() -> int:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("train_scripts/configs/crema_d/ipr.yaml"))
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        fields = {**read_config(args.config), "dataset": str(args.dataset), "output_dir": folder}
        trainer, _ = prepare(RunArguments.from_mapping(fields))
        trainer.takes_ambiguous = lambda epoch: True  # type: ignore[method-assign]
        watch = Stopwatch(trainer.data._augment)  # type: ignore[arg-type]
        timed_steps(trainer, warm=0, steps=5)  # decoded audio, noise pools and memory are warm
        trainer.data._augment = watch
        seconds = sum(timed_steps(trainer, warm=0, steps=args.steps))
        clips = trainer.args.per_device_train_batch_size + 2 * trainer.ambiguous_per_step(0)
    print(
        f"{args.steps} steps of {clips} clips: {1000 * seconds / args.steps:.0f} ms a step, of which augmentation"
        f" {1000 * watch.seconds / args.steps:.1f} ms = {100 * watch.seconds / seconds:.1f} %"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
