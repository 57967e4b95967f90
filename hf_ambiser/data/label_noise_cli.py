"""The command that adds label noise: `hf-ambiser add-label-noise`, and `dataset_scripts/add_label_noise.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.data.label_noise import HOW, LabelNoise, add_label_noise
from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.data.noise_record import LABEL_NOISE, describe_label_noise
from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.system_errors import in_words


def main(argv: Sequence[str] | None = None, prog: str = "add_label_noise.py") -> int:
    """Make the noisy data set and say which noise it has; a mistake is one line on stderr and exit status 2."""
    parser = CommandParser(
        prog=prog,
        description="Make a data set in which a known share of the training labels is wrong, from one that is built."
        " Validation and test splits stay what they are, and so do the `reference_*` columns everywhere. The same"
        " command again keeps what it made.",
        epilog=f"example: {prog} --dataset data/crema_d --config slc-strict --splits clear --how confusion"
        " --share 0.2 --out data/crema_d_noisy",
    )
    parser.add_argument("--dataset", type=Path, required=True, help="folder that `hf-ambiser build` made")
    parser.add_argument("--config", default="slc-strict", help="its configuration (default: %(default)s)")
    parser.add_argument("--splits", nargs="+", default=["clear"], help="training splits (default: clear)")
    parser.add_argument(
        "--how",
        choices=HOW,
        default="uniform",
        help="each other class alike, or as the raters confuse them (default: %(default)s)",
    )
    parser.add_argument("--share", type=float, default=0.2, help="of each split's labels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--no-progress", action="store_true")
    args = parser.parse_args(argv)
    try:
        noise = LabelNoise(args.config, tuple(args.splits), args.how, args.share, args.seed)
        made = add_label_noise(args.dataset, args.out, noise, progress=not args.no_progress)
        added = read_dataset_info(args.out)[LABEL_NOISE]
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {in_words(error)}\n")
        return 2
    sys.stdout.write(f"{args.out}{'' if made else ' (was there)'}: {describe_label_noise(added)}\n")
    return 0
