"""Add label noise at a known rate to the training labels of a built data set.

    python dataset_scripts/replace_labels.py --dataset FOLDER --config slc-strict --splits clear --how confusion \
        --share 0.2 --out OTHER_FOLDER

Tests and validation stay as they are, and so do the `reference_*` columns everywhere. The same command again keeps the
data set that it made. `--help` lists the options.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.label_noise import HOW, LabelNoise, add_label_noise  # noqa: E402
from hf_ambiser.data.loading import read_dataset_info  # noqa: E402
from hf_ambiser.data.noise_record import LABEL_NOISE, describe_label_noise  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data set and describe its noise; a mistake is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="folder that a dataset script made")
    parser.add_argument("--config", default="slc-strict", help="its configuration (default: %(default)s)")
    parser.add_argument("--splits", nargs="+", default=["clear"], help="training splits (default: clear)")
    parser.add_argument(
        "--how", choices=HOW, default="uniform", help="every other class alike, or as the raters confuse them"
    )
    parser.add_argument(
        "--share", type=float, default=0.2, help="noise rate: share of each split's labels (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--no-progress", action="store_true")
    args = parser.parse_args(argv)
    try:
        noise = LabelNoise(args.config, tuple(args.splits), args.how, args.share, args.seed)
        made = add_label_noise(args.dataset, args.out, noise, progress=not args.no_progress)
        added = read_dataset_info(args.out)[LABEL_NOISE]
    except (ValueError, OSError) as error:
        print(f"replace_labels.py: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}{'' if made else ' (was there)'}: {describe_label_noise(added)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
