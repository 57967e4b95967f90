"""Tables of one thing beside another: protocols *paper* and *strict*, a paper's numbers and ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

from hf_ambiser.metrics.display import COLUMNS, COMPARED, QUOTED, Shown, quoted_figure
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import number, spread_entry
from hf_ambiser.report.statistics import Difference, over_folds, spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.studies.plan_file import Quoted


PROTOCOLS = ("paper", "strict")


def figure_of(split: str, name: str, cell: FinishedRun) -> float | None:
    """One figure of one split of a run."""
    return cell.figure(split, name)


def pairs(groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Groups that differ in their protocol only: one corpus, content and policy, one family; paper first."""

    def same(group: Group) -> tuple[str, ...]:
        corpus, family, *rest = group.key
        return (corpus, family.replace(str(group.first.data["protocol"]), "*", 1), *rest)

    of = {protocol: [g for g in groups if g.first.data["protocol"] == protocol] for protocol in PROTOCOLS}
    return [(a, b) for a, b in product(of["paper"], of["strict"]) if same(a) == same(b)]


def protocols_table(paper: Group, strict: Group, splits: Sequence[str]) -> Table | None:
    """Every system that was run under both protocols, and the gap; None where there is none."""
    rows: list[list[Entry | str]] = []
    for split in splits:
        for system in (s for s in paper.systems if s in strict.systems):
            a, b = paper.systems[system], strict.systems[system]
            if not all(split in cell.splits for cell in (*a, *b)):
                continue
            row: list[Entry | str] = [system, split]
            for figure in COMPARED:
                shown, value = COLUMNS[figure], partial(figure_of, split, figure)
                row += [spread_entry(spread(cells, value), shown) for cells in (a, b)]
                row.append(_gap(over_folds(a, b, value), shown))
            rows.append(row)
    if not rows:
        return None
    heads = ["system", "split"]
    for figure in COMPARED:
        heads += [f"{COLUMNS[figure].title} {protocol}" for protocol in (*PROTOCOLS, "gap")]
    note = (
        "Protocol paper lets speakers (or, as in the paper, the test clips themselves) stand on two sides; strict does"
        " not. Gap: paper minus strict on the folds and seeds both have, with the interval of the corrected resampled"
        " t over folds (one fold: of the paired t over seeds). Where they test other clips, that is in the gap, too."
    )
    return Table(file_name(paper.name, "and", strict.name, "protocols"), heads, rows, note)


def _gap(difference: Difference, shown: Shown) -> Entry:
    t = difference.t
    if t is None:
        return Entry("-")
    parts = {"": t.mean * shown.factor}
    if t.low is None or t.high is None:
        return Entry(shown.signed(t.mean), parts=parts)
    interval = {"low": t.low * shown.factor, "high": t.high * shown.factor}
    return Entry(shown.signed(t.mean), shown.interval(t.low, t.high, signed=True), parts | interval)


def quoted_table(groups: Sequence[Group], quoted: Sequence[Quoted]) -> Table | None:
    """A paper's numbers and what came out here, split by split; None where nothing was quoted."""
    rows: list[list[Entry | str]] = []
    for entry in quoted:
        shown = (COLUMNS | QUOTED).get(entry.figure)
        if shown is None:
            why = f"no figure {entry.figure!r} here"
            rows.append([entry.system, entry.figure, str(entry.value), why, "-", "-", "-", entry.reference])
            continue
        theirs = _theirs(entry)
        ours = [
            (group, split, group.systems[entry.system])
            for group in groups
            for split in group.splits
            if entry.system in group.systems
            and entry.split in (None, split)
            and entry.protocol in (None, group.first.data["protocol"])
        ]
        for group, split, cells in ours:
            values = spread(cells, partial(_quotable, split, entry.figure))
            gap = None if values.t is None else values.t.mean * shown.factor - entry.value
            gap_entry = Entry("-") if gap is None else Entry(f"{gap:+.{shown.digits}f}", parts={"": gap})
            row: list[Entry | str] = [entry.system, shown.title, theirs, spread_entry(values, shown), gap_entry]
            rows.append([*row, f"{group.name}, {split}", number(len(cells)), entry.reference])
        if not ours:
            rows.append([entry.system, shown.title, theirs, "not run", "-", "-", "-", entry.reference])
    if not rows:
        return None
    heads = ["system", "figure", "paper", "ours", "ours minus paper", "where", "runs", "reference"]
    return Table(
        "papers_numbers", heads, rows, "The paper's numbers are quotations; corpus, clips and protocol need not agree."
    )


def _quotable(split: str, name: str, cell: FinishedRun) -> float | None:
    return quoted_figure(cell.scores(split), name)


def _theirs(entry: Quoted) -> Entry:
    """A paper's number as it is printed there, with the deviation or interval that it gives."""
    text = f"{entry.value:g}" + ("" if entry.sd is None else f" ({entry.sd:g})")
    parts = {"": entry.value} | ({} if entry.sd is None else {"sd": entry.sd})
    if entry.low is None or entry.high is None:
        return Entry(text, parts=parts)
    return Entry(text, f"[{entry.low:g}, {entry.high:g}]", parts | {"low": entry.low, "high": entry.high})
