"""The command that annotates a corpus: `hf-ambiser annotate`; `train_scripts/annotate.py` for several processes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.inference.answer_options import add_answer_options


def main(argv: Sequence[str] | None = None, prog: str = "hf-ambiser annotate") -> int:
    """Annotate, and say what came out. Exit status 1: no input could be answered; 2: a mistake, said in one line."""
    args = _parser(prog).parse_args(argv)

    # Imported here: the help should not wait for torch.
    from transformers.utils import logging

    from hf_ambiser.inference.annotate import annotate, processes_of_this_job
    from hf_ambiser.training.distributed import leave_ranks

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    manifest = annotate(
        args.source,
        args.out,
        args.model,
        subset=args.subset,
        split=args.split,
        shard_size=args.shard_size,
        embeddings=args.embeddings,
        window=args.window,
        hop=args.hop,
        threshold=args.threshold,
        balance=args.balance,
        batch_size=args.batch_size,
        device=args.device,
        progress=not args.no_progress,
    )
    processes = processes_of_this_job(args.device)
    if processes.is_main_process:
        sys.stdout.write(f"{args.out}: {_said(manifest)}\n")
    leave_ranks()
    return 0 if manifest["counts"]["answered"] else 1


def _said(manifest: Mapping[str, Any]) -> str:
    from hf_ambiser.inference.annotation_folder import NOT_ANSWERED

    counts, left_out = manifest["counts"], manifest["source"]["left_out"]
    reasons = ", ".join(f"{n} {status}" for status, n in counts["reasons"].items())
    parts = [f"{counts['in']} in = {counts['answered']} answered + {counts['not_answered']} not answered"]
    if reasons:
        parts[0] += f" ({reasons}: {NOT_ANSWERED})"
    if counts["abstains"]:
        parts.append(f"the model abstains for {counts['abstains']} of those answered")
    parts += [f"left out: {n} {what}" for what, n in left_out.items() if n]
    return "; ".join([*parts, f"shards: {len(manifest['shards'])}"])


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=prog,
        description="Write what a model hears in every recording of a corpus into Parquet shards with a manifest. The"
        " same command again goes on where it was stopped.",
        epilog=f"example: {prog} interviews/ --model runs/crema_d/ipr/0 --out annotated/interviews",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder of recordings, text file with a path in each line, .tar file or a folder of them, or data set,"
        " also hf://datasets/ACCOUNT/NAME[@REVISION][/FOLDER]",
    )
    parser.add_argument("--subset", help="config of a data set of the Hub (default: the only or default one)")
    parser.add_argument("--split", help="split of a data set of the Hub (default: all, one after the other)")
    parser.add_argument(
        "--model",
        action="append",
        help="folder of a model or of a run, or Hub name (default: the model that the repository ships). Given again:"
        " the mean of the models' answers",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--shard-size", type=int, default=1000, help="inputs of a shard (default: %(default)s)")
    parser.add_argument("--embeddings", action="store_true", help="write the model's embedding of each input, too")
    add_answer_options(parser)
    return parser
