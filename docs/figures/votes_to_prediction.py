"""Draw what became of four ambiguous utterances of a finished run: votes, corrected label, the model's answer.

`python docs/figures/votes_to_prediction.py RUN` writes `votes_to_prediction.png` beside this file. Nobody chooses the
utterances: of the ambiguous ones that a run of `slc` was trained on, they are the one whose label moved least, the one
that moved most, and the two at one third and two thirds of the way between them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import transformers
from concepts import below, stacked

from hf_ambiser import load_split
from hf_ambiser.data.audio import decode
from hf_ambiser.plotting.figure import save
from hf_ambiser.plotting.panels import panels
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.trajectory import read_last


HERE = Path(__file__).parent
SHOWN = 4


def chosen(observed: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rows at even distances in the order of how far the label moved (half of the sum of the differences)."""
    moved = np.abs(target - observed).sum(axis=1) / 2
    rows = np.flatnonzero(observed.sum(axis=1) > 0)
    order = rows[np.argsort(moved[rows], kind="stable")]
    return order[np.linspace(0, len(order) - 1, SHOWN).round().astype(int)]


def draw(run: FinishedRun, out: Path) -> Path:
    """One panel an utterance: raters' votes, label of the last epoch, answer of the final model."""
    table, _ = read_last(run.folder)
    given = run.arguments
    splits = [load_split(given["dataset"], given["dataset_config"], name) for name in given["ambiguous_splits"]]
    utterances = {name: (split, i) for split in splits for i, name in enumerate(split["id"])}
    ambiguous = np.array([name in utterances for name in table["id"]])
    table = {name: column[ambiguous] for name, column in table.items()}
    classify = transformers.pipeline("audio-classification", str(run.files.model))
    figure, axes = panels(SHOWN, 2.0, 1.35)
    for axis, row in zip(axes, chosen(table["observed"], table["target"]), strict=True):
        name = table["id"][row]
        split, i = utterances[name]
        utterance = split[i]
        answer = {one["label"]: one["score"] for one in classify(decode(utterance["audio"]["bytes"]), top_k=None)}
        bars = np.array([table["observed"][row], table["target"][row], [answer[c] for c in run.classes]])
        names = ["votes", "corrected label", "model's answer"]
        stacked(axis, bars, names if axis is axes[0] else [""] * len(names), run.classes)
        axis.set_title(f"{name}\n{sum(utterance['votes']):g} votes for these classes", fontsize=8)
        axis.set_xticks([0, 0.5, 1])
    below(figure, axes[0])
    return save(figure, out)


def main() -> None:
    """Draw the picture of a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "run", type=Path, help="folder of a finished run with ambiguous utterances, for example of slc"
    )
    parser.add_argument("--out", type=Path, default=HERE / "votes_to_prediction.png", help="(default: %(default)s)")
    args = parser.parse_args()
    draw(FinishedRun.read(args.run), args.out)


if __name__ == "__main__":
    main()
