"""The command that measures inference: `hf-ambiser benchmark`, and `train_scripts/benchmark.py`."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from hf_ambiser.benchmark.grid import Case

DESCRIPTION = """\
Measure what a model costs at inference by length of the utterance: FLOPs, latency, real-time factor, peak memory.

  {prog} runs/crema_d/ipr/0    # a run's model; or a model folder, or a Hub name
  {prog} --family prototype --encoder_fields '{{"model_type": "wav2vec2"}}'    # its base size
  {prog}    # every family as it is by default

Without a model its weights are random, which speed does not depend on. Utterances are noise. Every length and batch
size is measured in a fresh process. With `--out FILE` every figure is kept as JSON, and the same command continues
where it was stopped. (The table of the paper on real-time soft-label correction, VI:
`--lengths 1 1.2 1.6 1.94 --batch_sizes 1`.)
"""


def main(argv: Sequence[str] | None = None, prog: str = "benchmark.py") -> int:
    """Measure and print; a mistake is one line and exit status 2, a case that could not be measured is status 1."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=DESCRIPTION.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", default="", help="run folder, model folder or Hub name")
    parser.add_argument("--family", nargs="+", help="of new models (default: all)")
    parser.add_argument("--encoder", help="pretrained encoder, a folder or Hub name (default: log-mel)")
    parser.add_argument("--encoder_fields", help='JSON; without --encoder also its "model_type"')
    parser.add_argument("--model_fields", help="JSON, of the family's configuration")
    parser.add_argument("--lengths", type=float, nargs="+", default=[1, 1.2, 1.6, 1.94, 5, 10], help="seconds")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--runs", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=5, help="runs before these (default: %(default)s)")
    parser.add_argument("--max_seconds", type=float, default=60, help="end a case's runs early (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16 (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of torch on the CPU (default: torch's choice)")
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args(argv)

    # Imported here: the help should not wait for torch.
    from hf_ambiser.benchmark.grid import run_benchmark
    from hf_ambiser.benchmark.table import describe

    try:
        rows = run_benchmark(_cases(args), args.out)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {' '.join(str(error).split())}\n")
        return 2
    sys.stdout.write(f"{describe(rows)}\n")
    return 1 if any("error" in row for row in rows) else 0


def _cases(args: argparse.Namespace) -> list[Case]:
    """Every combination of model, batch size and length.

    Raises:
        ValueError: If the arguments contradict each other, or a case cannot be.
    """
    import torch

    from hf_ambiser.benchmark.grid import Case
    from hf_ambiser.models import available_families
    from hf_ambiser.training.model_arguments import ModelArguments

    made = {name: getattr(args, name) for name in ("encoder", "encoder_fields", "model_fields")}
    if args.model and (args.family or any(made.values())):
        raise ValueError(f"{args.model} says what it is; leave out --family, --encoder and the fields.")
    if args.out is not None and not args.out.absolute().parent.is_dir():
        raise ValueError(f"--out {args.out}: there is no folder {args.out.absolute().parent}; make it first.")
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    families = args.family or available_families()
    subjects = [ModelArguments()] if args.model else [ModelArguments(model_family=one, **made) for one in families]
    return [
        Case(
            length,
            batch_size,
            args.model,
            arguments,
            device=device,
            dtype=args.dtype,
            threads=args.threads,
            runs=args.runs,
            warmup=args.warmup,
            max_seconds=args.max_seconds,
        )
        for arguments, batch_size, length in itertools.product(subjects, args.batch_sizes, args.lengths)
    ]
