"""Tables of runs on label noise: what each system corrected and corrupted, and what that gained on clean tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from hf_ambiser.data.noise_record import LABEL_NOISE
from hf_ambiser.label_analysis.noise_recovery import NoiseRecovery, noise_recovery
from hf_ambiser.metrics.display import COLUMNS, RECOVERY
from hf_ambiser.metrics.significance import holm
from hf_ambiser.report.convergence import moving_systems, not_found
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import comparison_table, number, p_entry, spread_entry, t_entry
from hf_ambiser.report.statistics import over_folds, spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


_RECOVERY_NOTE = (
    "mean (sd) over seeds. Correction rate: share of noisy labels whose target's top class is the raters' consensus."
    " Corruption rate: share of clean labels whose target's top class is not the raters' consensus any more. Label"
    " accuracy: share of all labels whose target's top class is the consensus. AUROC: chance that a noisy label counts"
    " *less* in the loss than a clean one (0.5: weights tell nothing), over all pairs, and over pairs that have the"
    " same class in the data, so that weights of classes do not enter. Precision at k: share of noisy labels among the"
    " k labels that count least, k being the number of noisy labels (so it is the recall as well; chance gives the"
    " noise rate)."
)


def noise_of(group: Group) -> str:
    """The kind and rate of the label noise in a group's data: `confusion 20 %`."""
    noise = group.first.data[LABEL_NOISE]
    return f"{noise['how']} {100 * noise['share']:g} %"


def groups_with_noise(groups: Sequence[Group]) -> list[Group]:
    """The groups whose data have label noise, sorted by corpus, kind and rate of the noise.

    Raises:
        ValueError: If there is none.
    """
    chosen = [group for group in groups if LABEL_NOISE in group.first.data]
    if not chosen:
        raise ValueError("no run here was trained on label noise; make such data with `hf-ambiser add-label-noise`.")

    def key(group: Group) -> tuple[str, ...]:
        noise = group.first.data[LABEL_NOISE]
        names = ("how", "share", "seed", "config", "source_content")
        return (group.first.data["corpus"], *(str(noise[name]) for name in names), group.name)

    return sorted(chosen, key=key)


def kept_epoch(run: FinishedRun) -> int | None:
    """The epoch (from 1) of the network that a run kept if it kept the best one on validation; None: the last."""
    step = run.chosen_step
    return next((round(entry["epoch"]) for entry in run.results.get("log", []) if entry.get("step") == step), None)


def recovery_table(groups: Sequence[Group], kept: bool = False) -> Table:
    """How every system recovered from the noise: one row for each data set and system.

    Args:
        groups: As `groups_with_noise` gives them.
        kept: Whether to take the labels of the epoch whose network the run kept instead of those of the last epoch.
    """
    rows: list[list[Entry | str]] = []
    for group in groups:
        for system, runs in group.systems.items():
            found = {
                run.folder: noise_recovery(run.folder, run.data, kept_epoch(run) if kept else None) for run in runs
            }
            values = [spread(runs, partial(_recovered, found, name)) for name in RECOVERY]
            entries = [spread_entry(v, shown) for v, shown in zip(values, RECOVERY.values(), strict=True)]
            counts = next(iter(found.values()))
            noisy = f"{counts.n_noisy} of {counts.n_noisy + counts.n_clean}"
            rows.append([group.first.data["corpus"], noise_of(group), noisy, system, number(len(runs)), *entries])
    heads = ["corpus", "label noise", "noisy labels", "system", "runs", *(shown.title for shown in RECOVERY.values())]
    when = "In the epoch of the network that a run kept, the best on validation" if kept else "After the last epoch"
    return Table("label_noise_labels", heads, rows, f"{when}, {_RECOVERY_NOTE}")


def _recovered(found: Mapping[Path, NoiseRecovery], name: str, run: FinishedRun) -> float | None:
    return getattr(found[run.folder], name)


