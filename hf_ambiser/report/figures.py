"""Figures of a group of runs: answers on a split, risk, rater equivalence, sweeps, labels and validation over epochs.

Each function returns the file that it wrote, or None if the runs hold nothing to draw. `reference` is the system that
the others are compared with; it gets a panel or a line even if not all systems get one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy import stats

from hf_ambiser.label_analysis.history import Epochs, History
from hf_ambiser.labels.votes import entropy_bits, soft_labels
from hf_ambiser.metrics.display import COLUMNS, DISTRIBUTION_AND_SELECTION
from hf_ambiser.metrics.selective import risk_coverage
from hf_ambiser.plotting.colours import colour
from hf_ambiser.plotting.confusion import draw_confusion
from hf_ambiser.plotting.figure import save
from hf_ambiser.plotting.panels import grid, legend, literal, panels
from hf_ambiser.plotting.reliability import ReliabilityCurve, draw_reliability
from hf_ambiser.plotting.risk_coverage import RiskCoverageLine, draw_risk_coverage
from hf_ambiser.report.convergence import Curve, read_curve
from hf_ambiser.report.groups import Group
from hf_ambiser.report.rater_equivalence import SystemWorth, on_the_same_utterances
from hf_ambiser.report.results import figure_of
from hf_ambiser.report.statistics import by_seed, spread
from hf_ambiser.report.sweeps import Sweep
from hf_ambiser.run_folder.finished import FinishedRun


# A figure with more panels, or more lines, than this cannot be read.
MOST_PANELS = 12
MOST_LINES = 8
ENTROPY_BINS = 6

Run = TypeVar("Run", Epochs, Curve)  # what a run was at each epoch


def drawn(group: Group, first: str | None = None, most: int = MOST_PANELS) -> list[str]:
    """The systems that get a panel: the first `most` ones, and `first` among them if it exists."""
    names = list(group.systems)
    if first in names and names.index(first) >= most:
        names.insert(most - 1, first)
    return list(dict.fromkeys(names))[:most]


def confusion(group: Group, split: str, out: Path, reference: str | None = None) -> Path:
    """Draw the confusion matrix of every system: the mean over seeds, added over folds; a row sums to 100 %."""
    names = drawn(group, reference)
    figure, axes = panels(len(names), width=2.7, height=2.7)
    classes = [literal(name) for name in group.classes]
    for axis, system in zip(axes, names, strict=False):
        draw_confusion(axis, _counts(group.systems[system], split), classes, size=8)
        axis.set_title(literal(system), fontsize=10)
    figure.supxlabel("answer of the model", fontsize=9)
    figure.supylabel("consensus of the raters, % of its utterances", fontsize=9)
    return save(figure, out)


def _counts(runs: Sequence[FinishedRun], split: str) -> np.ndarray:
    folds: dict[str | None, list[np.ndarray]] = {}
    for run in runs:
        folds.setdefault(run.fold, []).append(np.array(run.scores(split)["confusion"], dtype=np.float64))
    return np.sum([np.mean(matrices, axis=0) for matrices in folds.values()], axis=0)


def reliability(group: Group, split: str, out: Path, reference: str | None = None) -> Path:
    """Draw confidence against outcome, over all runs: the consensus (left) and the share of votes (right).

    Bins are those of the runs' ECE; bins of fewer than 5 utterances are left out. Each run's own answers are counted,
    because the mean distribution over seeds would be better calibrated than any of them.
    """
    figure, axes = panels(2, width=4.2, height=3.9, columns=2)
    for axis, kind, label in zip(
        axes, ("label", "votes"), ("share that equals the consensus", "share of votes for the answer"), strict=False
    ):
        curves = []
        for system in drawn(group, reference, MOST_LINES):
            confidence, outcome, n = _bins(group.systems[system], split, kind)
            seen, ink = n >= 5, colour(list(group.systems).index(system))
            curves.append(ReliabilityCurve(literal(system), ink, confidence[seen], outcome[seen], n[seen]))
        draw_reliability(axis, curves, label, by_size=True)
        axis.set_aspect("equal")
        grid(axis)
    legend(figure, axes[0])
    return save(figure, out)


def _bins(runs: Sequence[FinishedRun], split: str, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, mean outcome and number of utterances of each bin, each `(B,)`, over all runs."""
    total = np.zeros((0, 3))
    for run in runs:
        bins = run.scores(split)["reliability"][kind]
        rows = np.array([[b["n"] * (b["confidence"] or 0), b["n"] * (b["accuracy"] or 0), b["n"]] for b in bins])
        if len(rows):
            total = rows + (total if len(total) else 0)
    n = total[:, 2] if len(total) else np.zeros(0)
    safe = np.maximum(n, 1)
    return (total[:, 0] / safe, total[:, 1] / safe, n) if len(total) else (n, n, n)


