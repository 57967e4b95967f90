"""Figures of how a run of SLC changed the labels of ambiguous utterances."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hf_ambiser.label_analysis.changed_labels import changed_labels
from hf_ambiser.labels.votes import entropy_bits, soft_labels
from hf_ambiser.metrics.distribution import js_divergence
from hf_ambiser.plotting.axes import new_axes
from hf_ambiser.plotting.figure import save
from hf_ambiser.run_folder.trajectory import read_trajectory, trajectory_epochs


def read_corrected(run: Path, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return votes' shares and corrected labels, `(n, K)` each, of the ambiguous utterances after an epoch.

    The label of a clear utterance is one class alone and is never corrected, so the ambiguous utterances are those
    whose label changed or is shared among classes.
    """
    table = read_trajectory(run, epoch)
    votes, label = soft_labels(table["observed"]), soft_labels(table["target"])
    ambiguous = (votes.max(axis=1) < 1) | changed_labels(label, votes)
    return votes[ambiguous], label[ambiguous]


def plot_correction(run: Path, out: Path) -> Path:
    """Draw the entropy of votes and corrected labels, and the distance between them, over the epochs."""
    every = {epoch: read_corrected(run, epoch) for epoch in trajectory_epochs(run)}
    epochs = [epoch for epoch, (votes, _) in every.items() if len(votes)]
    parts = [every[epoch] for epoch in epochs]
    figure, axes = new_axes("epoch", "bit")
    axes.plot(epochs, [entropy_bits(votes).mean() for votes, _ in parts], "--", color="grey", label="entropy of votes")
    axes.plot(epochs, [entropy_bits(label).mean() for _, label in parts], label="entropy of corrected labels")
    axes.plot(epochs, [js_divergence(votes, label).mean() for votes, label in parts], label="distance (JS)")
    axes.set_ylim(bottom=0)
    axes.legend()
    return save(figure, out)


def plot_moved_labels(run: Path, out: Path, classes: list[str]) -> Path:
    """Draw the shares of the classes among the votes and among the corrected labels after the last epoch."""
    votes, label = read_corrected(run, trajectory_epochs(run)[-1])
    figure, axes = new_axes("", "share of ambiguous utterances' labels (%)")
    place = np.arange(len(classes))
    axes.bar(place - 0.2, 100 * votes.mean(axis=0), 0.4, color="lightgrey", label="votes")
    axes.bar(place + 0.2, 100 * label.mean(axis=0), 0.4, label="corrected")
    axes.set_xticks(place, classes)
    axes.legend()
    return save(figure, out)
