"""Published figures on all utterances with votes of a corpus, beside ours where set, ratings and classes are the same.

A paper's numbers that belong to one plan stand in that plan. These belong to a corpus, and every study on it has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from hf_ambiser.data.rating_kinds import counted_ratings
from hf_ambiser.labels.policies import CREMA_D_CLASSES
from hf_ambiser.metrics.display import QUOTABLE
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import figure_of, spread_entry
from hf_ambiser.report.statistics import spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_scores.held_out import SCORED


@dataclass(frozen=True)
class Published:
    """What one system was published with.

    Args:
        corpus: Name of the corpus.
        ratings: The kinds of ratings that its votes are, sorted.
        classes: Its classes.
        system: What it is, in words.
        source: Where the figures stand.
        protocol: How it was tested, in words.
        figures: Name of a figure in `metrics.display.QUOTABLE` -> its value as `evaluate_predictions` has it.
    """

    corpus: str
    ratings: tuple[str, ...]
    classes: tuple[str, ...]
    system: str
    source: str
    protocol: str
    figures: Mapping[str, float]

    def is_on(self, group: Group) -> bool:
        """Whether the runs of a group are on the same corpus, ratings and classes."""
        data = group.first.data
        same = data["corpus"] == self.corpus and tuple(sorted(counted_ratings(data))) == self.ratings
        return same and sorted(group.classes) == sorted(self.classes)


def _yu_et_al(how: str, js: float, bhattacharyya: float) -> Published:
    # Their Brier score (.03 to .05) is left out: the text does not say over what it is averaged.
    return Published(
        corpus="crema_d",
        ratings=("voice",),
        classes=CREMA_D_CLASSES,
        system=f"Qwen2-Audio, 7 billion parameters, {how}",
        source="Yu et al., Interspeech 2026",
        protocol="split not stated; it also reads the transcript",
        figures={"js": js, "bhattacharyya": bhattacharyya},
    )


PUBLISHED = (
    _yu_et_al("zero-shot", 0.25, 0.78),
    _yu_et_al("fine-tuned on the votes", 0.21, 0.82),
    _yu_et_al("preference optimisation (DPO)", 0.17, 0.86),
)


def published_table(group: Group) -> Table | None:
    """Published figures and ours on all test utterances with votes; None if nothing was published on such data."""
    theirs = [entry for entry in PUBLISHED if entry.is_on(group)]
    if not theirs or group.whole in ("", SCORED):
        return None
    names = list(dict.fromkeys(name for entry in theirs for name in entry.figures))
    rows: list[list[Entry | str]] = []
    for entry in theirs:
        # With as many digits as are printed there.
        found = [
            Entry("-") if (value := entry.figures.get(name)) is None else Entry(f"{value:g}", parts={"mean": value})
            for name in names
        ]
        rows.append([entry.system, *found, entry.protocol, entry.source])
    for system, runs in group.systems.items():
        found = [spread_entry(spread(runs, partial(figure_of, group.whole, n)), QUOTABLE[n]) for n in names]
        rows.append([system, *found, f"{group.family}, protocol {group.first.data['protocol']}", "these runs"])
    note = (
        "Published figures on all utterances with votes of the same corpus, ratings and classes are quotations. Their"
        " test speakers need not be ours."
    )
    heads = ["system", *(QUOTABLE[name].title for name in names), "tested on", "source"]
    return Table(file_name(group.name, "published"), heads, rows, note)