def entropy(group: Group, split: str, out: Path, reference: str | None = None) -> Path:
    """Draw the model's entropy against the raters', one point an utterance (mean over runs), and its mean in bins."""
    names = drawn(group, reference)
    figure, axes = panels(len(names), width=2.9, height=2.8, share=True)
    highest = float(np.log2(len(group.classes)))
    rng = np.random.default_rng(0)
    for axis, system in zip(axes, names, strict=False):
        raters, model = _entropies(group.systems[system], split)
        # Few raters give few values: points are moved sideways a little to be seen.
        moved = raters + rng.uniform(-0.025, 0.025, len(raters)) * highest
        axis.plot([0, highest], [0, highest], color="grey", linestyle="--", linewidth=1)
        axis.scatter(moved, model, s=5, alpha=0.3, color=colour(2), linewidths=0)
        if len(raters):
            edges = np.linspace(0, highest, ENTROPY_BINS + 1)
            place = np.clip(np.digitize(raters, edges[1:-1]), 0, ENTROPY_BINS - 1)
            some = [b for b in range(ENTROPY_BINS) if (place == b).sum() >= 5]
            means = [(raters[place == b].mean(), model[place == b].mean()) for b in some]
            if means:
                axis.plot(*np.array(means).T, color=colour(0), marker="o", markersize=4, linewidth=1.6)
        r = spread(group.systems[system], partial(figure_of, split, "entropy_pearson")).t
        axis.set_title(
            literal(system) + (f"  (r {COLUMNS['entropy_pearson'].text(r.mean)})" if r else ""), fontsize=10
        )
        axis.set(xlim=(-0.06 * highest, 1.05 * highest), ylim=(-0.03 * highest, 1.05 * highest))
        grid(axis)
    figure.supxlabel("entropy of the votes (bit)", fontsize=9)
    figure.supylabel("entropy of the model (bit)", fontsize=9)
    return save(figure, out)


