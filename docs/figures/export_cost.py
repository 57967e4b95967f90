"""What an exported model costs in quality: the table of docs/export.md.

`python docs/figures/export_cost.py DATASET --model MODEL --every 10` exports a model, stores it in each precision, and
lets PyTorch and each file answer for every 10th utterance of a built data set. It says file size, WA, Jensen-Shannon
divergence from the votes, and how far the answers moved.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from datasets import disable_progress_bars

from hf_ambiser import export_model, load_split, open_model, predict
from hf_ambiser.data.audio import decode
from hf_ambiser.inference.export_precision import PRECISIONS, store_in
from hf_ambiser.inference.onnx_model import MODEL
from hf_ambiser.inference.opened_model import OpenedModel
from hf_ambiser.metrics import evaluate_predictions


SPLITS = ("clear", "ambiguous", "validation", "validation_no_consensus", "test_clear", "test_ambiguous")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="folder of a built data set")
    parser.add_argument("--config", default="slc-strict-kfold5-0", help="(default: %(default)s)")
    parser.add_argument("--model", help="folder (default: the shipped model)")
    parser.add_argument("--every", type=int, default=10, help="take each n-th utterance (default: %(default)s)")
    args = parser.parse_args()
    disable_progress_bars()
    rows = [row for name in SPLITS for row in load_split(args.dataset, args.config, name)]
    rows = sorted(rows, key=lambda row: row["id"])[:: args.every]
    waves = [decode(row["audio"]["bytes"]) for row in rows]
    votes, label = np.array([row["votes"] for row in rows]), np.array([row["label"] for row in rows])
    say("| stored as | MB | WA % | JS (bit) | mean change of a probability | another leading emotion |")
    say("|---|---|---|---|---|---|")
    original = open_model(args.model, "cpu")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "float32"
        before = answers(waves, original)
        size = sum(path.stat().st_size for path in Path(original.name).glob("*.safetensors"))
        say(row_of("PyTorch", size, before, before, votes, label, original.classes))
        export_model(original, folder)
        for precision in PRECISIONS:
            copy = Path(place) / f"as_{precision}"
            shutil.copytree(folder, copy)
            if precision != "float32":
                store_in(precision, copy / MODEL)
            size = (copy / MODEL).stat().st_size
            after = answers(waves, open_model(copy))
            say(row_of(f"ONNX, {precision}", size, before, after, votes, label, original.classes))
    say(f"{len(rows)} utterances, {(label >= 0).sum()} with a consensus label")


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def answers(waves: list[np.ndarray], model: OpenedModel) -> np.ndarray:
    """Probabilities (N, K)."""
    found = predict(waves, model, sampling_rate=16000, progress=False, threshold=0.0)
    return np.array([list((answer.probabilities or {}).values()) for answer in found])


def row_of(
    name: str,
    size: int,
    before: np.ndarray,
    after: np.ndarray,
    votes: np.ndarray,
    label: np.ndarray,
    classes: tuple[str, ...],
) -> str:
    """A row of the table."""
    scores = evaluate_predictions(after, votes, label, classes, clear=label >= 0)["all"]
    moved = np.abs(after - before).mean()
    changed = (after.argmax(1) != before.argmax(1)).mean()
    quality = f"{100 * scores['wa']:.1f} | {scores['js']:.4f}"
    return f"| {name} | {size / 1e6:.1f} | {quality} | {moved:.1e} | {100 * changed:.1f} % |"


if __name__ == "__main__":
    main()
