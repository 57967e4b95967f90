"""Name, unit and digits of every figure, for cards, reports, tables and the progress bar alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shown:
    """How one figure is shown. The files hold shares of 1; a reader sees them in %.

    Args:
        name: Its name without the unit.
        unit: `%`, `bit`, `nat`, or "" if it has none.
        digits: Digits after the point, in that unit.
        factor: What a stored value is multiplied by to be in that unit.
        full: A longer name for a table in which `name` alone would not tell it from another figure; "": `name`.
        on_hub: Metric type of the Hub and a name for readers who do not know ours; None: it is not in a card's header.
    """

    name: str
    unit: str = ""
    digits: int = 3
    factor: float = 1.0
    full: str = ""
    on_hub: tuple[str, str] | None = None

    @property
    def title(self) -> str:
        """Heading of values in the figure's unit: `WA %`, `JS (bit)`, `Brier`."""
        return f"{self.name} %" if self.unit == "%" else self.stored_title

    @property
    def stored_title(self) -> str:
        """Heading of values as they are stored, where a share is of 1: `WA`, `JS (bit)`, `Brier`."""
        return f"{self.name} ({self.unit})" if self.unit not in ("", "%") else self.name

    def text(self, value: float | None, none: str = "undefined") -> str:
        """A value in the figure's unit, without it; `none` for a value that is undefined."""
        return none if value is None else f"{value * self.factor:.{self.digits}f}"

    def with_unit(self, value: float | None) -> str:
        """A value with its unit, for a sentence; `-` for one that is undefined."""
        return "-" if value is None else f"{self.text(value)} {self.unit}".rstrip()

    def signed(self, value: float) -> str:
        """A difference, with its sign."""
        return f"{value * self.factor:+.{self.digits}f}"

    def interval(self, low: float, high: float, signed: bool = False) -> str:
        """As `[low, high]`."""
        ends = (self.signed(low), self.signed(high)) if signed else (self.text(low), self.text(high))
        return f"[{ends[0]}, {ends[1]}]"


def stored(value: float | int | None) -> str:
    """A value as it is stored, a share being of 1: three digits, all of a count, `-` for an undefined one."""
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


# The figures of a split, by their names in `metrics.evaluate_predictions` and in results.json.
SCORES: dict[str, Shown] = {
    "wa": Shown("WA", "%", 1, 100, on_hub=("accuracy", "WA (accuracy)")),
    "ua": Shown("UA", "%", 1, 100, on_hub=("recall", "UA (mean recall of the classes)")),
    "macro_f1": Shown("macro-F1", "%", 1, 100, on_hub=("f1", "macro-F1")),
    "js": Shown("JS", "bit", on_hub=("js_divergence", "JS divergence from the raters' votes (bit)")),
    "kl": Shown("KL", "nat"),
    "brier": Shown("Brier", on_hub=("brier_score", "Brier score against the raters' votes")),
    "cosine": Shown("cosine"),
    "entropy_pearson": Shown("entropy r", digits=2),
    "entropy_spearman": Shown("entropy rho", digits=2),
    "ece": Shown("ECE", full="ECE, consensus", on_hub=("expected_calibration_error", "ECE")),
    "ece_votes": Shown("ECE, votes"),
}
# The figures of one class.
PER_CLASS: dict[str, Shown] = {
    "precision": Shown("precision", "%", 0, 100),
    "recall": Shown("recall", "%", 0, 100),
    "f1": Shown("F1", "%", 0, 100),
}
# Further figures that papers quote; they are means of the figures of the single classes.
QUOTED: dict[str, Shown] = {
    f"{kind}_{figure}": Shown(f"{kind} {shown.name}", "%", 1, 100)
    for kind in ("macro", "weighted")
    for figure, shown in PER_CLASS.items()
    if f"{kind}_{figure}" != "macro_f1"
}
# How a run recovered from label noise: fields of `label_analysis.noise_recovery.NoiseRecovery`.
RECOVERY: dict[str, Shown] = {
    "correction_rate": Shown("correction rate", "%", 1, 100),
    "corruption_rate": Shown("corruption rate", "%", 1, 100),
    "label_accuracy": Shown("label accuracy", "%", 1, 100),
    "auroc": Shown("AUROC"),
    "auroc_within_class": Shown("AUROC within a class"),
    "precision_at_k": Shown("precision at k", "%", 1, 100),
}
# Agreement with the raters' consensus: fields of `label_analysis.corrected.EpochAgreement`.
AGREEMENT: dict[str, Shown] = {
    "prototype": Shown("prototypes agree", "%", 1, 100),
    "classifier": Shown("classifier agrees", "%", 1, 100),
}

