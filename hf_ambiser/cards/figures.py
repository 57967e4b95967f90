"""The figures beside a model card: training curve, calibration, confusion, risk over coverage, the method's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.cards.facts import Facts
from hf_ambiser.metrics.decision import Decision, curve_of_answers
from hf_ambiser.metrics.display import SCORES
from hf_ambiser.plotting.axes import new_axes
from hf_ambiser.plotting.colours import colour
from hf_ambiser.plotting.confusion import draw_confusion
from hf_ambiser.plotting.figure import new_figure, save
from hf_ambiser.plotting.panels import literal
from hf_ambiser.plotting.reliability import ReliabilityCurve, draw_reliability
from hf_ambiser.plotting.risk_coverage import RiskCoverageLine, draw_risk_coverage


RISK_COVERAGE = "risk_coverage"
# Logged figure -> (its name, its colour).
_VALIDATION = {
    f"eval_{name}": (f"validation {SCORES[name].stored_title}", ink)
    for name, ink in (("ua", "tab:blue"), ("js", "tab:red"))
}


def draw_figures(facts: Facts, out: Path | None = None) -> dict[str, str]:
    """Draw all figures into `model/figures/`, or into another folder.

    Returns:
        File name -> caption, in the order in which the card shows them.
    """
    out = out or facts.files.figures
    captions = {}
    if _training_curve(facts.results["log"], out / "training_curve.png"):
        captions["training_curve.png"] = "Training loss, and UA and JS on the validation speakers, over the epochs."
    captions |= facts.method.draw_figures(facts.run.folder, out, facts.classes)
    for split, scores in facts.results["scores"].items():
        if scores["all"]["n"]:
            path = facts.files.figure_of(split, out)
            _confusion_and_calibration(scores["all"], facts.classes, path)
            captions[path.name] = f"{split}: confusion matrix (rows: raters' consensus, in %) and reliability diagram."
    path = facts.files.figure_of(RISK_COVERAGE, out)
    if _risk_coverage(facts, path):
        captions[path.name] = (
            "Share of wrong answers among the most confident ones, over the share of test utterances with votes that"
            " are answered; without a consensus every answer is wrong. A mark: the chosen threshold. Dashed: the risk"
            " that was asked for."
        )
    return captions


def _risk_coverage(facts: Facts, out: Path) -> bool:
    """Draw the curve of each test split that a decision was measured on; False without a decision, or predictions."""
    decision, lines = facts.run.decision or {"test": {}}, []
    for number, (split, figures) in enumerate(decision["test"].items()):
        if facts.scored.has_predictions(split):
            table = facts.scored.predictions(split)
            answers = (table["probabilities"], table["votes"], table["consensus"])
            curve = curve_of_answers(*answers, Decision.of(decision))
            chosen = None if figures["risk"] is None else (figures["coverage"], figures["risk"])
            lines.append(RiskCoverageLine(literal(split), colour(number), curve.coverage, curve.risk, chosen))
    if not lines:
        return False
    figure, axes = new_axes("", "")
    draw_risk_coverage(axes, lines, decision["risk"])
    axes.legend(fontsize=8)
    save(figure, out)
    return True


def _training_curve(log: list[dict[str, Any]], out: Path) -> bool:
    """Draw the loss on the left axis and validation figures on the right; False if nothing was logged."""
    curves = {name: [(e["epoch"], e[name]) for e in log if name in e] for name in ("loss", *_VALIDATION)}
    if not any(curves.values()):
        return False
    figure, axes = new_axes("epoch", "training loss")
    right = axes.twinx()
    right.set_ylabel("validation")
    right.set_ylim(0, 1)
    for name, points in curves.items():
        label, ink = _VALIDATION.get(name, ("training loss", "tab:grey"))
        if points:
            (right if name in _VALIDATION else axes).plot(*zip(*points, strict=True), color=ink, label=label)
    lines = [*axes.get_lines(), *right.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], fontsize=8)
    save(figure, out)
    return True


def _confusion_and_calibration(scores: dict[str, Any], classes: list[str], out: Path) -> None:
    figure = new_figure((9, 4))
    left, right = figure.subplots(1, 2)
    draw_confusion(left, np.array(scores["confusion"], dtype=float), classes, totals=True)
    left.set_xlabel("predicted")
    left.set_ylabel("raters' consensus (clips)")
    curves = []
    for key, name, ink in (("label", "consensus", "tab:blue"), ("votes", "votes", "tab:orange")):
        bins = [b for b in scores["reliability"][key] if b["n"]]
        curve = (np.array([b[part] for b in bins]) for part in ("confidence", "accuracy", "n"))
        curves.append(ReliabilityCurve(name, ink, *curve))
    draw_reliability(right, curves, "share of raters who agree / right answers")
    right.legend(fontsize=8)
    save(figure, out)