def _entropies(runs: Sequence[FinishedRun], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Entropy (bits) of the votes and of the model for every utterance with votes, mean over its runs, each `(N,)`."""
    sums: dict[str, list[float]] = {}
    for run in runs:
        read = run.predictions(split)
        voted = read["votes"].sum(axis=1) > 0
        raters = entropy_bits(soft_labels(read["votes"][voted]))
        model = entropy_bits(soft_labels(read["probabilities"][voted]))
        for name, mine, theirs in zip(read["id"][voted].tolist(), raters.tolist(), model.tolist(), strict=True):
            row = sums.setdefault(name, [mine, 0.0, 0.0])
            row[1] += theirs
            row[2] += 1
    values = np.array([[raters, total / n] for raters, total, n in sums.values()]).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def risk_coverage_curves(group: Group, split: str, out: Path, reference: str | None = None) -> Path | None:
    """Draw the share of wrong answers over the share of utterances that are answered, the most confident ones first.

    A line is the mean over seeds of the curve of all folds of a seed together, at 1 %, 2 %, ... of the utterances. The
    legend has the mean AURC of the single runs, as the table does.
    """
    coverage = np.arange(1, 101) / 100
    figure, axes = panels(1, width=5.4, height=3.6)
    axis, lines = axes[0], []
    for system in drawn(group, reference, MOST_LINES):
        runs, ink = group.systems[system], colour(list(group.systems).index(system))
        curves = [risk for seed in by_seed(runs) if (risk := _risk(seed, split, coverage)) is not None]
        if curves:
            area = spread(runs, partial(figure_of, split, "aurc")).t
            shown = DISTRIBUTION_AND_SELECTION["aurc"]
            label = f"{literal(system)}: {shown.name} {shown.text(None if area is None else area.mean)}"
            lines.append(RiskCoverageLine(label, ink, coverage, np.mean(curves, axis=0)))
    if not lines:
        return None
    draw_risk_coverage(axis, lines)
    grid(axis)
    legend(figure, axis)
    return save(figure, out)


def _risk(runs: Sequence[FinishedRun], split: str, coverage: np.ndarray) -> np.ndarray | None:
    """`(C,)` risk at each coverage over the labelled utterances of these runs; None if there is none."""
    read = [run.predictions(split) for run in runs]
    answers = np.concatenate([one["probabilities"] for one in read])
    label = np.concatenate([one["consensus"] for one in read])
    answers, label = answers[label >= 0], label[label >= 0]
    if len(label) == 0:
        return None
    curve = risk_coverage(answers.max(axis=1), (answers.argmax(axis=1) != label).astype(float))
    return np.interp(coverage, curve.coverage, curve.risk)


def rater_curve(
    group: Group, worths: Mapping[str, SystemWorth], out: Path, reference: str | None = None
) -> Path | None:
    """Draw the cross-entropy of n raters over n, and a thin line for each system over the utterances of each n.

    A system's line meets the raters' at its worth. `on_the_same_utterances` says which systems can be drawn.
    """
    lines = on_the_same_utterances(worths)
    if not lines:
        return None
    figure, axes = panels(1, width=5.4, height=3.6)
    axis = axes[0]
    for system in [name for name in drawn(group, reference, MOST_LINES) if name in lines]:
        found, ink = lines[system], colour(list(group.systems).index(system))
        n, bits = [point.n for point in found.curve], [point.model for point in found.curve]
        axis.plot(n, bits, color=ink, linewidth=1, marker="o", markersize=2, label=f"{literal(system)}: {found}")
    curve = next(iter(lines.values())).curve
    n, bits = [point.n for point in curve], [point.raters for point in curve]
    axis.plot(n, bits, color="black", linewidth=2, marker="o", markersize=4, label="n raters")
    axis.set_xticks(n, [f"{point.n}\n({point.n_utterances})" for point in curve])
    axis.set_xlabel("number of raters n (utterances with n + 1 votes)")
    axis.set_ylabel("cross-entropy of one more rater's answer (bit)")
    grid(axis)
    legend(figure, axis)
    return save(figure, out)


def sweep(group: Group, points: Sweep, splits: Sequence[str], out: Path) -> Path:
    """A sweep: WA, UA and JS over the values of its field, with 95 % intervals, a line a test split."""
    figures = ("wa", "ua", "js")
    figure, axes = panels(len(figures), width=3.3, height=3.0, columns=3)
    x = [value for value, _ in points.points]
    for axis, name in zip(axes, figures, strict=False):
        shown = COLUMNS[name]
        for i, split in enumerate(splits):
            found = [spread(group.systems[s], partial(figure_of, split, name)).t for _, s in points.points]
            rows = [(v, t) for v, t in zip(x, found, strict=True) if t is not None]
            mean = [t.mean * shown.factor for _, t in rows]
            half = [0.0 if t.high is None else (t.high - t.mean) * shown.factor for _, t in rows]
            style = {"color": colour(i + 2), "marker": "o", "markersize": 4, "capsize": 3, "linewidth": 1.4}
            axis.errorbar([v for v, _ in rows], mean, half, label=literal(split), **style)
        if min(x) > 0 and max(x) / min(x) >= 30:
            axis.set_xscale("log")
        axis.set_xlabel(literal(points.field))
        axis.set_ylabel(shown.title)
        grid(axis)
    legend(figure, axes[0])
    return save(figure, out)


def trajectories(
    group: Group, histories: Mapping[str, History], out: Path, reference: str | None = None
) -> Path | None:
    """Draw, over epochs, the share of ambiguous labels that are not the consensus, and the entropy of these labels.

    Lines are means over runs. Bands are 95 % t intervals over all runs, folds and seeds together, so they show how
    training varies.
    """
    if not histories:
        return None
    figure, axes = panels(2, width=4.4, height=3.4, columns=2)
    for system in [name for name in drawn(group, reference, MOST_LINES) if name in histories]:
        runs, ink = histories[system].epochs, colour(list(group.systems).index(system))
        _band(axes[0], runs, lambda run: 100 * run.differ, system, ink)
        _band(axes[1], runs, lambda run: run.entropy, system, ink)
    axes[0].set_ylabel("labels other than the consensus (%)")
    axes[1].set_ylabel("entropy of the labels (bit)")
    axes[0].set_ylim(0, 100)
    axes[1].set_ylim(-0.02, 1.05 * float(np.log2(len(group.classes))))
    for axis in axes:
        axis.set_xlabel("epoch")
        grid(axis)
    legend(figure, axes[0])
    return save(figure, out)


def validation_curves(group: Group, out: Path, reference: str | None = None) -> Path | None:
    """Draw JS and UA on validation over epochs: means over runs, with 95 % t intervals over all of them together."""
    figure, axes = panels(2, width=4.4, height=3.4, columns=2)
    for axis, name in zip(axes, ("js", "ua"), strict=True):
        shown = COLUMNS[name]
        for system in drawn(group, reference, MOST_LINES):
            curves = [read_curve(run) for run in group.systems[system]]
            curves = [curve for curve in curves if np.isfinite(curve.figures[name]).any()]
            ink = colour(list(group.systems).index(system))
            if curves:
                _band(axis, curves, lambda curve: shown.factor * curve.figures[name], system, ink)  # noqa: B023
        axis.set_xlabel("epoch")
        axis.set_ylabel(f"{shown.title} on validation")
        grid(axis)
    fuller = max(axes, key=lambda axis: len(axis.get_lines()))
    if not fuller.get_lines():
        return None
    legend(figure, fuller)
    return save(figure, out)


def _band(axis: Any, runs: Sequence[Run], value: Callable[[Run], np.ndarray], label: str, ink: str) -> None:
    by_epoch: dict[float, list[float]] = {}
    for run in runs:
        for epoch, one in zip(run.epoch.tolist(), value(run).tolist(), strict=True):
            if np.isfinite(one):
                by_epoch.setdefault(epoch, []).append(one)
    epochs = sorted(by_epoch)
    mean = np.array([np.mean(by_epoch[e]) for e in epochs])
    half = np.array([_half_width(by_epoch[e]) for e in epochs])
    axis.plot(epochs, mean, color=ink, label=literal(label), linewidth=1.6)
    axis.fill_between(epochs, mean - half, mean + half, color=ink, alpha=0.15, linewidth=0)


def _half_width(values: Sequence[float]) -> float:
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else 0.0
