"""Score a model on a split of a built data set: accuracy, distance from the votes, calibration, baselines, ceiling.

python train_scripts/evaluate.py --model runs/crema_d/ipr/0/model --dataset data/crema_d --config ipr-strict --split d3

A LoRA adapter folder works as a model too. `--out FILE` writes everything as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from hf_ambiser.metrics.display import describe_scores
from hf_ambiser.runs.scoring import load_for_scoring, predict_logits, save_predictions
from hf_ambiser.training.validation import score


def main() -> int:
    """Score and print; a mistake is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder (or Hub name) of a trained model or adapter")
    parser.add_argument("--dataset", type=Path, required=True, help="folder that a dataset script made")
    parser.add_argument("--config", default="ipr-strict", help="configuration of the data set (default: %(default)s)")
    parser.add_argument("--split", required=True, help="its split, for example d3")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--out", type=Path, help="JSON file with every figure")
    parser.add_argument("--predictions", type=Path, help="Parquet file with every clip's probabilities")
    args = parser.parse_args()
    try:
        model, extractor, data, info = load_for_scoring(args.model, args.dataset, args.config, args.split)
    except (ValueError, OSError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    logits = predict_logits(model, extractor, data, args.batch_size)
    scores = score(logits, data.votes, data.consensus, info["classes"], data.agreement)
    print(f"{info['corpus']}, {args.config}/{args.split}, protocol {info['configs'][args.config]['protocol']}")
    print(describe_scores(scores))
    if args.out:
        args.out.write_text(json.dumps(scores, indent=1))
    if args.predictions:
        save_predictions(args.predictions, data, logits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
