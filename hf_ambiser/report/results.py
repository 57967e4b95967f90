"""The tables of one group of runs: figures with intervals, baselines and ceiling, comparisons, classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from hf_ambiser.data.splits import chosen_by_agreement
from hf_ambiser.metrics.display import (
    APART,
    BASELINES,
    COLUMNS,
    DISTRIBUTION_AND_SELECTION,
    OF_BASELINES,
    PER_CLASS,
    Shown,
)
from hf_ambiser.metrics.significance import FEW_SPEAKERS, TResult, holm
from hf_ambiser.report.convergence import about_tests, both_converged, convergence
from hf_ambiser.report.groups import Group
from hf_ambiser.report.statistics import PAIRED, Spread, over_folds, over_utterances, spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


OVER_FOLDS = (
    "Mean (standard deviation) [95 % interval]. A figure is averaged over the seeds of each fold; deviation and"
    " Student's t interval are over the values of the folds. Folds share training data, so the interval is narrower"
    " than it should be."
)
OVER_SEEDS = (
    "Mean (standard deviation) [95 % interval] over seeds, Student's t. There is one fold, so the interval is about"
    " training again, not about other speakers."
)

SELECTION = (
    "The Bhattacharyya coefficient and both R2 compare answer and votes utterance by utterance, and are means over"
    " utterances. R2 (correlation) is the squared correlation over the classes, R2 (determination) is 1 minus the"
    " squared error relative to that of the uniform distribution. AUROC and AUPR: how well the entropy of the answer"
    " tells utterances without a consensus label from the others (AUROC by chance: 0.5). AURC: the mean share of wrong"
    " answers if only the most confident answers are given, over all coverages; excess AURC: the part of it that a"
    " better order of confidence would avoid. Lower is better in both."
)


def spread_entry(values: Spread, shown: Shown) -> Entry:
    """Format a figure as `mean (sd)`, with its confidence interval below."""
    t = values.t
    if t is None:
        return Entry("undefined")
    parts = {"mean": t.mean, "sd": t.sd, "low": t.low, "high": t.high}
    factor = shown.factor
    scaled = {name: None if part is None else part * factor for name, part in parts.items()}
    if t.sd is None or t.low is None or t.high is None:
        return Entry(shown.text(t.mean), parts=scaled)
    text = f"{shown.text(t.mean)} ({shown.text(t.sd)})"
    return Entry(text, shown.interval(t.low, t.high), scaled)


def figures_table(
    group: Group, split: str, part: str = "all", name: str = "figures", columns: Mapping[str, Shown] = COLUMNS
) -> Table:
    """The figures of every system on one split: mean, standard deviation and confidence interval."""
    rows: list[list[Entry | str]] = []
    over, lost = set(), []
    for system, runs in group.systems.items():
        found = {figure: spread(runs, partial(figure_of, split, figure, part=part)) for figure in columns}
        over |= {values.over for values in found.values()}
        lost += [
            f"{columns[figure].title} of {system} has no value in {values.n_undefined} of {len(runs)} runs (left out)"
            for figure, values in found.items()
            if values.n_undefined
        ]
        counts = [len({c.fold for c in runs}), len({c.seed for c in runs}), len(runs)]
        rows.append([system, *map(number, counts), *(spread_entry(found[f], columns[f]) for f in columns)])
    notes = [OVER_FOLDS] if "folds" in over else []
    notes += [OVER_SEEDS] if "seeds" in over else []
    notes += [". ".join(lost) + "."] if lost else []
    heads = ["system", "folds", "seeds", "runs", *(shown.title for shown in columns.values())]
    return Table(_file(group, split, name), heads, rows, " ".join(notes))


def selection_table(group: Group, split: str) -> Table | None:
    """The figures of `DISTRIBUTION_AND_SELECTION`; one that no run has a value of is named in the note instead."""
    columns: dict[str, Shown] = {}
    missing: dict[str, list[str]] = {}  # the reason -> the figures that have no value for it
    for name, shown in DISTRIBUTION_AND_SELECTION.items():
        if any(run.figure(split, name) is not None for run in group.runs):
            columns[name] = shown
        else:
            reason = group.first.scores(split)["undefined"].get(name, "not recorded")
            missing.setdefault(reason, []).append(shown.title)
    if not columns:
        return None
    table = figures_table(group, split, "all", "distribution_and_selection", columns)
    gone = [f"Without a value here: {', '.join(titles)} ({reason})." for reason, titles in missing.items()]
    return replace(table, note=" ".join(filter(None, [SELECTION, *gone, table.note])))


def figure_of(split: str, name: str, run: FinishedRun, part: str = "all") -> float | None:
    """One figure of one split of a run; `partial(figure_of, split, name)` is what `spread` and `over_folds` take."""
    return run.figure(split, name, part)


def number(value: int) -> Entry:
    """A count."""
    return Entry(str(value), parts={"": value})


def value_entry(value: float | None, shown: Shown) -> Entry:
    """A single value of a figure."""
    return Entry(shown.text(value), parts={} if value is None else {"": value * shown.factor})


def counts_line(group: Group, split: str) -> str:
    """The number of test utterances over all folds and of each class: `187 utterances (anger 30, ...)`."""
    scores = [run.scores(split) for run in group.one_a_fold() if split in run.splits]
    counts = ", ".join(f"{name} {sum(s['class_counts'][name] for s in scores)}" for name in group.classes)
    without = sum(s["n_without_consensus"] for s in scores)
    rest = f"; {without} without a consensus, scored against their votes only" if without else ""
    folds = f" over {len(scores)} folds" if len(scores) > 1 else ""
    learnt = sum(run.learnt_from(split) for runs in group.systems.values() for run in runs if split in run.splits)
    heard = (
        f" **{learnt} answers are on utterances that the answering run was trained on; they say nothing about voices"
        " that a model has not heard.**"
        if learnt
        else ""
    )
    unknown = [name for name, runs in group.systems.items() if any(run.beginning_unknown for run in runs)]
    heard += (
        f" **What the models had learnt from with which {', '.join(unknown)} began is not recorded; they may have"
        " heard these utterances.**"
        if unknown
        else ""
    )
    return f"{sum(s['n'] for s in scores)} utterances{folds} ({counts}{rest}).{heard}"


def baselines_table(group: Group, split: str) -> Table:
    """The figures of the majority class and of raters against raters, as means over folds.

    Splits that were chosen by the raters' agreement have no panel ceiling: it would only say how they were chosen.
    """
    runs = [run for run in group.one_a_fold() if split in run.splits]
    rows: list[list[Entry | str]] = []
    for key, title in BASELINES.items():
        if key == "panel_ceiling" and chosen_by_agreement(split):
            continue
        row: list[Entry | str] = [title]
        for figure in OF_BASELINES:
            values = [v for run in runs if (v := run.scores(split).get(key, {}).get(figure)) is not None]
            mean = float(np.mean(values)) if values else None
            row.append(value_entry(mean, COLUMNS[figure]))
        rows.append(row)
    note = f"Mean over {len(runs)} folds." if len(runs) > 1 else ""
    return Table(_file(group, split, "baselines"), ["", *(COLUMNS[f].title for f in OF_BASELINES)], rows, note)


def comparison_table(
    group: Group, split: str, figure: str, reference: str, done: Callable[[], object] = lambda: None
) -> Table:
    """How the reference system differs from each other one, over folds (or seeds) and over utterances.

    Each difference has its p-value, raw and after Holm's correction. The correction is over the comparisons of this
    table, for each of the two tests separately. The last column says whether both systems had converged.
    """
    shown, others = COLUMNS[figure], [system for system in group.systems if system != reference]
    folds = {
        s: over_folds(group.systems[reference], group.systems[s], lambda c: c.figure(split, figure)) for s in others
    }
    utterances = {}
    for system in others:
        utterances[system] = over_utterances(group.systems[reference], group.systems[system], split, figure)
        done()
    fold_p = holm([_p(folds[s].t) for s in others])
    utterance_p = holm([None if isinstance(b := utterances[s], str) else b.p for s in others])
    found = convergence(group)
    converged = [both_converged(found, reference, system) for system in others]
    rows: list[list[Entry | str]] = []
    for system, p, q, answer in zip(others, fold_p, utterance_p, converged, strict=True):
        t, b = folds[system], utterances[system]
        row: list[Entry | str] = [system, t_entry(t.t, t.test, shown), p_entry(_p(t.t)), p_entry(p)]
        if isinstance(b, str):
            row += [f"undefined ({b})", "-", "-"]
        else:
            text = f"{shown.signed(b.difference)} {shown.interval(b.low, b.high, signed=True)}"
            parts = _scaled(shown, difference=b.difference, low=b.low, high=b.high)
            row += [Entry(text, parts=parts), p_entry(b.p), p_entry(q)]
        rows.append([*row, answer])
    made = {difference.test for difference in folds.values()}
    test = next((name for name in sorted(made) if "over" in name), PAIRED)
    heads = [f"{shown.title} of {reference} minus", f"{test}: difference [95 %]", "p", "Holm p"]
    heads += ["bootstrap over utterances: difference [95 %]", "p", "Holm p", "both converged?"]
    speakers = [b.n_clusters for b in utterances.values() if not isinstance(b, str)]
    note = " ".join(filter(None, [_comparison_note(made, len(others), speakers), about_tests(converged)]))
    return Table(_file(group, split, f"{figure}_of_{reference}"), _distinct(heads), rows, note)


def _distinct(heads: list[str]) -> list[str]:
    """Give the second pair of p-values headings of its own: columns of a CSV file need distinct names."""
    return [*heads[:5], heads[5] + " (utterances)", heads[6] + " (utterances)", *heads[7:]]


def _comparison_note(made: set[str], n: int, speakers: Sequence[int]) -> str:
    over = []
    if any(name.startswith("corrected") for name in made):
        over.append(
            "Over folds: seeds averaged within a fold, then the corrected resampled t test of Nadeau and Bengio"
            " (2003), because folds share training data."
        )
    if any(name.startswith("paired") for name in made):
        over.append("Over seeds: paired t test of the seeds both have, on one fold.")
    over.append(
        "Over utterances: each system's distributions averaged over its runs, whole speakers drawn with replacement"
        " (2000 resamples, percentile interval)."
    )
    if speakers:
        few = " These are so few that its intervals are too narrow and its p-values too small."
        numbers = " to ".join(str(n) for n in sorted({min(speakers), max(speakers)}))
        over.append(f"There are {numbers} speakers to draw.{few if min(speakers) < FEW_SPEAKERS else ''}")
    return " ".join(over) + (f" Holm: corrected over the {n} comparisons of this table." if n > 1 else "")


def _p(t: TResult | None) -> float | None:
    return None if t is None else t.p


def _scaled(shown: Shown, **parts: float) -> dict[str, float]:
    return {name: value * shown.factor for name, value in parts.items()}


def t_entry(t: TResult | None, test: str, shown: Shown) -> Entry:
    """Format a difference with its confidence interval, or the reason there is no interval."""
    if t is None:
        return Entry(test)
    if t.low is None or t.high is None or t.p is None:
        reason = "one seed" if t.n == 1 else t.undefined
        return Entry(f"{shown.signed(t.mean)} ({reason})", parts=_scaled(shown, difference=t.mean))
    text = f"{shown.signed(t.mean)} {shown.interval(t.low, t.high, signed=True)}"
    return Entry(text, parts=_scaled(shown, difference=t.mean, low=t.low, high=t.high))


def p_entry(p: float | None) -> Entry:
    """A p-value with three digits."""
    return Entry("-") if p is None else Entry(f"{p:.3f}" if p >= 0.001 else "<0.001", parts={"": p})


def per_class_table(group: Group, split: str) -> Table:
    """Precision, recall and F1 of each class in %: means over folds of the means over seeds."""
    rows: list[list[Entry | str]] = []
    lost = 0
    for system, runs in group.systems.items():
        row: list[Entry | str] = [system]
        for name in group.classes:
            found = {f: spread(runs, partial(_of_class, split, name, f)) for f in PER_CLASS}
            means = {f: None if values.t is None else values.t.mean for f, values in found.items()}
            text = " / ".join(PER_CLASS[f].text(mean, none="-") for f, mean in means.items())
            scaled = {f: None if mean is None else mean * PER_CLASS[f].factor for f, mean in means.items()}
            row.append(Entry(text, parts=scaled))
            lost += found["precision"].n_undefined
        rows.append(row)
    never = f" Left out: {lost} times a class that a run never answers, so that it has no precision." if lost else ""
    heads = [" / ".join(shown.name for shown in PER_CLASS.values()) + " %", *group.classes]
    return Table(_file(group, split, "per_class"), heads, rows, f"Means over folds of the means over seeds.{never}")


def _of_class(split: str, name: str, figure: str, run: FinishedRun) -> float | None:
    return run.scores(split)["per_class"][name][figure]


def apart_table(group: Group, split: str) -> Table | None:
    """The figures of clear and of ambiguous utterances; None if the split holds only one kind."""
    one_each = [run for run in group.one_a_fold() if split in run.splits]
    counts = {part: sum(run.scores(split, part)["n"] for run in one_each) for part in ("clear", "ambiguous")}
    if not all(counts.values()):
        return None
    rows: list[list[Entry | str]] = []
    for system, runs in group.systems.items():
        for part, n in counts.items():
            found = [spread_entry(spread(runs, partial(figure_of, split, f, part=part)), COLUMNS[f]) for f in APART]
            rows.append([system, part, number(n), *found])
    heads = ["system", "utterances", "n", *(COLUMNS[f].title for f in APART)]
    return Table(_file(group, split, "clear_and_ambiguous"), heads, rows)


def _file(group: Group, split: str, name: str) -> str:
    return file_name(group.name, split, name)


def check_splits(groups: Sequence[Group], wanted: Sequence[str] | None) -> dict[tuple[str, ...], list[str]]:
    """The splits to show of each group, by `Group.key`: the wanted ones that it has, or all.

    Raises:
        ValueError: If no run was scored on a wanted split, or some run of a group was not scored on a shown split.
    """
    there = sorted({split for group in groups for split in group.splits})
    unknown = sorted(set(wanted or []) - set(there))
    if unknown:
        raise ValueError(f"no run was scored on {', '.join(unknown)}; there are the splits {there}.")
    chosen = {}
    for group in groups:
        splits = [split for split in group.splits if not wanted or split in wanted]
        for run in group.runs:
            missing = [split for split in splits if split not in run.splits]
            if missing:
                raise ValueError(
                    f"{run.folder} was not scored on {', '.join(missing)}, only on {sorted(run.splits)}; give"
                    " --splits with what all runs have, or run it again with these test_splits."
                )
        chosen[group.key] = splits
    return chosen
