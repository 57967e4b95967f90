"""Tables from run folders: a method's seeds side by side, compared pair by pair. Reads nothing but run folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.scoring import read_predictions
from hf_ambiser.training import RESULTS


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
