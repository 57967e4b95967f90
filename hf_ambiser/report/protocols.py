"""The protocols *paper* and *strict* side by side, and the gap between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

from hf_ambiser.metrics.display import COLUMNS, COMPARED, Shown
from hf_ambiser.report.convergence import moving_systems, not_found
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import figure_of, spread_entry
from hf_ambiser.report.statistics import Difference, over_folds, spread
from hf_ambiser.report.table import Entry, Table, file_name


PROTOCOLS = ("paper", "strict")


def pairs(groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Pairs of groups (paper, strict) that differ in their protocol only: same corpus, content, policy and family."""

    def same(group: Group) -> tuple[str, ...]:
        corpus, family, *rest = group.key
        return (corpus, family.replace(str(group.first.data["protocol"]), "*", 1), *rest)

    of = {protocol: [g for g in groups if g.first.data["protocol"] == protocol] for protocol in PROTOCOLS}
    return [(a, b) for a, b in product(of["paper"], of["strict"]) if same(a) == same(b)]


def protocols_table(paper: Group, strict: Group, splits: Sequence[str]) -> Table | None:
    """Every system that was run under both protocols, with the gap; None if there is no such system."""
    rows: list[list[Entry | str]] = []
    for split in splits:
        for system in (s for s in paper.systems if s in strict.systems):
            a, b = paper.systems[system], strict.systems[system]
            if not all(split in run.splits for run in (*a, *b)):
                continue
            row: list[Entry | str] = [system, split]
            for figure in COMPARED:
                shown, value = COLUMNS[figure], partial(figure_of, split, figure)
                row += [spread_entry(spread(runs, value), shown) for runs in (a, b)]
                row.append(_gap(over_folds(a, b, value), shown))
            rows.append(row)
    if not rows:
        return None
    heads = ["system", "split"]
    for figure in COMPARED:
        heads += [f"{COLUMNS[figure].title} {protocol}" for protocol in (*PROTOCOLS, "gap")]
    note = (
        "Under the protocol paper, speakers (or, as in the paper, the test utterances themselves) are on two sides;"
        " under strict they are not. Gap: paper minus strict on the folds and seeds that both have, with the interval"
        " of the corrected resampled t over folds (with one fold: of the paired t over seeds). If the protocols test"
        " different utterances, the gap includes that."
    )
    compared = dict.fromkeys(str(row[0]) for row in rows)
    moving = [
        f"{system} under {protocol}"
        for protocol, group in zip(PROTOCOLS, (paper, strict), strict=True)
        for system in moving_systems(group)
        if system in compared
    ]
    note = " ".join(filter(None, [note, not_found(moving)]))
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
