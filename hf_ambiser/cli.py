"""The `hf-ambiser` command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; what a user can put right is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(prog="hf-ambiser", description="Ambiguous speech emotion recognition.")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="simulate a corpus, train three baselines and IPR, compare them")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (default: %(default)s)")
    demo.add_argument("--n-utterances", type=int, default=1000, help="simulated clips (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0)

    report = commands.add_parser(
        "report", help="tables, tests, figures and a page of the finished runs below a folder"
    )
    report.add_argument("folder", type=Path, help="holds run folders, at any depth; FOLDER/report is written")
    report.add_argument(
        "--reference", metavar="SYSTEM", help="that the others are compared with (default: ipr, or the first)"
    )
    report.add_argument("--splits", nargs="+", metavar="SPLIT", help="test splits (default: all)")
    report.add_argument("--no-html", action="store_true", help="write no report.html")

    card = commands.add_parser("card", help="write a finished run's model card again; a human's edits are kept")
    card.add_argument("run", type=Path, help="run folder")

    push = commands.add_parser("push", help="publish a finished run, or a built data set, on the Hub")
    push.add_argument("run", type=Path, help="run folder, or folder of a built data set")
    push.add_argument("repo", help="<account>/<name>")
    push.add_argument("--private", action="store_true", help="make the repository private")
    push.add_argument("--dry-run", action="store_true", help="check, and list what would be published; sends nothing")
    push.add_argument("--base", help="LoRA runs: repository of the model the adapter belongs to (default: REPO-base)")
    push.add_argument("--card", choices=("local", "hub"), help="whose edits of the card are kept if both were edited")
    push.add_argument("--allow", nargs="+", default=[], help="texts that look private and are not")

    args = parser.parse_args(argv)
    command = {"demo": _demo, "report": _report, "card": _card, "push": _push}[args.command]
    try:
        return command(args)
    except (ValueError, OSError) as error:
        print(f"hf-ambiser: {error}", file=sys.stderr)
        return 2


def _demo(args: argparse.Namespace) -> int:
    # Imported here: `hf-ambiser --help` should not wait for torch.
    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    from hf_ambiser.demo import Demo

    logging.basicConfig(level=logging.WARNING)
    transformers_logging.set_verbosity_error()
    # The run's own bar stays; those of every small save and load go.
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    Demo(args.out, args.n_utterances, args.seed).run()
    return 0


def _report(args: argparse.Namespace) -> int:
    from hf_ambiser.report.write import FOLDER, write_report

    print(write_report(args.folder, args.reference, args.splits, html=not args.no_html))
    out = args.folder / FOLDER
    page = "" if args.no_html else f"; to look at and listen to: {out / 'report.html'}"
    print(f"report: {out / 'report.md'}, its tables as CSV and LaTeX beside it{page}", file=sys.stderr)
    return 0


def _card(args: argparse.Namespace) -> int:
    from hf_ambiser.cards import write_card

    path, kept = write_card(args.run)
    print(f"{path}" + (f"\nkept, as a human edited it: {', '.join(kept)}" if kept else ""))
    return 0


def _push(args: argparse.Namespace) -> int:
    from hf_ambiser.data.build import REPORT
    from hf_ambiser.data.push import push_dataset
    from hf_ambiser.hub.push import PushOptions, describe
    from hf_ambiser.runs.push import push_run

    options = PushOptions(
        private=args.private,
        dry_run=args.dry_run,
        card=args.card,
        allow=tuple(args.allow),
        say=lambda text: print(text, file=sys.stderr),
    )
    if (args.run / REPORT).is_file():
        print(describe(push_dataset(args.run, args.repo, options)))
    else:
        print("\n".join(describe(one) for one in push_run(args.run, args.repo, options, args.base)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
