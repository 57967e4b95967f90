"""The command that builds data sets: `hf-ambiser build CORPUS`, and `dataset_scripts/<corpus>.py`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np

from hf_ambiser.data.build import KEPT_METADATA, REPORT, SCAN_OPTIONS, build, stored_scan_options
from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.data.loading import cure_of, dataset_files, read_dataset_info
from hf_ambiser.data.parquet_files import read_columns
from hf_ambiser.data.place import Place, recover
from hf_ambiser.data.policy_file import checked_policy_name, policy_of
from hf_ambiser.data.push import push_dataset
from hf_ambiser.data.rating_kinds import rating_kinds, with_known_ratings, with_ratings
from hf_ambiser.data.splits import APART, CLEAR_AGREEMENT, DEFAULT_CONFIGS, SplitOptions, split_family
from hf_ambiser.data.splits.common import check_read
from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.system_errors import in_words
from hf_ambiser.hub.push import PushOptions, check_access, describe
from hf_ambiser.labels.aggregation import DEFAULTS, Aggregation
from hf_ambiser.labels.policies import (
    AgreementOver,
    LabelPolicy,
    Merge,
    MultiLabel,
    Rule,
    available_policies,
)
from hf_ambiser.labels.votes import tally


def build_parser(corpus_name: str, prog: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of one corpus. A corpus adds its own arguments with `add_arguments(parser)`."""
    corpus = load_corpus(corpus_name)
    parser = CommandParser(
        prog=prog,
        description=f"Build the data set of {corpus_name}" + (f" ({corpus.HOMEPAGE})." if corpus.HOMEPAGE else "."),
    )
    parser.add_argument("--root", type=Path, required=True, help="the corpus release")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--policy",
        default=corpus.POLICY,
        type=policy_name,
        metavar="POLICY",
        help=f"label policy: a YAML file, or one of {', '.join(available_policies())} (default: %(default)s)",
    )
    add_rule_arguments(parser)
    if kinds := rating_kinds(corpus):
        parser.add_argument(
            "--ratings",
            nargs="+",
            choices=kinds,
            metavar="KIND",
            help=f"which ratings are counted as votes, one kind or several together: {', '.join(kinds)} (default:"
            f" {kinds[0]})",
        )
    parser.add_argument("--self-reports", action="store_true", help="count the speakers' ratings of themselves")
    add_build_arguments(parser, DEFAULT_CONFIGS)
    parser.add_argument(
        "--push_to_hub",
        metavar="ACCOUNT/NAME",
        help="push the data set; if --out holds it already as it is asked for, it is not built again",
    )
    parser.add_argument("--private", action="store_true", help="make the repository private")
    if hasattr(corpus, "add_arguments"):
        corpus.add_arguments(parser)
    return parser


def policy_name(text: str) -> str:
    """Check a word that names a policy, as a type of argparse."""
    try:
        return checked_policy_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_rule_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the fields of a label policy that may be changed; `rules_of` reads them."""
    for name, allowed, text in (
        ("--rule", get_args(Rule), "how votes give a consensus label"),
        ("--multi-label", get_args(MultiLabel), "what several labels by one rater count"),
        ("--agreement-over", get_args(AgreementOver), "what agreement is a share of"),
        ("--merge", get_args(Merge), "whether classes are merged before or after the consensus is sought"),
        ("--aggregation", get_args(Aggregation), "vote shares, or a model of the raters (needs crowd-kit), as labels"),
    ):
        parser.add_argument(name, choices=allowed, help=f"{text} (default: as the policy says)")
    parser.add_argument(
        "--aggregation-options",
        nargs="+",
        type=_option,
        metavar="NAME=VALUE",
        help="of that model: "
        + "; ".join(f"{name}: {_told(options)}" for name, options in DEFAULTS.items() if options),
    )


def _threshold(text: str) -> float | str:
    try:
        return text if text == "unanimous" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'unanimous'") from None


def add_build_arguments(parser: argparse.ArgumentParser, configs: Sequence[str]) -> None:
    """Add what every build takes; `split_options` reads those of the splits."""
    parser.add_argument(
        "--configs",
        nargs="+",
        default=list(configs),
        help="ipr-P, slc-P, and folds: loso-P, logo-P, kfold<k>-P, ipr-P-kfold<k>, slc-P-loso ... with P strict or"
        " paper (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--d1-quota", default="agreement", choices=("agreement", "per_class"))
    parser.add_argument("--sizes", type=int, nargs=3, metavar=("D1", "D2", "D3"), help="exact sizes of IPR's subsets")
    parser.add_argument("--d1-share", type=float, help="share of D1 among D1 and D2 (default: the paper's, a third)")
    parser.add_argument(
        "--validation-share", type=float, default=0.1, help="ipr-paper: part of D1 that validates; 0: none"
    )
    parser.add_argument("--min-per-class", type=int, default=10, help="fewest utterances of a class in D1")
    parser.add_argument(
        "--clear-threshold",
        type=_threshold,
        default=CLEAR_AGREEMENT,
        help="agreement from which SLC calls an utterance clear: a share or 'unanimous' (default: 2/3)",
    )
    parser.add_argument(
        "--disjoint",
        nargs="+",
        default=[],
        metavar="WHAT",
        help=f"hold sides apart in one or more of {', '.join(APART)}: utterances that share it with validation or test"
        " are left out of the training side; WHAT=SHARE holds a share of its values out (sentence=0.25)",
    )
    parser.add_argument("--limit", type=int, help="use only this many utterances")
    parser.add_argument(
        "--keep-audio-metadata",
        action="store_true",
        help="store what audio files hold beside the samples (tags, pictures), too; it may be private",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier build in --out")
    parser.add_argument("--no-progress", action="store_true")


def _option(text: str) -> tuple[str, int | str]:
    """Split `iterations=20` into a pair. A value that is no whole number stays text."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, int(value) if value.lstrip("-").isdecimal() else value


