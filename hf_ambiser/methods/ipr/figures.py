"""IPR's Figures 2 and 3 from a run folder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.label_analysis.corrected import EpochAgreement, pseudo_label_agreement
from hf_ambiser.plotting.axes import mark_warmup, new_axes
from hf_ambiser.plotting.figure import save
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.trajectory import read_tensors, trajectory_epochs


def plot_prototype_similarity(run: Path, out: Path, classes: list[str]) -> Path:
    """Draw IPR's Figure 2: the cosine similarity of every pair of prototypes over the epochs.

    Raises:
        ValueError: If the run's trajectory has no prototypes.
    """
    epochs, similarity = [], []
    for epoch in trajectory_epochs(run):
        tensors = read_tensors(run, epoch)
        if "prototypes" in tensors:
            epochs.append(epoch)
            similarity.append(tensors["prototypes"] @ tensors["prototypes"].T)
    if not epochs:
        raise ValueError(f"{run} has no prototypes in its trajectory: give a run of a method with prototypes (ipr).")
    figure, axes = new_axes("epoch", "cosine similarity of prototypes")
    for a, b in itertools.combinations(range(len(classes)), 2):
        axes.plot(epochs, [s[a, b] for s in similarity], label=f"{classes[a]} - {classes[b]}", linewidth=1.5)
    mark_warmup(axes, run)
    axes.legend(fontsize=7, ncols=2)
    return save(figure, out)


def plot_pseudo_label_agreement(run: Path, out: Path) -> Path:
    """Draw IPR's Figure 3: share of ambiguous utterances whose label, by prototype or classifier, is the consensus.

    Raises:
        ValueError: If the run gave no labels to ambiguous utterances.
    """
    rows = pseudo_label_agreement(run)
    if not rows:
        raise ValueError(
            f"{run} gave no labels to ambiguous utterances: give a run of ipr that trained beyond the warm-up."
        )
    figure, axes = new_axes("epoch", "agreement with the raters' consensus (%)")
    epochs = [row.epoch for row in rows]
    axes.plot(epochs, [100 * row.prototype for row in rows], color="tab:red", label="assigned by prototypes")
    axes.plot(epochs, [100 * row.classifier for row in rows], color="tab:blue", label="the classifier's own")
    lost = epochs_lost(rows)
    if lost and judges_figure_3(run):
        axes.set_title(f"the classifier's labels are better after {lost} of {len(rows)} epochs", fontsize=9)
    axes.legend()
    return save(figure, out)


def judges_figure_3(run: Path) -> bool:
    """Whether the card and the figure of a run say where the paper's Figure 3 fails.

    Those of runs made before stay as they are. Such a run does not say when its prototypes are renewed.
    """
    return "prototype_refresh" in RunFolder(run).read_arguments()


def epochs_lost(rows: Sequence[EpochAgreement]) -> int:
    """Return after how many epochs the classifier's own labels were right more often than the prototypes'."""
    return sum(row.prototype < row.classifier for row in rows)


def where_figure_3_fails(rows: Sequence[EpochAgreement]) -> str:
    """Return a sentence that says where prototypes do not label better than the classifier; "" if they always do."""
    lost, last = epochs_lost(rows), rows[-1]
    if not lost:
        return ""
    return (
        f" The paper's finding, that prototypes label better than the classifier, does not hold after {lost} of"
        f" {len(rows)} epochs of this run; after the last one {100 * last.prototype:.1f} % of the prototypes' labels"
        f" and {100 * last.classifier:.1f} % of the classifier's are the consensus."
    )
