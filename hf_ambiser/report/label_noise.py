"""Tables of runs on replaced labels: what each system restored and broke, and what that was worth on clean labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from hf_ambiser.data.card import REPLACED
from hf_ambiser.label_analysis.noise_recovery import Restored, restored_labels
from hf_ambiser.metrics.display import COLUMNS, Shown
from hf_ambiser.metrics.significance import holm
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import comparison_table, number, p_entry, spread_entry, t_entry
from hf_ambiser.report.statistics import over_folds, spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


LABELS = {
    "restored": Shown("restored %", 1, 100),
    "broken": Shown("broken %", 1, 100),
    "right": Shown("right labels %", 1, 100),
    "auroc": Shown("AUROC", 3),
    "auroc_within": Shown("AUROC within a class", 3),
    "found": Shown("found %", 1, 100),
}
_LABELS_NOTE = (
    "mean (sd) over seeds. Restored: of the replaced labels, the share whose"
    " target's top class is the raters' consensus; broken: of the kept ones, the share whose is not any more; right:"
    " of all. AUROC: chance that a replaced label counts *less* in the loss than a kept one (0.5: weights tell"
    " nothing), over all pairs, and over pairs that the data give the same class, so that weights of classes do not"
    " enter. Found: of as many labels as were replaced, those that count least, the share that were (precision and"
    " recall of looking again at these; chance: the share replaced)."
)


def told(group: Group) -> str:
    """How the labels of a group's data were replaced, in two words: `confusion 20 %`."""
    replaced = group.first.data[REPLACED]
    return f"{replaced['how']} {100 * replaced['share']:g} %"


def on_replaced_labels(groups: Sequence[Group]) -> list[Group]:
    """The groups of runs on replaced labels, by corpus, how and how many.

    Raises:
        ValueError: If there is none.
    """
    chosen = [group for group in groups if REPLACED in group.first.data]
    if not chosen:
        raise ValueError(
            "no run here was trained on replaced labels; make such data with `hf-ambiser add-label-noise`."
        )

    def key(group: Group) -> tuple[str, ...]:
        replaced = group.first.data[REPLACED]
        names = ("how", "share", "seed", "config", "source_content")
        return (group.first.data["corpus"], *(str(replaced[name]) for name in names), group.name)

    return sorted(chosen, key=key)


def kept_epoch(cell: FinishedRun) -> int | None:
    """The epoch (from 1) of the network that a run kept, where that is the validation's best; None: the last."""
    best = cell.results.get("best_checkpoint")
    step = None if best is None else int(best.rpartition("-")[2])
    return next((round(entry["epoch"]) for entry in cell.results.get("log", []) if entry.get("step") == step), None)


def labels_table(groups: Sequence[Group], kept: bool = False) -> Table:
    """What every system made of the labels: one row for each data set and system.

    Args:
        groups: On replaced labels.
        kept: As the labels were in the epoch of the network that the run kept, and not after the last one.
    """
    rows: list[list[Entry | str]] = []
    for group in groups:
        for system, cells in group.systems.items():
            found = {
                cell.folder: restored_labels(cell.folder, cell.data, kept_epoch(cell) if kept else None)
                for cell in cells
            }
            values = [spread(cells, partial(_of, found, name)) for name in LABELS]
            entries = [spread_entry(v, shown) for v, shown in zip(values, LABELS.values(), strict=True)]
            counts = next(iter(found.values()))
            of = f"{counts.n_replaced} of {counts.n_replaced + counts.n_kept}"
            rows.append([group.first.data["corpus"], told(group), of, system, number(len(cells)), *entries])
    heads = ["corpus", "replaced", "labels", "system", "runs", *(shown.title for shown in LABELS.values())]
    when = "In the epoch of the network that a run kept, the validation's best" if kept else "After the last epoch"
    return Table("label_noise_labels", heads, rows, f"{when}, {_LABELS_NOTE}")


def _of(found: Mapping[Path, Restored], name: str, cell: FinishedRun) -> float | None:
    return getattr(found[cell.folder], name)


