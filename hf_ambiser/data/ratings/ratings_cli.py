"""The command that builds a data set from a table of one's own: `hf-ambiser build --ratings TABLE --audio FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.data.build_cli import (
    add_build_arguments,
    add_rule_arguments,
    policy_name,
    rules_of,
    split_options,
)
from hf_ambiser.data.ratings.cells import RARE_SEPARATORS, SEPARATORS
from hf_ambiser.data.ratings.columns import USUAL_NAMES
from hf_ambiser.data.ratings.from_ratings import DEFAULT_CONFIGS, build_from_ratings, preview_ratings
from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.system_errors import in_words


def ratings_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of a table of ratings."""
    parser = CommandParser(
        prog=prog,
        usage=f"{prog} --ratings TABLE --audio FOLDER (--out FOLDER | --preview) [options]\n"
        f"       {prog} --ratings SET (--out FOLDER | --preview) [options]",
        description="Build a data set from a table of ratings and a folder of audio. A table is long (one rating a"
        " row: utterance, rater, label, speaker) or wide (one utterance a row, one column a rater or a class). Exports"
        " of Label Studio, TextGrids of Praat and .eaf files of ELAN are read as tables. A `datasets` set holds its"
        " audio.",
    )
    parser.add_argument(
        "--ratings",
        required=True,
        help="CSV, TSV, JSON, JSONL, Parquet, XLSX, Label Studio's JSON; a TextGrid or .eaf file, or a folder of them;"
        " a folder or Parquet file of a `datasets` set, or hf://datasets/ACCOUNT/NAME[@REVISION][/FOLDER]",
    )
    parser.add_argument("--audio", type=Path, help="folder of the audio files; not for a `datasets` set")
    parser.add_argument(
        "--subset", metavar="NAME", help="`datasets` set: which subset (config), or split of a saved one"
    )
    parser.add_argument("--out", type=Path, help="folder to make")
    parser.add_argument("--preview", action="store_true", help="say what would be built, and write nothing")
    parser.add_argument(
        "--columns",
        nargs="+",
        type=_column,
        default=[],
        metavar="WHAT=NAME",
        help=f"which column is what, where its name does not tell: {', '.join(USUAL_NAMES)}",
    )
    parser.add_argument("--class-columns", nargs="+", default=[], metavar="NAME", help="wide: columns of counts")
    parser.add_argument(
        "--rater-columns", nargs="+", default=[], metavar="NAME", help="wide: columns of labels; Praat and ELAN: tiers"
    )
    parser.add_argument(
        "--separator",
        choices=(*SEPARATORS, *RARE_SEPARATORS, "none"),
        help="what stands between several labels in a cell (default: it is found out)",
    )
    parser.add_argument("--classes", type=Path, metavar="YAML", help="label -> class, or null to leave a label out")
    parser.add_argument(
        "--policy",
        type=policy_name,
        metavar="POLICY",
        help="label policy in place of --classes: a YAML file, or a name",
    )
    parser.add_argument("--as-found", action="store_true", help="each label is a class, whatever it looks like")
    parser.add_argument("--corpus", type=Path, metavar="YAML", help="facts (default: corpus.yaml beside the table)")
    parser.add_argument(
        "--no-speakers", action="store_true", help="divide utterances, if the table does not say who speaks"
    )
    add_rule_arguments(parser)
    add_build_arguments(parser, DEFAULT_CONFIGS)
    return parser


def main(argv: Sequence[str], prog: str) -> int:
    """Build or preview from the command line and print the counts.

    What a user can put right ends in one line on stderr and status 2.
    """
    if {"-h", "--help"} & set(argv):
        argv = ["--help"]  # also of `--ratings --help`, which names no table
    parser = ratings_parser(prog)
    args = parser.parse_args(argv)
    if bool(args.out) == args.preview:
        parser.error("one of --out FOLDER and --preview is needed, and not both")
    if args.preview and (args.limit or args.overwrite or args.keep_audio_metadata):
        parser.error(
            "--preview writes nothing and looks at all rows: leave --limit, --overwrite and --keep-audio-metadata out"
        )
    columns = dict(args.columns)
    if len(columns) < len(args.columns):
        parser.error(f"--columns names one thing twice: {[name for name, _ in args.columns]}")
    about = {
        "columns": columns,
        "class_columns": args.class_columns,
        "rater_columns": args.rater_columns,
        "separator": args.separator,
        "classes": args.classes,
        "as_found": args.as_found,
        "corpus": args.corpus,
        "no_speakers": args.no_speakers,
        "subset": args.subset,
        "policy": args.policy,
    }
    try:
        if args.preview:
            sys.stdout.write(
                preview_ratings(
                    args.ratings,
                    args.audio,
                    configs=args.configs,
                    options=split_options(args),
                    **about,
                    **rules_of(args),
                )
                + "\n"
            )
            return 0
        report = build_from_ratings(
            args.ratings,
            args.audio,
            args.out,
            **about,
            rules=rules_of(args),
            configs=args.configs,
            options=split_options(args),
            limit=args.limit,
            overwrite=args.overwrite,
            progress=not args.no_progress,
            keep_audio_metadata=args.keep_audio_metadata,
        )
        sys.stdout.write(report.summary() + "\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {in_words(error)}\n")
        return 2
    return 0


def _column(text: str) -> tuple[str, str]:
    what, equals, name = text.partition("=")
    if not (what and equals and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not WHAT=NAME, for example label=emotion")
    return what, name
