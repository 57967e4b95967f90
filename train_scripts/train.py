"""Train and score one run.

accelerate launch train_scripts/train.py --config train_scripts/configs/crema_d_ipr.yaml [--field value ...]

The run folder is `--output_dir`; a run that was stopped goes on when the same command is given again.
"""

from __future__ import annotations

import sys

import torch.distributed as dist

from hf_ambiser.report import one_line
from hf_ambiser.run_arguments import RunArguments
from hf_ambiser.training import run


def main() -> int:
    """Run; a mistake in the arguments is one line on standard error and exit status 2."""
    try:
        arguments = RunArguments.from_command_line(sys.argv[1:])
        results = run(arguments)
    except (ValueError, FileNotFoundError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    if arguments.training.process_index == 0:
        for split, scores in results["scores"].items():
            print(f"{split}: {one_line(scores)}")
        print(f"run folder: {arguments.training.output_dir}")
    if dist.is_initialized():
        # Without this a rank may abort at exit, after all work is done.
        dist.barrier()
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
