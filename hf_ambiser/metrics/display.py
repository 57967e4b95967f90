"""Name, unit and digits of every figure, for cards, reports, tables and the progress bar alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
# Further figures of a split, which have a table of their own: each belongs to the literature of one question, and a
# main table with all of them could not be read.
DISTRIBUTION_AND_SELECTION: dict[str, Shown] = {
    "bhattacharyya": Shown("Bhattacharyya"),
    "squared_correlation": Shown("R2 (correlation)"),
    "determination": Shown("R2 (determination)"),
    "no_consensus_auroc": Shown("AUROC, no consensus"),
    "no_consensus_aupr": Shown("AUPR, no consensus"),
    "no_consensus_aupr_chance": Shown("AUPR by chance"),
    "aurc": Shown("AURC"),
    "excess_aurc": Shown("excess AURC"),
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
# What a decision gives: figures of `metrics.decision.decision_figures`.
DECIDED: dict[str, Shown] = {
    "wa_before": Shown("WA of the leading classes", "%", 1, 100),
    "wa": Shown("WA of all answers", "%", 1, 100),
    "ua_before": Shown("UA of the leading classes", "%", 1, 100),
    "ua": Shown("UA of all answers", "%", 1, 100),
    "risk_of_all": Shown("wrong if all are answered", "%", 1, 100),
    "coverage": Shown("answered", "%", 1, 100),
    "risk": Shown("wrong among the answered", "%", 1, 100),
    "aurc": Shown("AURC, without consensus is wrong"),
    "set_coverage_votes": Shown("votes in the set", "%", 1, 100),
    "set_coverage_consensus": Shown("consensus label in the set", "%", 1, 100),
    "set_size": Shown("classes in a set", digits=2),
    "cross_entropy_before": Shown("cross-entropy without temperature", "nat"),
    "cross_entropy": Shown("cross-entropy", "nat"),
    "ece_before": Shown("ECE without temperature"),
    "ece": Shown("ECE"),
}
_BEFORE = "_before"
# Agreement with the raters' consensus: fields of `label_analysis.corrected.EpochAgreement`.
AGREEMENT: dict[str, Shown] = {
    "prototype": Shown("prototypes agree", "%", 1, 100),
    "classifier": Shown("classifier agrees", "%", 1, 100),
    "prototype_recall": Shown("prototypes: mean recall", "%", 1, 100),
    "classifier_recall": Shown("classifier: mean recall", "%", 1, 100),
}

# The columns of a report's tables.
COLUMNS: dict[str, Shown] = {
    name: SCORES[name] for name in ("wa", "ua", "macro_f1", "js", "brier", "entropy_pearson", "ece")
}
# What a plan may quote of a paper.
QUOTABLE: dict[str, Shown] = COLUMNS | QUOTED | DISTRIBUTION_AND_SELECTION
# Compared with the majority class and with raters.
OF_BASELINES = ("wa", "ua", "macro_f1", "js")
# What a model is compared with, by its name in `metrics.evaluate_predictions`.
BASELINES = {
    "majority_baseline": "always the majority class",
    "rater_ceiling": "one rater against the others",
    "panel_ceiling": "one panel of raters against another of the same size",
}
# The parts of a split, by their names in `metrics.evaluate_predictions`.
PARTS = {"all": "all", "consensus": "with consensus", "clear": "clear", "ambiguous": "ambiguous"}
# Shown for clear and ambiguous utterances separately.
APART = ("wa", "ua", "js", "brier", "entropy_pearson")
# Shown for the whole test side and its parts.
OF_WHOLE_SET: dict[str, Shown] = {
    name: (SCORES | DISTRIBUTION_AND_SELECTION)[name]
    for name in ("wa", "ua", "js", "kl", "bhattacharyya", "brier", "entropy_pearson", "ece")
}
# Tested between two systems: two figures of the answer and one of the distribution.
COMPARED = ("wa", "ua", "js")
# Computed on validation after every epoch; all figures are computed at the end of a run.
HEADLINES = ("wa", "ua", "macro_f1", "js", "kl", "brier", "entropy_pearson", "ece")
# Those of which less is better; of the others more is.
LESS_IS_BETTER = frozenset({"js", "kl", "brier", "ece"})


def one_line(scores: dict[str, Any]) -> str:
    """The headline figures of one split, over all its utterances, on one line."""
    parts = [f"{shown.title} {shown.text(scores['all'][name])}" for name, shown in COLUMNS.items()]
    return f"n {scores['all']['n']}, " + ", ".join(parts)


def quoted_figure(scores: dict[str, Any], name: str) -> float | None:
    """A figure of `QUOTABLE` from one split's scores; None if it has no value.

    A quoted figure is a mean over the classes that occur among the consensus labels, `weighted` by their utterances.
    The precision of a class that is never answered counts as 0, as in scikit-learn.
    """
    if name not in QUOTED:
        return scores[name]
    kind, figure = name.split("_")
    rows = [row for row in scores["per_class"].values() if row["support"]]
    weights = [row["support"] if kind == "weighted" else 1 for row in rows]
    if not rows:
        return None
    return sum(w * (row[figure] or 0.0) for w, row in zip(weights, rows, strict=True)) / sum(weights)


def describe_scores(scores: dict[str, Any], chosen: bool = False) -> str:
    """Markdown tables of one split's figures as they are stored, where a share is of 1.

    First the parts of the split side by side, with baselines and ceilings; then the figures of
    `DISTRIBUTION_AND_SELECTION`; then the single classes; then why a figure has no value. The part with a consensus
    label is left out where it is the whole split.

    Args:
        scores: As `metrics.evaluate_predictions` returns them.
        chosen: Whether the split's utterances were chosen by how far their raters agree. Then the panel ceiling,
            which says only how they were chosen, is left out.
    """
    parts = [part for part in PARTS if part in scores]
    if "consensus" in parts and not scores["all"]["n_without_consensus"]:
        parts.remove("consensus")
    head = ["| | " + " | ".join(PARTS[part] for part in parts) + " |", "|" + "---|" * (len(parts) + 1)]
    lines = list(head)
    rows = {"clips": "n", **{shown.full or shown.stored_title: name for name, shown in SCORES.items()}}
    for title, name in rows.items():
        lines.append(_row(title, (scores[part][name] for part in parts)))
    baselines = {"majority class": "majority_baseline", "rater ceiling": "rater_ceiling"}
    if not chosen:
        baselines["panel ceiling"] = "panel_ceiling"
    for title, key in baselines.items():
        for name in OF_BASELINES:
            values = ((scores[part].get(key) or {}).get(name) for part in parts)
            lines.append(_row(f"{title}: {SCORES[name].stored_title}", values))
    lines += ["", *head]
    for name, shown in DISTRIBUTION_AND_SELECTION.items():
        lines.append(_row(shown.stored_title, (scores[part].get(name) for part in parts)))
    names, recall = " | ".join(shown.name for shown in PER_CLASS.values()), PER_CLASS["recall"].name
    lines += [
        "",
        f"| class | clips | {names} | {recall}, clear (clips) | {recall}, ambiguous (clips) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in scores["all"]["per_class"].items():
        cells = [stored(values[key]) for key in PER_CLASS]
        for part in ("clear", "ambiguous"):
            apart = scores[part]["per_class"][name]
            cells.append(f"{stored(apart['recall'])} ({apart['support']})")
        lines.append(f"| {name} | {values['support']} | " + " | ".join(cells) + " |")
    empty = [part for part in parts if not scores[part]["n"]]
    reasons: dict[str, list[str]] = {}  # why a figure has no value -> the parts of which this is so
    for part in (part for part in parts if part not in empty):
        for name, reason in sorted(scores[part]["undefined"].items()):
            if not (chosen and name.startswith("panel_ceiling.")) and PARTS[part] not in reasons.get(reason, []):
                reasons.setdefault(reason, []).append(PARTS[part])
    why = [f"{PARTS[part]} (-): there is no such clip." for part in empty]
    why += [f"{', '.join(names)} (-): {reason}." for reason, names in reasons.items()]
    return "\n".join([*lines, *(["", *why] if why else [])])


def describe_decision(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown table of what a decision gives: a column for each name in `figures`, a row for each figure.

    A figure that has no value anywhere was not asked for, and is left out; see `shown_figures`.
    """
    lines = ["| | " + " | ".join(figures) + " |", "|" + "---|" * (len(figures) + 1)]
    lines.append(_row("utterances with votes", (one["n"] for one in figures.values())))
    for name in shown_figures(list(figures.values())):
        values = (DECIDED[name].text(one.get(name), none="-") for one in figures.values())
        lines.append(f"| {DECIDED[name].title} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def shown_figures(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of `DECIDED` with a value in one of these; a figure without a part only if it differs."""
    return [
        name
        for name in DECIDED
        if any(one.get(name) is not None for one in figures)
        and not all(name.endswith(_BEFORE) and one.get(name) == one.get(name.removesuffix(_BEFORE)) for one in figures)
    ]


def _row(title: str, values: Iterable[float | int | None]) -> str:
    return f"| {title} | " + " | ".join(map(stored, values)) + " |"