# The columns of a report's tables.
COLUMNS: dict[str, Shown] = {
    name: SCORES[name] for name in ("wa", "ua", "macro_f1", "js", "brier", "entropy_pearson", "ece")
}
# Compared with the majority class and with one rater.
OF_BASELINES = ("wa", "ua", "macro_f1", "js")
# Shown for clear and ambiguous utterances separately.
APART = ("wa", "ua", "js", "brier", "entropy_pearson")
# Tested between two systems: two figures of the answer and one of the distribution.
COMPARED = ("wa", "ua", "js")
# Computed on validation after every epoch; all figures are computed at the end of a run.
HEADLINES = ("wa", "ua", "macro_f1", "js", "kl", "brier", "entropy_pearson", "ece")


def one_line(scores: dict[str, Any]) -> str:
    """The headline figures of one split, over all its utterances, on one line."""
    parts = [f"{shown.title} {shown.text(scores['all'][name])}" for name, shown in COLUMNS.items()]
    return f"n {scores['all']['n']}, " + ", ".join(parts)


def quoted_figure(scores: dict[str, Any], name: str) -> float | None:
    """A figure of `COLUMNS` or `QUOTED` from one split's scores; None if it has no value.

    A quoted figure is a mean over the classes that occur among the consensus labels, `weighted` by their utterances.
    The precision of a class that is never answered counts as 0, as in scikit-learn.
    """
    if name in COLUMNS:
        return scores[name]
    kind, figure = name.split("_")
    rows = [row for row in scores["per_class"].values() if row["support"]]
    weights = [row["support"] if kind == "weighted" else 1 for row in rows]
    if not rows:
        return None
    return sum(w * (row[figure] or 0.0) for w, row in zip(weights, rows, strict=True)) / sum(weights)


def describe_scores(scores: dict[str, Any]) -> str:
    """Markdown tables of one split's figures as they are stored, where a share is of 1.

    First all, clear and ambiguous utterances side by side, with baselines and ceiling; then the single classes.
    """
    parts = ("all", "clear", "ambiguous")
    lines = ["| | all | clear | ambiguous |", "|---|---|---|---|"]
    rows = {"clips": "n", **{shown.full or shown.stored_title: name for name, shown in SCORES.items()}}
    for title, name in rows.items():
        lines.append(f"| {title} | " + " | ".join(stored(scores[part][name]) for part in parts) + " |")
    for title, key in (("majority class", "majority_baseline"), ("rater ceiling", "rater_ceiling")):
        for name in OF_BASELINES:
            values = [stored(scores[part][key].get(name) if scores[part][key] else None) for part in parts]
            lines.append(f"| {title}: {SCORES[name].stored_title} | " + " | ".join(values) + " |")
    names, recall = " | ".join(shown.name for shown in PER_CLASS.values()), PER_CLASS["recall"].name
    lines += [
        "",
        f"| class | clips | {names} | {recall}, clear (clips) | {recall}, ambiguous (clips) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in scores["all"]["per_class"].items():
        shown = [stored(values[key]) for key in PER_CLASS]
        for part in ("clear", "ambiguous"):
            apart = scores[part]["per_class"][name]
            shown.append(f"{stored(apart['recall'])} ({apart['support']})")
        lines.append(f"| {name} | {values['support']} | " + " | ".join(shown) + " |")
    empty = [part for part in parts if not scores[part]["n"]]
    reasons = {(part, why) for part in parts if part not in empty for why in scores[part]["undefined"].values()}
    why = [f"{part} (-): there is no such clip." for part in empty]
    why += [f"{part} (-): {reason}." for part, reason in sorted(reasons)]
    return "\n".join([*lines, *(["", *why] if why else [])])