def gain_table(groups: Sequence[Group], split: str, baseline: str, figure: str = "ua") -> Table:
    """A figure of every system on a clean test split, and its difference to the baseline on the same data and seeds.

    The p-values are those of the paired test over seeds (or folds). Holm's correction is over the systems of one data
    set.
    """
    shown = COLUMNS[figure]
    value: Callable[[FinishedRun], float | None] = lambda run: run.figure(split, figure)  # noqa: E731
    rows: list[list[Entry | str]] = []
    tests: set[str] = set()
    moving: list[str] = []
    for group in groups:
        moving += [f"{system} on {noise_of(group)}" for system in moving_systems(group)]
        base = group.systems.get(baseline, [])
        gains = {system: over_folds(runs, base, value) for system, runs in group.systems.items() if system != baseline}
        adjusted = holm([gain.t.p if gain.t else None for gain in gains.values()])
        p = dict(zip(gains, adjusted, strict=True))
        for system, runs in group.systems.items():
            row: list[Entry | str] = [group.first.data["corpus"], noise_of(group), system, number(len(runs))]
            row.append(spread_entry(spread(runs, value), shown))
            gain = gains.get(system)
            if gain is None:
                rows.append([*row, "-", "-", "-"])
                continue
            own_p = gain.t.p if gain.t else None
            rows.append([*row, t_entry(gain.t, gain.test, shown), p_entry(own_p), p_entry(p[system])])
            tests |= {gain.test} if own_p is not None else set()
    heads = ["corpus", "label noise", "system", "runs", shown.title, f"minus {baseline} [95 %]", "p", "Holm p"]
    made = f" Differences: {', '.join(sorted(tests))}; Holm over the systems of one data set." if tests else ""
    kept = [kept_epoch(run) for group in groups for run in group.runs]
    best = " Each network is that of the best epoch on validation, which is not the last." if any(kept) else ""
    note = f"On {split}, whose labels are the raters'; mean (sd) over seeds.{best}{made}"
    note = " ".join(filter(None, [note, not_found(moving)]))
    return Table(file_name("label_noise", split, figure), heads, rows, note)


def _at_the_kept_epoch(groups: Sequence[Group], headings: Sequence[str]) -> list[str]:
    """The labels of the epoch whose network each run kept; nothing if that is the last epoch in all runs."""
    if not any(kept_epoch(run) for group in groups for run in group.runs):
        return []
    return [
        "The labels in the epoch of the network that a run kept, the best on validation:",
        side_by_side(recovery_table(groups, kept=True), headings).markdown(note=False),
    ]


def side_by_side(table: Table, headings: Sequence[str]) -> Table:
    """Columns of `recovery_table` or `gain_table`, with one row a system and one column a data set.

    Args:
        table: One of these tables.
        headings: The columns of it that stand together in each place, in this order, with ` / ` between them. The
            second line of an entry (`Entry.below`) is left out.
    """
    at = {heading: place for place, heading in enumerate(table.columns)}
    found: dict[str, dict[str, Entry]] = {}
    for row in table.entries:
        chosen = [row[at[heading]] for heading in headings]
        words = " / ".join(entry.text for entry in chosen)
        parts = {f"{h}: {name}": part for h, e in zip(headings, chosen, strict=True) for name, part in e.parts.items()}
        data = f"{row[at['corpus']].text}, {row[at['label noise']].text}"
        found.setdefault(row[at["system"]].text, {})[data] = Entry(words, parts=parts)
    data_sets = list(dict.fromkeys(name for columns in found.values() for name in columns))
    rows = [[system, *(columns.get(name, "-") for name in data_sets)] for system, columns in found.items()]
    return Table(table.name, [" / ".join(headings), *data_sets], rows, table.note)


def text(groups: Sequence[Group], split: str, baseline: str, reference: str | None) -> str:
    """All tables as Markdown.

    Args:
        groups: Any groups; those without label noise are left out.
        split: A clean test split.
        baseline: The system whose figures the gains are differences to.
        reference: A system that is compared with each other one, over utterances as well; None: no such tables.

    Raises:
        ValueError: If no group has such a system, or a run was not scored on the split.
    """
    groups = groups_with_noise(groups)
    systems = sorted({system for group in groups for system in group.systems})
    for name, what in ((baseline, "baseline"), *([(reference, "reference")] if reference else [])):
        if name not in systems:
            raise ValueError(f"there is no finished run of the system {name!r} ({what}); there are {systems}.")
    for run in (run for group in groups for run in group.runs):
        if split not in run.splits:
            raise ValueError(f"{run.folder} was not scored on {split!r}, only on {run.splits}; give another split.")
    labels, gain = recovery_table(groups), gain_table(groups, split, baseline)
    titles = [shown.title for shown in RECOVERY.values()]
    corrected, told_apart = titles[:3], titles[3:]
    figure, difference, *p = gain.columns[4:]
    parts = [
        side_by_side(labels, corrected).markdown(note=False),
        side_by_side(labels, told_apart).markdown(),
        *_at_the_kept_epoch(groups, corrected),
        side_by_side(gain, [figure]).markdown(note=False),
        side_by_side(gain, [difference, *p]).markdown(),
    ]
    for group in groups:
        if reference in group.systems and len(group.systems) > 1:
            assert reference is not None
            where = f"{group.first.data['corpus']}, {noise_of(group)}"
            title = f"### {where}: {COLUMNS['ua'].title} on {split} of {reference}"
            parts += [title, group.describe(), comparison_table(group, split, "ua", reference).markdown()]
    return "\n\n".join(parts) + "\n"
