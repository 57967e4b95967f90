"""The command that answers for recordings: `hf-ambiser predict`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.inference.answer_options import add_answer_options
from hf_ambiser.inference.inputs import SUFFIXES
from hf_ambiser.inference.tables import FORMATS, text_of, write_parquet
from hf_ambiser.run_folder.text_out import check_out, format_of, write_out


if TYPE_CHECKING:
    from hf_ambiser.inference.answers import Answer


def main(argv: Sequence[str] | None = None, prog: str = "hf-ambiser predict") -> int:
    """Answer and print. Exit status 1: nothing could be answered; 2: an argument is wrong, said in one line."""
    # Recordings may stand on both sides of an option.
    args = _parser(prog).parse_intermixed_args(_without_dashes(sys.argv[1:] if argv is None else argv))
    _check(args)

    # Imported here: the help should not wait for torch.
    from hf_ambiser.inference.model_door import open_model
    from hf_ambiser.inference.onnx_model import exported_folder
    from hf_ambiser.inference.predict import predict

    # An exported model answers where torch and transformers are not installed.
    if any(exported_folder(model) is None for model in args.model or [None]):
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
    inputs = [sys.stdin.buffer if word == "-" else word for word in args.inputs]
    answers = predict(
        inputs,
        opened := open_model(args.model, args.device),
        window=args.window,
        hop=args.hop,
        threshold=args.threshold,
        balance=args.balance,
        batch_size=args.batch_size,
        progress=not args.no_progress,
    )
    if args.format == "parquet":
        write_parquet(args.out, answers, opened.classes)
    else:
        write_out(args.out, text_of(answers, opened.classes, args.format))
    if args.plot is not None:
        from hf_ambiser.inference.timeline_figure import draw_answers

        draw_answers(args.plot, answers, opened.classes)
    if missing := _without(answers):
        sys.stderr.write(f"{prog}: {missing}\n")
    return 0 if any(answer.has_answer for answer in answers) else 1


def _without_dashes(argv: Sequence[str]) -> list[str]:
    """Turn each name after `--` that begins with a dash into `./-name`, for argparse loses the `--` of mixed words."""
    words = list(argv)
    if "--" not in words:
        return words
    at = words.index("--")
    names = (f"./{word}" if word.startswith("-") and word != "-" else word for word in words[at + 1 :])
    return [*words[:at], *names]


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=prog,
        description="Say what people would hear in recordings: a distribution over emotions, how ambiguous it is, and"
        " a timeline of long ones.",
        epilog=f"example: {prog} some.wav interviews/ --format csv --out heard.csv",
    )
    parser.add_argument("inputs", nargs="+", metavar="FILE|FOLDER|-", help="recordings; `-` reads one from stdin")
    parser.add_argument(
        "--model",
        action="append",
        help="folder of a model or of a run, or Hub name; model.onnx or folder of an exported model (default: the"
        " model that the repository ships). Given again: the mean of the models' answers",
    )
    parser.add_argument("--format", choices=FORMATS, help="(default: by the ending of --out, else table)")
    parser.add_argument(
        "--out", type=Path, help="file to write, instead of standard output; a file of that name is replaced"
    )
    parser.add_argument("--plot", type=Path, metavar="DIR", help="folder for a figure of each recording")
    add_answer_options(parser)
    return parser


def _check(args: argparse.Namespace) -> None:
    """Check what can be checked before a model is loaded and recordings are heard, and fill in the format.

    Raises:
        ValueError: If the answers could not be written, or standard input is named twice.
    """
    if args.out is not None and args.out.suffix.lower() in SUFFIXES:
        raise ValueError(f"--out {args.out} ends as recordings do, and may be one; give another ending.")
    args.format = format_of(args.out, args.format, FORMATS)
    if args.format == "parquet" and args.out is None:
        raise ValueError("--format parquet needs --out FILE: a Parquet file is not written to a terminal.")
    check_out(args.out)
    if args.plot is not None and args.plot.exists() and not args.plot.is_dir():
        raise ValueError(f"--plot {args.plot} is a file; give the name of a folder.")
    if args.plot is not None and (old := sorted(one.name for one in args.plot.glob("*.png") if one.stem.isdecimal())):
        raise ValueError(
            f"--plot {args.plot} holds {len(old)} figures of other answers, {old[0]} for one, and a figure is named by"
            " its place in the answer. Delete them, or give another folder."
        )
    if args.inputs.count("-") > 1:
        raise ValueError("standard input (-) is given more than once; it holds one recording.")


def _without(answers: Sequence[Answer]) -> str:
    """How many recordings have no answer, and why, in one line; "" if all have one."""
    counts = Counter(answer.status for answer in answers if not answer.has_answer)
    if not counts:
        return ""
    parts = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    verb = "has" if sum(counts.values()) == 1 else "have"
    return f"{sum(counts.values())} of {len(answers)} recordings {verb} no answer: {parts}"
