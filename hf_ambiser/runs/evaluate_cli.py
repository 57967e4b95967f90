"""The command that scores a model: `hf-ambiser evaluate`, and `train_scripts/evaluate.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.system_errors import in_words


def main(argv: Sequence[str] | None = None, prog: str = "evaluate.py") -> int:
    """Score and print; a mistake is one line on standard error and exit status 2."""
    parser = CommandParser(
        prog=prog,
        description="Score a model on a split of a built data set: accuracy, distance from the votes, calibration,"
        " baselines, rater ceiling, worth in raters. A LoRA adapter folder is a model, too.",
        epilog=f"example: {prog} --model runs/crema_d/ipr/0/model --dataset data/crema_d --split d3",
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="a trained model, adapter or run: folder or Hub name. Given again: the mean of the models' answers",
    )
    parser.add_argument(
        "--dataset",
        type=Path,
        required=True,
        help="folder that `hf-ambiser build` made, or a data set that was pushed: ACCOUNT/NAME[@REVISION]",
    )
    parser.add_argument("--config", help="configuration of the data set (default: its only one, else ipr-strict)")
    parser.add_argument("--split", required=True, help="its split, for example d3")
    parser.add_argument("--batch-size", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file for every figure; it is replaced")
    parser.add_argument("--predictions", type=Path, help="Parquet file for every utterance's probabilities; replaced")
    args = parser.parse_args(argv)

    # Imported here: the help should not wait for torch.
    from hf_ambiser.data.loading import read_dataset_info
    from hf_ambiser.data.splits import chosen_by_agreement
    from hf_ambiser.metrics import UndefinedMetric, rater_equivalence
    from hf_ambiser.metrics.display import describe_scores
    from hf_ambiser.run_folder.text_out import check_out
    from hf_ambiser.runs.scoring import answers_of, save_predictions
    from hf_ambiser.training.validation import score, softmax

    try:
        check_out(args.out)
        check_out(args.predictions, "--predictions")
        if args.out is not None and args.out == args.predictions:
            raise ValueError(f"--out and --predictions are both {args.out}; give each a file of its own.")
        if args.config is None:
            there = list(read_dataset_info(args.dataset)["configs"])
            args.config = there[0] if len(there) == 1 else "ipr-strict"
        logits, data, info = answers_of(args.model, args.dataset, args.config, args.split, args.batch_size)
        scores = score(logits, data.votes, data.consensus, info["classes"], data.agreement)
        protocol = info["configs"][args.config]["protocol"]
        sys.stdout.write(f"{info['corpus']}, {args.config}/{args.split}, protocol {protocol}\n")
        if data.n_cut:
            sys.stdout.write(f"{data.n_cut} of {len(data)} utterances are cut as the run cut them (max_seconds)\n")
        sys.stdout.write(f"{describe_scores(scores, chosen_by_agreement(args.split))}\n")
        try:
            worth = rater_equivalence(softmax(logits), data.votes, data.speakers)
            said, stored = str(worth), worth.to_dict()
        except UndefinedMetric as reason:
            said, stored = f"undefined ({reason})", {"undefined": str(reason)}
        sys.stdout.write(f"\nworth in raters (cross-entropy): {said}\n")
        if args.out:
            args.out.write_text(json.dumps({**scores, "rater_equivalence": stored}, indent=1))
        if args.predictions:
            save_predictions(args.predictions, data, logits)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {in_words(error)}\n")
        return 2
    return 0