def _told(options: dict[str, int | str]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def rules_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a label policy that were given, by name."""
    fields = ("rule", "multi_label", "agreement_over", "merge", "aggregation")
    rules: dict[str, Any] = {name: value for name in fields if (value := getattr(args, name)) is not None}
    if args.aggregation_options:
        names = [name for name, _ in args.aggregation_options]
        if twice := next((name for name in names if names.count(name) > 1), None):
            values = [f"{name}={value}" for name, value in args.aggregation_options if name == twice]
            raise ValueError(
                f"--aggregation-options names {twice!r} more than once ({' '.join(values)}). Give it once."
            )
        rules["aggregation_options"] = dict(args.aggregation_options)
    return rules


def _policy(args: argparse.Namespace, corpus: ModuleType) -> LabelPolicy:
    """Return the named policy with the changes that were asked for, which its fingerprint includes."""
    changes = rules_of(args)
    if args.self_reports:
        changes["self_reports"] = True
    if getattr(args, "ratings", None):
        changes["ratings"] = tuple(args.ratings)
    return with_known_ratings(policy_of(args.policy, **changes), corpus)


def main_of_any_corpus(argv: Sequence[str], prog: str) -> int:
    """Build the corpus that the first word names, or a table of ratings. The other words are its arguments."""
    if argv and argv[0] not in available_corpora() and any(word.partition("=")[0] == "--ratings" for word in argv):
        from hf_ambiser.data.ratings.ratings_cli import main as main_of_ratings

        return main_of_ratings(argv, prog)
    parser = CommandParser(
        prog=prog,
        usage=f"{prog} CORPUS --root RELEASE --out FOLDER [options]\n"
        f"       {prog} --ratings TABLE --audio FOLDER --out FOLDER [options]",
        description="Make a data set from a corpus' release, or from a table of ratings and a folder of audio of your"
        " own: ratings to votes to labels, splits, Parquet, a card.",
        epilog=f"{prog} CORPUS --help shows the options of a corpus, {prog} --ratings --help those of a table.",
        allow_abbrev=False,
    )
    # It is read above, and stands here so that a misspelt one is told its name.
    parser.add_argument("--ratings", metavar="TABLE", help="a table of ratings in place of CORPUS")
    parser.add_argument("corpus", metavar="CORPUS", choices=available_corpora(), help=", ".join(available_corpora()))
    corpus_name = parser.parse_args(argv[:1]).corpus
    return main(corpus_name, argv[1:], f"{prog} {corpus_name}")


def main(corpus_name: str, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Build from the command line and print the counts; the last line is `N in = K kept + L listed`.

    What a user can put right (a wrong folder, a split that cannot be made) ends in one line on stderr and status 2.
    """
    parser = build_parser(corpus_name, prog)
    args = parser.parse_args(argv)
    if args.private and not args.push_to_hub:
        parser.error("--private is of a push: give --push_to_hub ACCOUNT/NAME, too, or leave --private out")
    corpus = load_corpus(corpus_name)
    try:
        policy = _policy(args, corpus)
        if args.push_to_hub:
            check_access(args.push_to_hub)  # before an hour of building, not after
        place = Place(args.out.absolute())
        recover(place.out)
        if args.push_to_hub and (args.out / REPORT).is_file() and not args.overwrite:
            _check_same(args, corpus, policy)
            _check_release(args, corpus, policy)
        else:
            place.check(args.overwrite)  # before a corpus is generated
            if hasattr(corpus, "prepare"):
                corpus.prepare(args.root, args)
            report = build(
                corpus_name,
                args.root,
                args.out,
                policy,
                args.configs,
                split_options(args),
                limit=args.limit,
                overwrite=args.overwrite,
                progress=not args.no_progress,
                scan_options=_scan_options(args, corpus),
                keep_audio_metadata=args.keep_audio_metadata,
            )
            sys.stdout.write(report.summary() + "\n")
        if args.push_to_hub:
            pushed = push_dataset(args.out, args.push_to_hub, PushOptions(private=args.private, say=_say))
            sys.stdout.write(describe(pushed) + "\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog or 'error'}: {in_words(error)}\n")
        return 2
    return 0


def split_options(args: argparse.Namespace) -> SplitOptions:
    """Return the options of the splits."""
    return SplitOptions(
        seed=args.seed,
        d1_quota=args.d1_quota,
        sizes=tuple(args.sizes) if args.sizes else None,
        d1_share=args.d1_share,
        validation_share=args.validation_share,
        min_per_class=args.min_per_class,
        clear_threshold=args.clear_threshold,
        disjoint=tuple(args.disjoint),
    )


def _scan_options(args: argparse.Namespace, corpus: ModuleType) -> dict[str, Any]:
    return corpus.scan_options(args) if hasattr(corpus, "scan_options") else {}


def _check_same(args: argparse.Namespace, corpus: ModuleType, policy: LabelPolicy) -> None:
    """Refuse to push an earlier build that was made with other arguments.

    Raises:
        ValueError: Naming what differs.
    """
    there, options = read_dataset_info(args.out), split_options(args)
    asked: dict[str, Any] = {"corpus": corpus.NAME, "policy_fingerprint": policy.fingerprint()}
    asked |= {"limit": args.limit, "seed": options.seed}
    differs = [name for name, value in asked.items() if there[name] != value]
    read = stored_scan_options(_scan_options(args, corpus))
    differs += [name for name in {**read, **there.get(SCAN_OPTIONS, {})} if read != there.get(SCAN_OPTIONS, {})]
    differs += ["keep_audio_metadata"] if bool(there.get(KEPT_METADATA)) != args.keep_audio_metadata else []
    for config in there["configs"].values():
        differs += ["disjoint"] if config["options"].get("disjoint", []) != list(options.disjoint) else []
        differs += [
            name for name, value in options.only(*config["options"]).items() if config["options"][name] != value
        ]
    names = list(there["configs"])
    of = {name: {name, split_family(name)[0]} for name in names}
    differs += [f"no config {c}" for c in args.configs if not any(c in asked_as for asked_as in of.values())]
    differs += [f"a config {name}" for name in names if not of[name] & set(args.configs)]
    if differs:
        what = ", ".join(sorted(set(differs)))
        raise ValueError(
            f"{args.out} holds a data set that was built in another way ({what} differ). {_anew_or_as_it_is(args)}"
        )
    check_read(options, {name: config["options"] for name, config in there["configs"].items()})


def _check_release(args: argparse.Namespace, corpus: ModuleType, policy: LabelPolicy) -> None:
    """Refuse to push an earlier build if the release has other utterances or votes than it. No audio is opened.

    Nothing else in this command scans the release, because nothing is built. `corpus_rows.prepare`, which counts for a
    build, would open every recording.

    Raises:
        ValueError: Naming what differs.
    """
    if not args.root.exists():  # a corpus that is generated would be, and nobody would look at it
        raise ValueError(
            f"--root {args.root} does not exist, so nobody can tell whether {args.out} was built from it. Give the"
            f" release. {_anew_or_as_it_is(args)}"
        )
    if hasattr(corpus, "prepare"):
        corpus.prepare(args.root, args)
    scan = corpus.scan(args.root, **with_ratings(_scan_options(args, corpus), policy))
    there, table = read_dataset_info(args.out), tally(policy.with_(aggregation="shares"), scan.ratings())
    lost = scan.lost.by_reason(policy.multi_label)
    limit = len(scan.utterances) if args.limit is None else args.limit
    found = {
        "utterances": min(limit, len(scan.utterances)) + len(scan.listed),
        "votes": float(table.votes.sum()) + sum(table.excluded.values()) + sum(lost.values()),
    }
    built = {"utterances": there["counts"]["in"], "votes": there["votes"]["in"]}
    differ = [name for name, n in found.items() if not math.isclose(n, built[name])]
    what = [f"{built[name]:g} {name} there, {found[name]:g} in the release" for name in differ]
    if what:
        raise ValueError(
            f"{args.out} was not built from --root {args.root} as it is now ({', '.join(what)})."
            f" {_anew_or_as_it_is(args)}"
        )
    rows = read_columns(dataset_files(args.out, there), ["id", "reference_votes"], cure_of(args.out)).to_pydict()
    votes = dict(zip((one.id for one in scan.utterances), table.votes, strict=True))
    for name, row in dict(zip(rows["id"], rows["reference_votes"], strict=True)).items():
        if name not in votes or not np.allclose(votes[name], row):
            said = votes[name].tolist() if name in votes else "no such utterance"
            raise ValueError(
                f"{args.out} was not built from --root {args.root} as it is now (votes of {name!r}: {row} there,"
                f" {said} in the release). {_anew_or_as_it_is(args)}"
            )


def _anew_or_as_it_is(args: argparse.Namespace) -> str:
    return f"Build anew with --overwrite, or push it as it is: hf-ambiser push {args.out} {args.push_to_hub}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
