"""The figures that tables show: their names, units and digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shown:
    """One figure: its heading with its unit, its digits, and what its value is multiplied by to be in that unit."""

    title: str
    digits: int
    factor: float = 1.0

    def text(self, value: float | None) -> str:
        """As a reader sees it."""
        return "undefined" if value is None else f"{value * self.factor:.{self.digits}f}"

    def signed(self, value: float) -> str:
        """A difference, with its sign."""
        return f"{value * self.factor:+.{self.digits}f}"

    def interval(self, low: float, high: float, signed: bool = False) -> str:
        """As `[low, high]`."""
        ends = (self.signed(low), self.signed(high)) if signed else (self.text(low), self.text(high))
        return f"[{ends[0]}, {ends[1]}]"


COLUMNS: dict[str, Shown] = {
    "wa": Shown("WA %", 1, 100),
    "ua": Shown("UA %", 1, 100),
    "macro_f1": Shown("macro-F1 %", 1, 100),
    "js": Shown("JS (bit)", 3),
    "brier": Shown("Brier", 3),
    "entropy_pearson": Shown("entropy r", 2),
    "ece": Shown("ECE", 3),
}
# Further figures that papers quote, made of those of the single classes.
QUOTED: dict[str, Shown] = {
    f"{kind}_{figure}": Shown(f"{kind} {name} %", 1, 100)
    for kind in ("macro", "weighted")
    for figure, name in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
    if f"{kind}_{figure}" != "macro_f1"
}
# Figures that systems are compared in, pair by pair: two of the answer, one of the distribution.
COMPARED = ("wa", "ua", "js")


def one_line(scores: dict[str, Any]) -> str:
    """The headline figures of one split, over all its clips."""
    parts = [f"{shown.title} {shown.text(scores['all'][name])}" for name, shown in COLUMNS.items()]
    return f"n {scores['all']['n']}, " + ", ".join(parts)


def quoted_figure(scores: dict[str, Any], name: str) -> float | None:
    """A figure of `COLUMNS` or `QUOTED` from one split's scores; None where it has no value.

    A mean over the classes that occur among the consensus labels, `weighted` by their clips; the precision of a class
    that is never answered counts as 0, as scikit-learn has it.
    """
    if name in COLUMNS:
        return scores[name]
    kind, figure = name.split("_")
    rows = [row for row in scores["per_class"].values() if row["support"]]
    weights = [row["support"] if kind == "weighted" else 1 for row in rows]
    if not rows:
        return None
    return sum(w * (row[figure] or 0.0) for w, row in zip(weights, rows, strict=True)) / sum(weights)
