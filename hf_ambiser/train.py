"""The training command: `hf-ambiser train`; for several processes `accelerate launch -m hf_ambiser.train`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.files.system_errors import in_words
from hf_ambiser.hub.push import PushOptions, check_access, describe
from hf_ambiser.metrics.display import one_line
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.push import push_run
from hf_ambiser.runs.run import run
from hf_ambiser.training.distributed import leave_ranks


def main(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """Train and score one run. A mistake in the arguments gives one line on standard error and exit status 2."""
    try:
        arguments = RunArguments.from_command_line(sys.argv[1:] if argv is None else argv, prog)
        if arguments.training.process_index == 0:
            logging.basicConfig(format="%(message)s")
            # From which checkpoint it goes on, learning rates, size and statistics of a frozen encoder's frames.
            for says in ("runs.run", "training.parameter_groups", "training.frame_cache", "training.preparation"):
                logging.getLogger(f"hf_ambiser.{says}").setLevel(logging.INFO)
        sharing = arguments.sharing
        if sharing.push_to_hub:
            check_access(str(sharing.hub_model_id))  # before hours of training, not after
        results = run(arguments)
        if arguments.training.process_index == 0:
            for split, scores in results["scores"].items():
                sys.stdout.write(f"{split}: {one_line(scores)}\n")
            sys.stdout.write(f"run folder: {arguments.training.output_dir}\n")
            if sharing.push_to_hub:
                _push(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {in_words(error)}\n")
        return 2
    leave_ranks()
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _push(arguments: RunArguments) -> None:
    """Publish the finished run. If that fails, the run stays as it is, and `hf-ambiser push` can go on."""
    options = PushOptions(private=bool(arguments.sharing.hub_private_repo), say=_say)
    folder, repo_id = Path(str(arguments.training.output_dir)), str(arguments.sharing.hub_model_id)
    pushed = push_run(folder, repo_id, options)
    sys.stdout.write("\n".join(describe(one) for one in pushed) + "\n")


if __name__ == "__main__":
    sys.exit(main())
