"""Run several configs with several seeds and print the comparison.

python train_scripts/run_seeds.py --out runs/crema_d --configs train_scripts/configs/crema_d/*.yaml --seeds 0 1 2 3 4

Finished runs are never run again, stopped ones go on, failed ones are listed. Each run is `out/<config>/<seed>`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hf_ambiser.runs.report import compare
from hf_ambiser.runs.seeds import cells, run_cells


def main() -> int:
    """Run all cells, then write and print `out/comparison.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--configs", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; the cores are shared among them")
    parser.add_argument("--of", default="ipr", help="the system that the others are compared with")
    args, rest = parser.parse_known_args()
    if len(rest) % 2 or any(not name.startswith("--") for name in rest[::2]):
        parser.error(f"what is left must be --field value pairs for train.py, got {rest}.")
    overrides = {name.removeprefix("--"): value for name, value in zip(rest[::2], rest[1::2], strict=True)}
    try:
        failed = run_cells(cells(args.configs, args.seeds, args.out), overrides, args.jobs)
    except ValueError as error:
        parser.error(str(error))
    for cell in failed:
        print(f"failed: {cell.folder} (see {cell.folder / 'train.log'})", file=sys.stderr)
    try:
        text = compare(args.out, args.of)
    except ValueError as error:
        print(f"run_seeds.py: {error}", file=sys.stderr)
        return 1
    (args.out / "comparison.md").write_text(text)
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
