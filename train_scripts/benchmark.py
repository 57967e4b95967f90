"""What a model costs at inference by length of the clip: FLOPs, latency, real-time factor, peak memory.

python train_scripts/benchmark.py runs/crema_d/ipr/0    # a run's model; or a model folder, or a Hub name
python train_scripts/benchmark.py --family prototype --encoder_fields '{"model_type": "wav2vec2"}'    # its base size
python train_scripts/benchmark.py    # every family as it is by default

Without a folder weights are random, which speed does not depend on. Clips are noise. Every length and batch size is
measured in a fresh process. With `--out FILE` every figure is kept as JSON, and the same command goes on where it was
stopped. (The table of the paper on real-time soft-label correction, VI: `--lengths 1 1.2 1.6 1.94 --batch_sizes 1`.)
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import torch


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.benchmark.grid import DTYPES, Case, run_benchmark  # noqa: E402
from hf_ambiser.benchmark.table import describe  # noqa: E402
from hf_ambiser.models import available_families  # noqa: E402
from hf_ambiser.training.model_arguments import ModelArguments  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Measure and print; a mistake is one line and exit status 2, a case that could not be measured is status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="", help="run folder, model folder or Hub name")
    parser.add_argument("--family", nargs="+", default=available_families(), help="of new models (default: all)")
    parser.add_argument("--encoder", help="pretrained encoder, a folder or Hub name (default: log-mel)")
    parser.add_argument("--encoder_fields", help='JSON; without --encoder also its "model_type"')
    parser.add_argument("--model_fields", help="JSON, of the family's configuration")
    parser.add_argument("--lengths", type=float, nargs="+", default=[1, 1.2, 1.6, 1.94, 5, 10], help="seconds")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--runs", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=5, help="runs before these (default: %(default)s)")
    parser.add_argument("--max_seconds", type=float, default=60, help="end a case's runs early (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help=f"{', '.join(DTYPES)} (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of torch on the CPU (default: torch's choice)")
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args(argv)
    made = {name: getattr(args, name) for name in ("encoder", "encoder_fields", "model_fields")}
    try:
        if args.model and (args.family != available_families() or any(made.values())):
            raise ValueError(f"{args.model} says what it is; leave out --family, --encoder and the fields.")
        if args.out is not None and not args.out.absolute().parent.is_dir():
            raise ValueError(f"--out {args.out}: there is no folder {args.out.absolute().parent}; make it first.")
        device = args.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        subjects = [ModelArguments(model_family=family, **made) for family in args.family]
        cases = [
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
            for arguments, batch_size, length in itertools.product(
                [ModelArguments()] if args.model else subjects, args.batch_sizes, args.lengths
            )
        ]
        rows = run_benchmark(cases, args.out)
    except (ValueError, OSError) as error:
        print(f"benchmark.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(describe(rows))
    return 1 if any("error" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
