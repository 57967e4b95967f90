"""The command that says which utterances to rate next: `hf-ambiser suggest`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.next_ratings.tables import FORMATS
from hf_ambiser.run_folder.text_out import check_out, format_of, write_out
from hf_ambiser.untrusted.printed import printable


if TYPE_CHECKING:
    from hf_ambiser.next_ratings.rater_evidence import RaterEvidence

# Without these `suggest` has its own values.
_OWN_DEFAULTS = ("n", "batch_size", "device")


def main(argv: Sequence[str] | None = None, prog: str = "hf-ambiser suggest") -> int:
    """Suggest and print. Exit status 2: a mistake, said in one line."""
    args = _parser(prog).parse_args(argv)
    args.format = format_of(args.out, args.format, FORMATS)
    _check(args)

    # Imported here: the help should not wait for torch.
    if args.raters:
        from hf_ambiser.next_ratings.suggest import measure_raters
        from hf_ambiser.next_ratings.tables import text_of_raters

        raters = measure_raters(args.dataset, args.confidence)
        write_out(args.out, text_of_raters(raters, args.format))
        said = [_about(raters)]
    else:
        from transformers.utils import logging

        from hf_ambiser.next_ratings.suggest import suggest
        from hf_ambiser.next_ratings.tables import text_of

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        found = suggest(
            args.dataset,
            args.model,
            held_out=args.held_out,
            confidence=args.confidence,
            progress=not args.no_progress,
            **{name: value for name in _OWN_DEFAULTS if (value := getattr(args, name)) is not None},
        )
        write_out(args.out, text_of(found, args.format))
        said = [*found.notes]
        if found.raters:
            wrong = [one.rater for one in found.look_wrong]
            named = f" (--raters shows the evidence): {', '.join(wrong[:10])}{' ...' if len(wrong) > 10 else ''}"
            said.append(_about(found.raters) + (named if wrong else ""))
    sys.stderr.write("".join(f"{prog}: {printable(line)}\n" for line in said))
    return 0


def _about(raters: Sequence[RaterEvidence]) -> str:
    from hf_ambiser.next_ratings.rater_evidence import LOOKS_WRONG

    wrong = sum(one.verdict == LOOKS_WRONG for one in raters)
    return f"{len(raters)} raters have names; the answers of {wrong} look wrong"


def _check(args: argparse.Namespace) -> None:
    """Check what can be checked before a model hears a data set.

    Raises:
        ValueError: If the rows could not be written, or an argument would change nothing.
    """
    check_out(args.out)
    of_model = {"--batch-size": args.batch_size, "--device": args.device}
    of_answers = {"-n": args.n, "--model": args.model, "--held-out": args.held_out, **of_model}
    for other, options, why in (
        (args.raters, of_answers, "--raters shows all raters, and measures them by their votes alone"),
        (args.held_out, of_model, f"--held-out {args.held_out} opens no model"),
    ):
        for option, value in options.items():
            if other and value is not None:
                said = " ".join(value) if isinstance(value, list) else value
                raise ValueError(f"{option} {said} changes nothing: {why}. Leave one of the two out.")
    if args.out is not None and args.dataset.is_dir() and args.out.resolve().is_relative_to(args.dataset.resolve()):
        raise ValueError(
            f"--out {args.out} is inside the data set {args.dataset}, which a build owns; choose another."
        )


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=prog,
        description="Say which utterances of a built data set to rate next, because one more vote tells most there;"
        " with --raters, whose answers look wrong, and on what evidence.",
        epilog=f"example: {prog} data/mine --model runs/mine/0 -n 50 --format csv --out rate_next.csv",
    )
    parser.add_argument(
        "dataset", metavar="DIR", type=Path, help="folder that `hf-ambiser build` made, or ACCOUNT/NAME"
    )
    parser.add_argument(
        "--model",
        action="append",
        help="folder of a model or of a run, or Hub name (default: the model that the repository ships). Given again:"
        " the mean of the models' answers",
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        metavar="RUNS",
        help="take the answers that finished runs on this data set gave to their test splits, instead of a model",
    )
    parser.add_argument("-n", type=int, help="utterances to suggest (default: 100)")
    parser.add_argument("--raters", action="store_true", help="show the raters, the worst first, not the utterances")
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="of the raters' intervals, all together (default: %(default)s)"
    )
    parser.add_argument("--format", choices=FORMATS, help="(default: by the ending of --out, else table)")
    parser.add_argument(
        "--out", type=Path, help="file to write, instead of standard output; a file of that name is replaced"
    )
    parser.add_argument("--batch-size", type=int, help="(default: 16)")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")
    return parser
