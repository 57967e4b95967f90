"""IPR's Figures 2 and 3 from a run folder."""

from __future__ import annotations

import itertools
from pathlib import Path

from hf_ambiser.label_analysis.corrected import pseudo_label_agreement
from hf_ambiser.plotting.axes import mark_warmup, new_axes
from hf_ambiser.plotting.figure import save
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
    axes.legend()
    return save(figure, out)
