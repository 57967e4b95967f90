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


_TITLES = {
    "n": "clips",
    "wa": "WA",
    "ua": "UA",
    "macro_f1": "macro-F1",
    "js": "JS (bit)",
    "kl": "KL (nat)",
    "brier": "Brier",
    "cosine": "cosine",
    "entropy_pearson": "entropy r",
    "entropy_spearman": "entropy rho",
    "ece": "ECE, consensus",
    "ece_votes": "ECE, votes",
}


def describe_scores(scores: dict[str, Any]) -> str:
    """The figures as Markdown: all, clear and ambiguous clips side by side, baselines and ceiling, then per class."""
    parts = ("all", "clear", "ambiguous")
    lines = ["| | all | clear | ambiguous |", "|---|---|---|---|"]
    for name, title in _TITLES.items():
        lines.append(f"| {title} | " + " | ".join(_shown(scores[part][name]) for part in parts) + " |")
    for title, key in (("majority class", "majority_baseline"), ("rater ceiling", "rater_ceiling")):
        for name in ("wa", "ua", "macro_f1", "js"):
            cells = [_shown(scores[part][key].get(name) if scores[part][key] else None) for part in parts]
            lines.append(f"| {title}: {_TITLES[name]} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| class | clips | precision | recall | F1 | recall, clear (clips) | recall, ambiguous (clips) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in scores["all"]["per_class"].items():
        shown = [_shown(values[key]) for key in ("precision", "recall", "f1")]
        for part in ("clear", "ambiguous"):
            apart = scores[part]["per_class"][name]
            shown.append(f"{_shown(apart['recall'])} ({apart['support']})")
        lines.append(f"| {name} | {values['support']} | " + " | ".join(shown) + " |")
    empty = [part for part in parts if not scores[part]["n"]]
    reasons = {(part, why) for part in parts if part not in empty for why in scores[part]["undefined"].values()}
    why = [f"{part} (-): there is no such clip." for part in empty]
    why += [f"{part} (-): {reason}." for part, reason in sorted(reasons)]
    return "\n".join([*lines, *(["", *why] if why else [])])


def _shown(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
