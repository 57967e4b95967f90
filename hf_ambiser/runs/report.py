"""Tables from run folders: a method's seeds side by side, compared pair by pair. Reads nothing but run folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.corrected_labels import pseudo_label_agreement
from hf_ambiser.metrics import unweighted_accuracy, weighted_accuracy
from hf_ambiser.metrics.checks import UndefinedMetric
from hf_ambiser.metrics.significance import paired_bootstrap, paired_t
from hf_ambiser.runs.run import RESULTS
from hf_ambiser.runs.scoring import read_predictions


# Figure -> (heading, digits, factor).
COLUMNS: dict[str, tuple[str, int, float]] = {
    "wa": ("WA %", 1, 100),
    "ua": ("UA %", 1, 100),
    "macro_f1": ("macro-F1 %", 1, 100),
    "js": ("JS (bit)", 3, 1),
    "brier": ("Brier", 3, 1),
    "entropy_pearson": ("entropy r", 2, 1),
    "ece": ("ECE", 3, 1),
}


def one_line(scores: dict[str, Any]) -> str:
    """The headline figures of one split, over all its clips."""
    parts = [_cell(scores["all"][name], name, heading=True) for name in COLUMNS]
    return f"n {scores['all']['n']}, " + ", ".join(parts)


def _cell(value: float | None, name: str, heading: bool = False) -> str:
    title, digits, factor = COLUMNS[name]
    shown = "undefined" if value is None else f"{value * factor:.{digits}f}"
    return f"{title} {shown}" if heading else shown


@dataclass(frozen=True)
class Run:
    """One finished run folder."""

    folder: Path

    @cached_property
    def results(self) -> dict[str, Any]:
        """Content of `results.json`."""
        return json.loads((self.folder / RESULTS).read_text())

    def figure(self, split: str, name: str, part: str = "all") -> float | None:
        """One figure of one split."""
        return self.results["scores"][split][part][name]

    def predictions(self, split: str) -> dict[str, np.ndarray]:
        """Clip by clip, see `scoring.read_predictions`."""
        return read_predictions(self.folder / "predictions" / f"{split}.parquet")


def find_runs(folder: Path) -> dict[str, list[Run]]:
    """Finished runs under `folder/<system>/<seed>/`, by system.

    Raises:
        ValueError: If there is none, or if runs were made on different data (unequal fingerprints).
    """
    runs: dict[str, list[Run]] = {}
    for path in sorted(folder.glob(f"*/*/{RESULTS}")):
        runs.setdefault(path.parent.parent.name, []).append(Run(path.parent))
    if not runs:
        raise ValueError(f"{folder} holds no finished run (<system>/<seed>/{RESULTS}).")
    marks = {
        run.folder: (run.results["data"]["split_fingerprint"], run.results["data"]["policy_fingerprint"])
        for group in runs.values()
        for run in group
    }
    if len(set(marks.values())) > 1:
        listed = ", ".join(f"{path}: {'/'.join(mark)}" for path, mark in marks.items())
        raise ValueError(f"these runs were made on different data and cannot stand in one table: {listed}.")
    return runs


def seeds_table(runs: dict[str, list[Run]], split: str, order: Sequence[str]) -> str:
    """Markdown: mean (standard deviation) over seeds of every figure, one row a system."""
    lines = ["| system | seeds | " + " | ".join(title for title, _, _ in COLUMNS.values()) + " |"]
    lines.append("|---|---|" + "---|" * len(COLUMNS))
    for system in order:
        cells = []
        for name in COLUMNS:
            values = [v for run in runs[system] if (v := run.figure(split, name)) is not None]
            cells.append(_mean_sd(values, name))
        lines.append(f"| {system} | {len(runs[system])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean_sd(values: Sequence[float], name: str) -> str:
    if not values:
        return "undefined"
    if len(values) == 1:
        return _cell(values[0], name)
    _, digits, factor = COLUMNS[name]
    return f"{_cell(float(np.mean(values)), name)} ({np.std(values, ddof=1) * factor:.{digits}f})"


def recall_table(runs: dict[str, list[Run]], split: str) -> str:
    """Markdown: recall of each class in %, mean over seeds, one row a system."""
    classes = list(next(iter(runs.values()))[0].results["scores"][split]["all"]["per_class"])
    lines = ["| recall % | " + " | ".join(classes) + " |", "|---|" + "---|" * len(classes)]
    for system, group in runs.items():
        per_class = [run.results["scores"][split]["all"]["per_class"] for run in group]
        cells = []
        for name in classes:
            values = [figures[name]["recall"] for figures in per_class if figures[name]["recall"] is not None]
            cells.append(f"{100 * np.mean(values):.0f}" if values else "-")
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pseudo_label_table(runs: dict[str, list[Run]]) -> str | None:
    """Markdown: what labels ambiguous clips got by the end, against the raters' consensus; None where none got any.

    Agreement of prototype and classifier labels (IPR's Figure 3, last epoch), and the share of each class among the
    prototypes' labels and among the raters', all in %, mean over seeds.
    """
    lines = []
    for system, group in runs.items():
        last = [rows[-1] for run in group if (rows := pseudo_label_agreement(run.folder))]
        if not last:
            continue
        names = group[0].results["data"]["classes"]
        shares = np.mean([row.class_shares for row in last], axis=0)
        raters = np.mean([row.rater_shares for row in last], axis=0)
        mix = ", ".join(
            f"{name} {100 * a:.0f} ({100 * b:.0f})" for name, a, b in zip(names, shares, raters, strict=True)
        )
        agreement = [
            f"{100 * np.mean([getattr(row, kind) for row in last]):.1f}" for kind in ("prototype", "classifier")
        ]
        lines.append(f"| {system} | {agreement[0]} | {agreement[1]} | {mix} |")
    if not lines:
        return None
    head = "| labels of D2 | prototypes agree % | classifier agrees % | share of each class % (the raters') |"
    return "\n".join([head, "|---|---|---|---|", *lines])


def comparison(runs: dict[str, list[Run]], split: str, figure: str, of: str) -> str:
    """Markdown: how one system differs from each other one in WA or UA, over seeds and over clips.

    Over seeds: paired t test of the seeds both have. Over clips: the systems' probabilities averaged over seeds,
    bootstrap over speakers (`significance.paired_bootstrap`).
    """
    lines = [
        f"| {figure.upper()} % of {of} minus | seeds: difference [95 %] | p | clips: difference [95 %] | p |",
        "|---|---|---|---|---|",
    ]
    for other in [system for system in runs if system != of]:
        t = _over_seeds(runs[of], runs[other], split, figure)
        b = _over_clips(runs[of], runs[other], split, figure)
        lines.append(f"| {other} | {t} | {b} |")
    return "\n".join(lines)


def _over_seeds(a: list[Run], b: list[Run], split: str, figure: str) -> str:
    mine, theirs = {r.folder.name: r for r in a}, {r.folder.name: r for r in b}
    seeds = sorted(set(mine) & set(theirs))
    values = [(mine[s].figure(split, figure), theirs[s].figure(split, figure)) for s in seeds]
    pairs = [(100 * x, 100 * y) for x, y in values if x is not None and y is not None]
    if len(pairs) < 2:
        return "one seed | -"
    t = paired_t([x for x, _ in pairs], [y for _, y in pairs])
    if t.p is None or t.low is None or t.high is None:
        return f"{t.mean:+.1f} ({t.undefined}) | -"
    return f"{t.mean:+.1f} [{t.low:+.1f}, {t.high:+.1f}] | {t.p:.3f}"


def _over_clips(a: list[Run], b: list[Run], split: str, figure: str) -> str:
    first = a[0].predictions(split)
    k = first["votes"].shape[1]
    labelled = first["consensus"] >= 0
    mean = [
        np.mean([run.predictions(split)["probabilities"] for run in group], axis=0)[labelled].argmax(axis=1)
        for group in (a, b)
    ]
    metrics = {"wa": lambda y, p: weighted_accuracy(y, p, k), "ua": lambda y, p: unweighted_accuracy(y, p, k)}
    try:
        result = paired_bootstrap(
            metrics[figure], first["consensus"][labelled], mean[0], mean[1], first["speaker"][labelled]
        )
    except UndefinedMetric as reason:
        return f"undefined ({reason}) | -"
    low, high = 100 * result.low, 100 * result.high
    return f"{100 * result.difference:+.1f} [{low:+.1f}, {high:+.1f}] | {result.p:.3f}"


def baselines(run: Run, split: str) -> str:
    """Markdown: class counts, the majority-class baseline and the rater ceiling of a split."""
    scores = run.results["scores"][split]["all"]
    counts = ", ".join(f"{name} {n}" for name, n in scores["class_counts"].items())
    majority, ceiling = scores["majority_baseline"], scores["rater_ceiling"]
    rows = [
        f"{scores['n']} clips ({counts}).",
        "",
        "| | WA % | UA % | macro-F1 % | JS (bit) |",
        "|---|---|---|---|---|",
    ]
    for name, values in (("always the majority class", majority), ("one rater against the others", ceiling)):
        shown = [_cell(values.get(figure), figure) for figure in ("wa", "ua", "macro_f1", "js")]
        rows.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(rows)


def compare(folder: Path, of: str = "ipr", splits: Sequence[str] | None = None) -> str:
    """The whole comparison as Markdown: for each test split counts, ceiling, table over seeds, paired differences.

    Raises:
        ValueError: As `find_runs`, or if a run was not scored on one of the splits.
    """
    runs = find_runs(folder)
    first = next(iter(runs.values()))[0]
    splits = splits or list(first.results["scores"])
    for run in (run for group in runs.values() for run in group):
        missing = sorted(set(splits) - set(run.results["scores"]))
        if missing:
            raise ValueError(f"{run.folder} was not scored on {missing}, only on {sorted(run.results['scores'])}.")
    data = first.results["data"]
    text = [
        f"Corpus {data['corpus']}, {data['dataset_config']}, protocol **{data['protocol']}**, policy {data['policy']}"
        f" (`{data['policy_fingerprint']}`), splits `{data['split_fingerprint']}`."
    ]
    if of not in runs:
        text += ["", f"There is no system {of!r} here, so systems are not compared pair by pair."]
    for split in splits:
        text += ["", f"### {split}", "", baselines(first, split), "", seeds_table(runs, split, list(runs))]
        if of in runs and len(runs) > 1:
            text += ["", comparison(runs, split, "wa", of), "", comparison(runs, split, "ua", of)]
        text += ["", recall_table(runs, split)]
    given = pseudo_label_table(runs)
    if given:
        text += ["", "### Labels given to unlabelled clips, last epoch", "", given]
    return "\n".join(text) + "\n"
