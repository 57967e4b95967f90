"""Figure 3 and Table 3 of Fujioka et al. from run folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ambiser.label_analysis.changed_labels import class_moves
from hf_ambiser.plotting.axes import new_axes
from hf_ambiser.plotting.confusion import draw_shares
from hf_ambiser.plotting.figure import save
from hf_ambiser.run_folder.trajectory import read_last


def share_moved(run: Path) -> np.ndarray | None:
    """Return Figure 3, `(K, K)`: of each class's utterances (row), the share whose learnt label is each (column).

    None if the run learnt no labels or has no trajectory.
    """
    table, _ = read_last(run)
    if "label_logits" not in table:
        return None
    return class_moves(table["observed"], table["label_logits"])


@dataclass(frozen=True)
class ClassWeights:
    """Table 3: mean w of each class's utterances, `(K,)`; nan for a class without utterances."""

    initial: np.ndarray
    learnt: np.ndarray


def mean_weights(run: Path) -> ClassWeights | None:
    """Return Table 3; None if the run has no weights or no trajectory."""
    table, tensors = read_last(run)
    if "initial_w" not in tensors:
        return None
    label, k = table["observed"].argmax(axis=1), table["observed"].shape[1]
    learnt = [table["w"][label == c].mean() if (label == c).any() else np.nan for c in range(k)]
    return ClassWeights(tensors["initial_w"], np.array(learnt))


def doubt(run: Path) -> dict[str, np.ndarray] | None:
    """Return `id`, `observed`, `target` and `doubt (N,)`: each utterance's w, divided by the initial w of its class.

    If the doubt is above 1, the loss is larger than is usual for the class, and a rater should check the label. None
    if the run has no weights or no trajectory.
    """
    table, tensors = read_last(run)
    if "initial_w" not in tensors:
        return None
    began = tensors["initial_w"][table["observed"].argmax(axis=1)]
    return {name: table[name] for name in ("id", "observed", "target")} | {"doubt": table["w"] / began}


def plot_moved_labels(shares: np.ndarray, out: Path, classes: list[str]) -> Path:
    """Draw Figure 3 as a heat map of `(K, K)` shares."""
    figure, axes = new_axes("learnt label", "label of the data", size=(5.2, 4.4))
    axes.grid(False)
    figure.colorbar(draw_shares(axes, shares, classes, classes), label="% of the row")
    return save(figure, out)


def plot_weights(means: ClassWeights, out: Path, classes: list[str]) -> Path:
    """Draw Table 3 as bars."""
    figure, axes = new_axes("", "mean w (lower counts more)")
    place = np.arange(len(classes))
    for shift, name, values in ((-0.2, "before", means.initial), (0.2, "after", means.learnt)):
        axes.bar_label(axes.bar(place + shift, values, width=0.38, label=name), fmt="%.2f", fontsize=7)
    axes.set_xticks(place, classes)
    axes.axhline(1, color="grey", linewidth=1, linestyle="--")
    axes.legend()
    return save(figure, out)