def gain_table(groups: Sequence[Group], split: str, baseline: str, figure: str = "ua") -> Table:
    """A figure of every system on a clean test split, and its difference to the baseline on the same data and seeds.

    p-values are those of the paired test over seeds (or folds), Holm's correction over the systems of one data set.
    """
    shown = COLUMNS[figure]
    value: Callable[[FinishedRun], float | None] = lambda cell: cell.figure(split, figure)  # noqa: E731
    rows: list[list[Entry | str]] = []
    tests: set[str] = set()
    for group in groups:
        base = group.systems.get(baseline, [])
        gains = {
            system: over_folds(cells, base, value) for system, cells in group.systems.items() if system != baseline
        }
        adjusted = holm([gain.t.p if gain.t else None for gain in gains.values()])
        p = dict(zip(gains, adjusted, strict=True))
        for system, cells in group.systems.items():
            row: list[Entry | str] = [group.first.data["corpus"], told(group), system, number(len(cells))]
            row.append(spread_entry(spread(cells, value), shown))
            gain = gains.get(system)
            if gain is None:
                rows.append([*row, "-", "-", "-"])
                continue
            own_p = gain.t.p if gain.t else None
            rows.append([*row, t_entry(gain.t, gain.test, shown), p_entry(own_p), p_entry(p[system])])
            tests |= {gain.test} if own_p is not None else set()
    heads = ["corpus", "replaced", "system", "runs", shown.title, f"minus {baseline} [95 %]", "p", "Holm p"]
    made = f" Differences: {', '.join(sorted(tests))}; Holm over the systems of one data set." if tests else ""
    kept = [kept_epoch(cell) for group in groups for cell in group.cells]
    best = " Of the network of the validation's best epoch, which is not the last." if any(kept) else ""
    note = f"On {split}, whose labels are the raters'; mean (sd) over seeds.{best}{made}"
    return Table(file_name("label_noise", split, figure), heads, rows, note)


def _at_the_kept_epoch(groups: Sequence[Group], headings: Sequence[str]) -> list[str]:
    """The labels as they were when the network was taken; nothing where that is the last epoch everywhere."""
    if not any(kept_epoch(cell) for group in groups for cell in group.cells):
        return []
    return [
        "As the labels were in the epoch of the network that a run kept, the validation's best:",
        side_by_side(labels_table(groups, kept=True), headings).markdown(note=False),
    ]


def side_by_side(table: Table, headings: Sequence[str]) -> Table:
    """Columns of `labels_table` or `gain_table` with a row a system and a column a data set.

    Args:
        table: One of these.
        headings: Its columns that stand in each place, in this order, ` / ` between them; without what stands below.
    """
    at = {heading: place for place, heading in enumerate(table.columns)}
    found: dict[str, dict[str, Entry]] = {}
    for row in table.entries:
        chosen = [row[at[heading]] for heading in headings]
        words = " / ".join(entry.text for entry in chosen)
        parts = {f"{h}: {name}": part for h, e in zip(headings, chosen, strict=True) for name, part in e.parts.items()}
        data = f"{row[at['corpus']].text}, {row[at['replaced']].text}"
        found.setdefault(row[at["system"]].text, {})[data] = Entry(words, parts=parts)
    data_sets = list(dict.fromkeys(name for columns in found.values() for name in columns))
    rows = [[system, *(columns.get(name, "-") for name in data_sets)] for system, columns in found.items()]
    return Table(table.name, [" / ".join(headings), *data_sets], rows, table.note)


def text(groups: Sequence[Group], split: str, baseline: str, of: str | None) -> str:
    """All tables as Markdown; `of` is compared with every other system, clip by clip as well, where it is given.

    Raises:
        ValueError: If no group has such a system, or a run was not scored on the split.
    """
    groups = on_replaced_labels(groups)
    systems = sorted({system for group in groups for system in group.systems})
    for name, what in ((baseline, "baseline"), *([(of, "of")] if of else [])):
        if name not in systems:
            raise ValueError(f"there is no finished run of the system {name!r} ({what}); there are {systems}.")
    for cell in (cell for group in groups for cell in group.cells):
        if split not in cell.splits:
            raise ValueError(f"{cell.folder} was not scored on {split!r}, only on {cell.splits}; give another split.")
    labels, gain = labels_table(groups), gain_table(groups, split, baseline)
    restored, told_apart = [LABELS[name].title for name in ("restored", "broken", "right")], list(LABELS.values())[3:]
    figure, difference, *p = gain.columns[4:]
    parts = [
        side_by_side(labels, restored).markdown(note=False),
        side_by_side(labels, [shown.title for shown in told_apart]).markdown(),
        *_at_the_kept_epoch(groups, restored),
        side_by_side(gain, [figure]).markdown(note=False),
        side_by_side(gain, [difference, *p]).markdown(),
    ]
    for group in groups:
        if of in group.systems and len(group.systems) > 1:
            assert of is not None
            title = f"### {group.first.data['corpus']}, {told(group)}: {COLUMNS['ua'].title} on {split} of {of}"
            parts += [title, group.describe(), comparison_table(group, split, "ua", of).markdown()]
    return "\n\n".join(parts) + "\n"
