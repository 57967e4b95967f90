"""The options of every command that answers for recordings: `predict` and `annotate`."""

from __future__ import annotations

import argparse


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how recordings are divided, what a model answers, and where it computes."""
    parser.add_argument(
        "--window", type=float, help="seconds; longer recordings are divided (default: the model's segments, or 6)"
    )
    parser.add_argument("--hop", type=float, help="seconds from a window to the next one (default: half a window)")
    parser.add_argument(
        "--threshold",
        type=float,
        help="abstain below this probability of the emotion that is answered (default: the model's)",
    )
    parser.add_argument(
        "--balance",
        type=float,
        metavar="TAU",
        help="answer rare classes more often: 0 (the leading class) or more, for example 0.5; the model has to store"
        " the shares of its classes (default: the model's)",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: %(default)s)")
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")
