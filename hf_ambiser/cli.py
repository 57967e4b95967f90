"""The `hf-ambiser` command: its subcommands, and the modules that hold them."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.system_errors import in_words


# A subcommand takes the words after its name, and the name that its help shows; it returns the exit status.
Main = Callable[[Sequence[str], str], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. A mistake that a user can correct gives one line on standard error and exit status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = CommandParser(
        prog="hf-ambiser",
        description="Ambiguous speech emotion recognition.",
        epilog="hf-ambiser COMMAND --help shows a command's arguments.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (about, _) in COMMANDS.items():
        commands.add_parser(name, help=about, add_help=False)
    # The words after the subcommand belong to its own parser. Its module is imported only now.
    command = parser.parse_args(argv[:1]).command
    try:
        return COMMANDS[command][1](argv[1:], f"hf-ambiser {command}")
    except (ValueError, OSError) as error:
        print(f"hf-ambiser: {in_words(error)}", file=sys.stderr)
        return 2


def _demo(argv: Sequence[str], prog: str) -> int:
    demo = CommandParser(prog=prog, description="Simulate a corpus, train three baselines and IPR, compare.")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (default: %(default)s)")
    demo.add_argument("--n-utterances", type=int, default=1000, help="simulated utterances (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0)
    args = demo.parse_args(argv)

    # This import, like those in all commands, stands here so that the help does not wait for torch.
    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    from hf_ambiser.demo import Demo

    logging.basicConfig(level=logging.WARNING)
    transformers_logging.set_verbosity_error()
    # Only the run's own progress bar stays; bars of every small save and load would hide it.
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    Demo(args.out, args.n_utterances, args.seed).run()
    return 0


def _report(argv: Sequence[str], prog: str) -> int:
    report = CommandParser(
        prog=prog, description="Write tables, tests, figures and a page of the finished runs below a folder."
    )
    report.add_argument("folder", type=Path, help="holds run folders, at any depth; FOLDER/report is written")
    report.add_argument(
        "--reference", metavar="SYSTEM", help="system that the others are compared with (default: ipr, or the first)"
    )
    report.add_argument("--splits", nargs="+", metavar="SPLIT", help="test splits (default: all)")
    report.add_argument(
        "--beside", nargs="+", type=Path, default=[], metavar="FOLDER", help="more folders with runs for the tables"
    )
    report.add_argument("--no-html", action="store_true", help="write no report.html")
    args = report.parse_args(argv)

    from hf_ambiser.report.write import FOLDER, write_report

    print(write_report(args.folder, args.reference, args.splits, html=not args.no_html, beside=args.beside))
    out = args.folder / FOLDER
    page = "" if args.no_html else f"; to look at and listen to: {out / 'report.html'}"
    print(f"report: {out / 'report.md'}, its tables as CSV and LaTeX beside it{page}", file=sys.stderr)
    return 0


def _card(argv: Sequence[str], prog: str) -> int:
    card = CommandParser(prog=prog, description="Write a finished run's model card again. Your edits stay.")
    card.add_argument("run", type=Path, help="run folder")
    args = card.parse_args(argv)

    from hf_ambiser.cards import write_card

    path, kept = write_card(args.run)
    print(f"{path}" + (f"\nkept, as a human edited it: {', '.join(kept)}" if kept else ""))
    return 0


def _push(argv: Sequence[str], prog: str) -> int:
    push = CommandParser(
        prog=prog, description="Publish a finished run, a built data set, or an annotated corpus on the Hub."
    )
    push.add_argument("run", type=Path, help="run folder, or folder of a built data set or an annotated corpus")
    push.add_argument("repo", help="<account>/<name>")
    push.add_argument("--private", action="store_true", help="make the repository private")
    push.add_argument("--dry-run", action="store_true", help="check, and list what would be published; sends nothing")
    push.add_argument("--base", help="LoRA runs: repository of the model the adapter belongs to (default: REPO-base)")
    push.add_argument("--card", choices=("local", "hub"), help="whose edits of the card are kept if both were edited")
    push.add_argument(
        "--allow",
        nargs="+",
        default=[],
        help="texts that look private and are not, and names of Python files that you have read",
    )
    push.add_argument(
        "--keep-audio-metadata",
        action="store_true",
        help="publish audio that holds more than its samples (tags, pictures); it is searched for what is private",
    )
    args = push.parse_args(argv)

    from hf_ambiser.data.build import REPORT
    from hf_ambiser.data.push import push_dataset
    from hf_ambiser.files.read import exists
    from hf_ambiser.hub.push import PushOptions, describe
    from hf_ambiser.inference.annotation_folder import MANIFEST
    from hf_ambiser.inference.annotation_push import push_annotation
    from hf_ambiser.runs.push import push_run

    options = PushOptions(
        private=args.private,
        dry_run=args.dry_run,
        card=args.card,
        allow=tuple(args.allow),
        keep_audio_metadata=args.keep_audio_metadata,
        say=lambda text: print(text, file=sys.stderr),
    )
    of_data, of_answers = exists(args.run / REPORT), exists(args.run / MANIFEST)
    if args.base and (of_data or of_answers):
        push.error(f"--base {args.base} is of a LoRA run, and {args.run} holds no run. Leave it out.")
    if args.keep_audio_metadata and not of_data:
        push.error(f"--keep-audio-metadata is of a built data set, and {args.run} publishes no audio. Leave it out.")
    if of_data:
        print(describe(push_dataset(args.run, args.repo, options)))
    elif of_answers:
        print(describe(push_annotation(args.run, args.repo, options)))
    else:
        print("\n".join(describe(one) for one in push_run(args.run, args.repo, options, args.base)))
    return 0


def _in(module: str, name: str = "main") -> Main:
    """Return a subcommand that another module holds; the module is imported when the subcommand is called."""

    def call(argv: Sequence[str], prog: str) -> int:
        return getattr(importlib.import_module(f"hf_ambiser.{module}"), name)(argv, prog)

    return call


# Name -> one line about the subcommand, and its function, in the order in which a user needs them.
COMMANDS: dict[str, tuple[str, Main]] = {
    "demo": ("simulate a corpus, train three baselines and IPR, compare them", _demo),
    "predict": ("say what people would hear in recordings", _in("inference.predict_cli")),
    "app": ("open a page to hear recordings, browse a data set and vote", _in("app.app_cli")),
    "annotate": ("write what a model hears in a whole corpus, in shards", _in("inference.annotate_cli")),
    "export": ("write a model for onnxruntime, or for torch without this package", _in("inference.export_cli")),
    "build": (
        "make a data set from a corpus' release or your own ratings",
        _in("data.build_cli", "main_of_any_corpus"),
    ),
    "count-labels": ("count a data set's consensus labels by speaker", _in("data.label_counts_cli")),
    "add-label-noise": ("copy a data set with a known share of wrong labels", _in("data.label_noise_cli")),
    "suggest": ("say which utterances to rate next, and whose answers look wrong", _in("next_ratings.suggest_cli")),
    "configs": ("list the shipped configs and plans, or print one", _in("runs.config_files")),
    "train": ("train and score one run, as a config says", _in("train")),
    "evaluate": ("score a model on a split of a data set", _in("runs.evaluate_cli")),
    "calibrate": ("choose what a model answers and when: abstention, sets, balance", _in("runs.calibrate_cli")),
    "study": ("run a study, systems x folds x seeds, as a plan says", _in("studies.study_cli")),
    "report": ("tables, tests, figures and a page of the finished runs below a folder", _report),
    "card": ("write a finished run's model card again; a human's edits are kept", _card),
    "push": ("publish a run, a data set or an annotated corpus on the Hub", _push),
    "benchmark": ("measure what a model costs at inference", _in("benchmark.benchmark_cli")),
}


if __name__ == "__main__":
    sys.exit(main())
