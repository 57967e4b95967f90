"""The report's table of how many raters each system is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hf_ambiser.metrics.checks import UndefinedMetric
from hf_ambiser.metrics.rater_equivalence import (
    MIN_SHARE,
    MIN_UTTERANCES,
    RaterCount,
    RaterEquivalence,
    rater_equivalence,
)
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import number
from hf_ambiser.report.statistics import by_seed, pooled
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


# The first score decides what is drawn; the second shows whether the answer depends on the score.
SCORES = {"cross_entropy": "cross-entropy", "brier": "Brier"}
NOTE = (
    "A system is worth n raters if it predicts one more rater's answer as well as n raters of the same utterance do,"
    " by smoothed shares of the raters' votes. A stronger combiner of votes would rate every system lower. The largest"
    f" n is the last one for which at least {MIN_UTTERANCES} utterances, and {100 * MIN_SHARE:.0f} % of those with two"
    " votes, have n + 1 votes; nothing is extrapolated beyond it. The folds of one seed are put together. `< 1` and"
    " `> n` have no mean, so the table shows the seed whose worth is the median of all seeds (the lower one of two)"
    " with its 95 % interval over speakers, and then the worth of each seed. Compare systems only if they have the"
    " same utterances, and not splits that were chosen by how far raters agree."
)


@dataclass(frozen=True)
class SystemWorth:
    """How many raters one system is worth on one split.

    Args:
        by_score: For each name in `SCORES`, the result of each seed, in the order of the seeds; empty if the worth is
            undefined.
        reason: Why it is undefined, or "".
        left_out: The seeds that lack folds which another seed of this system has.
    """

    by_score: Mapping[str, Sequence[RaterEquivalence]]
    reason: str = ""
    left_out: Sequence[int] = ()

    def median(self, score: str) -> RaterEquivalence | None:
        """The result of the seed whose worth is the median, the lower one of two; None if it is undefined."""
        ordered = sorted(self.by_score.get(score, ()), key=lambda found: _order(found.worth))
        return ordered[(len(ordered) - 1) // 2] if ordered else None


def _order(count: RaterCount) -> tuple[int, float]:
    return ("<=>".index(count.bound), count.value)


def worth_of_systems(group: Group, split: str) -> dict[str, SystemWorth]:
    """How many raters each system is worth, from its runs' predictions on a split."""
    return {system: _of_system(runs, split) for system, runs in group.systems.items()}


def _of_system(runs: Sequence[FinishedRun], split: str) -> SystemWorth:
    seeds = by_seed(runs)
    most = max(len(seed) for seed in seeds)
    left_out = [seed[0].seed for seed in seeds if len(seed) < most]
    answers = [pooled(seed, split) for seed in seeds if len(seed) == most]
    try:
        by_score = {
            score: [rater_equivalence(one.probabilities, one.votes, one.speaker, score=score) for one in answers]
            for score in SCORES
        }
    except UndefinedMetric as reason:
        return SystemWorth({}, str(reason), left_out)
    return SystemWorth(by_score, left_out=left_out)


def rater_equivalence_table(group: Group, split: str, worths: Mapping[str, SystemWorth]) -> Table:
    """The worth of every system in raters, by cross-entropy and by Brier, with intervals over speakers."""
    rows: list[list[Entry | str]] = []
    for system, worth in worths.items():
        shown = {score: worth.median(score) for score in SCORES}
        first = shown["cross_entropy"]
        counts = ["-", "-"] if first is None else [number(first.n_utterances), number(len(first.curve))]
        each = "; ".join(str(found.worth) for found in worth.by_score.get("cross_entropy", ())) or "-"
        rows.append([system, *counts, *map(_entry, shown.values()), each])
    heads = ["system", "utterances", "largest n", *(f"raters by {name}" for name in SCORES.values())]
    heads.append("each seed, cross-entropy")
    return Table(file_name(group.name, split, "rater_equivalence"), heads, rows, " ".join([NOTE, *_remarks(worths)]))


def _entry(found: RaterEquivalence | None) -> Entry:
    if found is None:
        return Entry("-")
    # A bound is not a number, so the CSV file has it in a column of its own.
    parts: dict[str, float | str] = {}
    for name, count in (("", found.worth), ("low", found.low), ("high", found.high)):
        parts |= {name: count.value, f"{name} bound".strip(): count.bound}
    return Entry(str(found.worth), found.interval, parts)


def _remarks(worths: Mapping[str, SystemWorth]) -> list[str]:
    """What a reader must know of this table: why a worth is undefined, and which votes and seeds do not count."""
    about: dict[str, list[str]] = {}  # a remark -> the systems that it is about
    for system, worth in worths.items():
        found = worth.median("cross_entropy")
        if worth.reason:
            about.setdefault(f"the worth is undefined (`-`): {worth.reason}", []).append(system)
        if found is not None and found.n_too_few_votes:
            few = f"{found.n_too_few_votes} utterances with fewer than two votes are left out"
            about.setdefault(few, []).append(system)
        if worth.left_out:
            seeds = ", ".join(map(str, worth.left_out))
            lacking = f"seed {seeds} is left out, because it lacks folds that another seed has"
            about.setdefault(lacking, []).append(system)
    return [f"{', '.join(systems)}: {remark}." for remark, systems in about.items()]


def on_the_same_utterances(worths: Mapping[str, SystemWorth]) -> dict[str, RaterEquivalence]:
    """By cross-entropy, the systems that can be drawn beside one curve of raters.

    Raters are scored on the utterances of a system, so systems with other utterances have another curve of raters.
    These are left out: the curve is the one with the most utterances.
    """
    found = {system: one for system, worth in worths.items() if (one := worth.median("cross_entropy")) is not None}
    if not found:
        return {}
    fullest = max(found.values(), key=lambda one: one.n_utterances)
    return {system: one for system, one in found.items() if _raters(one) == _raters(fullest)}


def _raters(found: RaterEquivalence) -> list[tuple[int, int, float]]:
    return [(point.n, point.n_utterances, point.raters) for point in found.curve]
