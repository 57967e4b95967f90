"""The command that chooses when a model answers: `hf-ambiser calibrate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.system_errors import in_words
from hf_ambiser.run_folder.layout import RunFolder


def main(argv: Sequence[str] | None = None, prog: str = "hf-ambiser calibrate") -> int:
    """Choose, write and print; a mistake is one line on standard error and exit status 2."""
    parser = CommandParser(
        prog=prog,
        description="Choose on the validation utterances when a model abstains, which classes its prediction sets"
        " hold, a temperature, and how much more rare classes count in its answers. The choice goes into the model's"
        " config.json, the run's results and its card.",
        epilog=f"example: {prog} runs/crema_d/ipr/0 --risk 0.2 --set-coverage 0.9",
    )
    parser.add_argument("run", type=Path, nargs="?", help="folder of a finished run")
    parser.add_argument("--risk", type=float, help="wanted share of wrong answers, for example 0.2")
    parser.add_argument("--set-coverage", type=float, help="wanted share of votes in the sets, for example 0.9")
    parser.add_argument("--temperature", action="store_true", help="choose a temperature, too")
    parser.add_argument(
        "--balance",
        type=float,
        metavar="TAU",
        help="answer rare classes more often: 0 or more, for example 0.5; 0 only makes `predict --balance` possible",
    )
    parser.add_argument(
        "--rule",
        choices=("bound", "empirical"),
        help="with --risk: whether an upper bound of the risk must reach the wanted one, or the risk on these"
        " utterances itself (default: bound)",
    )
    parser.add_argument("--confidence", type=float, help="of the bound (default: 0.95)")
    parser.add_argument(
        "--split", nargs="+", help="where to choose (default: the whole validation side, with and without a consensus)"
    )
    parser.add_argument("--dataset", type=Path, help="folder of the data set (default: the one given to the run)")
    parser.add_argument("--none", action="store_true", help="remove what was chosen before")
    parser.add_argument("--model", type=Path, help="folder of a model without a run; needs --dataset and --split")
    parser.add_argument("--config", help="with --model: configuration of the data set")
    parser.add_argument("--batch-size", type=int, help="(default: 32)")
    args = parser.parse_args(argv)
    names = ("risk", "set_coverage", "temperature", "balance")
    asked = {name: getattr(args, name) for name in names}
    if (args.run is None) == (args.model is None):
        parser.error("give the folder of a run, or --model.")
    # All that is given, but for the run and `--none` itself.
    others = {name for name, value in vars(args).items() if value is not None and value is not False} - {"run", "none"}
    if args.none and others:
        parser.error("--none goes with a run alone.")
    if args.model and not (args.dataset and args.config and args.split):
        parser.error("--model needs --dataset, --config and --split.")
    if args.run and (args.run / "config.json").is_file() and not RunFolder(args.run).is_begun:
        parser.error(
            f"{args.run} is the folder of a model without a run. Give --model {args.run} --dataset DIR --config NAME"
            " --split NAME."
        )
    if args.run and args.config:
        parser.error("--config goes with --model; the configuration of a run is known.")

    # Imported here: the help should not wait for torch.
    from hf_ambiser.metrics.display import describe_decision
    from hf_ambiser.run_folder.finished import FinishedRun
    from hf_ambiser.runs.calibrate import calibrate_model, calibrate_run, remove_decision, removed_by

    how: dict[str, Any] = {"rule": args.rule, "confidence": args.confidence}
    how |= {} if args.batch_size is None else {"batch_size": args.batch_size}
    try:
        if args.none:
            had = remove_decision(args.run)
            sys.stdout.write(f"{args.run}: {'the decision is removed' if had else 'there was no decision'}\n")
            return 0
        before = FinishedRun.read(args.run).decision if args.run else _of_model(args.model)
        if args.run:
            found = calibrate_run(args.run, **asked, **how, splits=args.split, dataset=args.dataset)
        else:
            found = calibrate_model(args.model, args.dataset, args.config, args.split, **asked, **how)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {in_words(error)}\n")
        return 2
    on = found["chosen_on"]
    sys.stdout.write(f"chosen on {on['utterances']} utterances of {on['split']}, {on['dataset_config']}\n")
    for name in ("temperature", "threshold", "set_threshold"):
        if found[name] is not None:
            sys.stdout.write(f"{name} {found[name]:.4g}\n")
    if found["balance"] is not None:
        sys.stdout.write(f"balance {found['balance']['tau']:g}\n")
    for name, value in removed_by(before, found).items():
        sys.stdout.write(f"{name} {value:.4g} of the earlier choice is removed; ask for all parts at once\n")
    sys.stdout.write("\n" + describe_decision({on["split"]: found["validation"], **found["test"]}) + "\n")
    return 0


def _of_model(folder: Path) -> Any:
    """The decision of a folder of a model; None if it has none, or is no such folder."""
    from hf_ambiser.files.read import exists, read_json
    from hf_ambiser.run_folder.decision import DECISION

    config = folder / "config.json"
    return read_json(config, "Save the model again.").get(DECISION) if exists(config) else None
