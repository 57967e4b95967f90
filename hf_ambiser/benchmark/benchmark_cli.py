"""The command that measures inference: `hf-ambiser benchmark`, and `train_scripts/benchmark.py`."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ambiser.files.command_parser import CommandParser


if TYPE_CHECKING:
    from hf_ambiser.benchmark.grid import Case

DESCRIPTION = """\
Measure what a model costs at inference by length of the utterance: FLOPs, latency, real-time factor, peak memory.

  {prog} runs/crema_d/ipr/0    # a run's model; or a model folder, or a Hub name
  {prog} --family prototype --encoder_fields '{{"model_type": "wav2vec2"}}'    # its base size
  {prog}    # every family as it is by default
  {prog} --against transformers    # side by side with transformers, training too

Without a model its weights are random, which speed does not depend on. Utterances are noise. Every length and batch
size is measured in a fresh process. With `--out FILE` every figure is kept as JSON, and the same command continues
where it was stopped. (The table of the paper on real-time soft-label correction, VI:
`--lengths 1 1.2 1.6 1.94 --batch_sizes 1`.)

With `--against transformers` both are measured in turns in one process on the CPU: files to answers, one utterance at
a time, training, correction, bfloat16, a stream. Utterances are those of CREMA-D below $CREMA_D_ROOT, the encoder is
whisper-tiny.en below $AMBISER_ENCODERS; without them sound and encoder are made. It prints the table of docs/speed.md.
"""
# Options that act with `--against` alone, beside --threads and --out.
_SIDE_BY_SIDE = ("rows", "seconds", "quick", "profile")


def main(argv: Sequence[str] | None = None, prog: str = "benchmark.py") -> int:
    """Measure and print; a mistake is one line and exit status 2, a case that could not be measured is status 1."""
    parser = CommandParser(
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
    side = parser.add_argument_group("side by side with transformers")
    side.add_argument("--against", choices=["transformers"], help="what it is compared with")
    side.add_argument("--rows", nargs="+", default=[], help="names of rows, or how they begin (default: all)")
    side.add_argument(
        "--seconds", type=float, default=25.0, help="no round begins later in a row (default: %(default)s)"
    )
    side.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    side.add_argument("--profile", action="store_true", help="list operators of all rows, not only where goals missed")
    args = parser.parse_args(argv)
    try:
        _check_all_act(args, parser)
        said, failed = _side_by_side(args) if args.against else _costs(args)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {' '.join(str(error).split())}\n")
        return 2
    sys.stdout.write(f"{said}\n")
    return 1 if failed else 0


def _check_all_act(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse options that belong to the other of the two measurements.

    Raises:
        ValueError: If there is one.
    """
    shared = ("against", "threads", "out")
    given = [name for name, value in vars(args).items() if value != parser.get_default(name) and name not in shared]
    if idle := [name for name in given if (name in _SIDE_BY_SIDE) != bool(args.against)]:
        named = ", ".join("model" if name == "model" else f"--{name}" for name in idle)
        where = "has no effect beside --against" if args.against else "acts only beside --against transformers"
        raise ValueError(f"{named} {where}; leave it out.")
    if args.out is not None and not args.out.absolute().parent.is_dir():
        raise ValueError(f"--out {args.out}: there is no folder {args.out.absolute().parent}; make it first.")


def _costs(args: argparse.Namespace) -> tuple[str, bool]:
    """Return the tables of inference, and whether a case failed."""
    # Imported here: the help should not wait for torch.
    from hf_ambiser.benchmark.grid import run_benchmark
    from hf_ambiser.benchmark.table import describe

    rows = run_benchmark(_cases(args), args.out)
    return describe(rows), any("error" in row for row in rows)


def _side_by_side(args: argparse.Namespace) -> tuple[str, bool]:
    """Return the table of both side by side, and whether a row failed."""
    from hf_ambiser.benchmark.against.run import Wanted, run_against
    from hf_ambiser.benchmark.against.table import describe_against

    wanted = Wanted(tuple(args.rows), args.seconds, args.quick, args.profile, args.threads)
    rows = run_against(wanted, args.out)
    return describe_against(rows), any("error" in row for row in rows)


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
