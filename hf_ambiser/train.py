"""The training command, `python -m hf_ambiser.train`; `train_scripts/train.py` is the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch.distributed as dist

from hf_ambiser.report.shown import one_line
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Train and score one run; a mistake in the arguments is one line on standard error and exit status 2."""
    try:
        arguments = RunArguments.from_command_line(sys.argv[1:] if argv is None else argv)
        results = run(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"train.py: {error}\n")
        return 2
    if arguments.training.process_index == 0:
        for split, scores in results["scores"].items():
            sys.stdout.write(f"{split}: {one_line(scores)}\n")
        sys.stdout.write(f"run folder: {arguments.training.output_dir}\n")
    if dist.is_initialized():
        # Without this a rank may abort at exit, after all work is done.
        dist.barrier()
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
