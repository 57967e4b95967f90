"""The figures beside a model card: training curve, calibration, confusion, and the method's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.cards.facts import Facts
from hf_ambiser.metrics.display import SCORES
from hf_ambiser.plotting.axes import new_axes, save


# Logged figure -> (its name, its colour).
_VALIDATION = {
    f"eval_{name}": (f"validation {SCORES[name].stored_title}", colour)
    for name, colour in (("ua", "tab:blue"), ("js", "tab:red"))
}


def draw_figures(facts: Facts) -> dict[str, str]:
    """Draw all figures into `model/figures/`; file name -> caption, in the order they are shown."""
    out = facts.files.figures
    captions = {}
    if _training_curve(facts.results["log"], out / "training_curve.png"):
        captions["training_curve.png"] = "Training loss, and UA and JS on the validation speakers, over the epochs."
    captions |= facts.method.draw_figures(facts.run.folder, out, facts.classes)
    for split, scores in facts.results["scores"].items():
        if scores["all"]["n"]:
            name = f"{split}.png"
            _confusion_and_calibration(scores["all"], facts.classes, out / name)
            captions[name] = f"{split}: confusion matrix (rows: raters' consensus, in %) and reliability diagram."
    return captions


def existing_figures(facts: Facts) -> list[Path]:
    """What `draw_figures` drew."""
    return sorted(facts.files.figures.glob("*.png"))


def _training_curve(log: list[dict[str, Any]], out: Path) -> bool:
    """Loss on the left axis, validation figures on the right; False where nothing was logged."""
    curves = {name: [(e["epoch"], e[name]) for e in log if name in e] for name in ("loss", *_VALIDATION)}
    if not any(curves.values()):
        return False
    figure, axes = new_axes("epoch", "training loss")
    right = axes.twinx()
    right.set_ylabel("validation")
    right.set_ylim(0, 1)
    for name, points in curves.items():
        label, colour = _VALIDATION.get(name, ("training loss", "tab:grey"))
        if points:
            (right if name in _VALIDATION else axes).plot(*zip(*points, strict=True), color=colour, label=label)
    lines = [*axes.get_lines(), *right.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], fontsize=8)
    save(figure, out)
    return True


def _confusion_and_calibration(scores: dict[str, Any], classes: list[str], out: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    counts = np.array(scores["confusion"], dtype=float)
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * counts, rows, out=np.zeros_like(counts), where=rows > 0)
    left.imshow(shares, vmin=0, vmax=100, cmap="Blues")
    for i, j in np.ndindex(shares.shape):
        left.text(
            j, i, f"{shares[i, j]:.0f}", ha="center", va="center", color="white" if shares[i, j] > 55 else "black"
        )
    left.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    left.set_yticks(range(len(classes)), [f"{name} ({int(n)})" for name, n in zip(classes, rows[:, 0], strict=True)])
    left.set_xlabel("predicted")
    left.set_ylabel("raters' consensus (clips)")
    right.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    for key, label, colour in (("label", "consensus", "tab:blue"), ("votes", "votes", "tab:orange")):
        bins = [b for b in scores["reliability"][key] if b["n"]]
        if bins:
            right.plot(
                [b["confidence"] for b in bins], [b["accuracy"] for b in bins], marker="o", color=colour, label=label
            )
    right.set_xlim(0, 1)
    right.set_ylim(0, 1)
    right.set_xlabel("confidence of the answer")
    right.set_ylabel("share of raters who agree / right answers")
    right.grid(alpha=0.3)
    right.legend(fontsize=8)
    save(figure, out)
