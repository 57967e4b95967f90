"""The paper's figures from a run folder."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import yaml

from hf_ambiser.runs.corrected_labels import pseudo_label_agreement
from hf_ambiser.trajectory import read_tensors, trajectory_epochs


def plot_prototype_similarity(run: Path, out: Path, classes: list[str]) -> Path:
    """IPR's Figure 2: cosine similarity of every pair of prototypes over the epochs.

    Raises:
        ValueError: If the run kept no prototypes.
    """
    epochs, similarity = [], []
    for epoch in trajectory_epochs(run):
        tensors = read_tensors(run, epoch)
        if "prototypes" in tensors:
            epochs.append(epoch)
            similarity.append(tensors["prototypes"] @ tensors["prototypes"].T)
    if not epochs:
        raise ValueError(f"{run} has no prototypes in its trajectory: its method has none.")
    figure, axes = _axes("epoch", "cosine similarity of prototypes")
    for a, b in itertools.combinations(range(len(classes)), 2):
        axes.plot(epochs, [s[a, b] for s in similarity], label=f"{classes[a]} - {classes[b]}", linewidth=1.5)
    _mark_warmup(axes, run)
    axes.legend(fontsize=7, ncols=2)
    return _save(figure, out)


def plot_pseudo_label_agreement(run: Path, out: Path) -> Path:
    """IPR's Figure 3: share of ambiguous utterances labelled as the raters did, by prototypes and by the classifier.

    Raises:
        ValueError: If the run gave no labels to ambiguous utterances.
    """
    rows = pseudo_label_agreement(run)
    if not rows:
        raise ValueError(f"{run} gave no labels to ambiguous utterances.")
    figure, axes = _axes("epoch", "agreement with the raters' consensus (%)")
    epochs = [row.epoch for row in rows]
    axes.plot(epochs, [100 * row.prototype for row in rows], color="tab:red", label="assigned by prototypes")
    axes.plot(epochs, [100 * row.classifier for row in rows], color="tab:blue", label="the classifier's own")
    axes.legend()
    return _save(figure, out)


def _axes(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)  # no window system, no global state
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _mark_warmup(axes: Any, run: Path) -> None:
    arguments = yaml.safe_load((run / "arguments.yaml").read_text())
    if "warmup_epochs" in arguments:
        axes.axvline(arguments["warmup_epochs"] + 0.5, color="grey", linestyle="--", linewidth=1)
        axes.annotate("warm-up ends", (arguments["warmup_epochs"] + 0.6, axes.get_ylim()[0]), fontsize=7, color="grey")


def _save(figure: Any, out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    return out
