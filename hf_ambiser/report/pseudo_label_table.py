"""The table of the labels that unlabelled utterances were given in training, compared with the raters' consensus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_ambiser.label_analysis.corrected import EpochAgreement, first_and_last_agreement
from hf_ambiser.metrics.display import AGREEMENT
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import number, value_entry
from hf_ambiser.report.table import Entry, Table, file_name


def labels_given_table(group: Group) -> Table | None:
    """Agreement of prototype and classifier labels with the consensus, and each class's share; None without labels.

    The figures of a system are those of the first and of the last epoch that gave labels (the ends of IPR's
    Figure 3), in %, as means over all runs. In between, prototypes and classifier learn from each other.
    """
    rows: list[list[Entry | str]] = []
    for system, runs in group.systems.items():
        ends: list[tuple[EpochAgreement, ...]] = [
            pair for run in runs if (pair := first_and_last_agreement(run.folder)) is not None
        ]
        if all(first.epoch == last.epoch for first, last in ends):
            ends = [(first,) for first, _ in ends]
        for epochs in zip(*ends, strict=True):
            rows.append([system, _epochs(epochs), number(len(epochs)), *_figures(epochs, group.classes)])
    if not rows:
        return None
    heads = ["labels given to unlabelled utterances", "epoch", "runs", *(shown.title for shown in AGREEMENT.values())]
    heads += ["runs in which prototypes are better: by agreement, by recall", "share of each class % (the raters')"]
    note = (
        "After the first and the last epoch with such labels; agreement with the raters' consensus, which training"
        " never saw. Mean over runs."
    )
    return Table(file_name(group.name, "labels_given"), heads, rows, note)


def _epochs(rows: Sequence[EpochAgreement]) -> str:
    """The epoch of the runs, or the least and the greatest."""
    least, most = min(row.epoch for row in rows), max(row.epoch for row in rows)
    return str(least) if least == most else f"{least} to {most}"


def _figures(rows: Sequence[EpochAgreement], classes: Sequence[str]) -> list[Entry]:
    """How often labels agree, as means over runs; where prototypes win; each class's share beside the raters'."""
    shares = np.mean([row.class_shares for row in rows], axis=0)
    raters = np.mean([row.rater_shares for row in rows], axis=0)
    mix = ", ".join(
        f"{name} {100 * a:.0f} ({100 * b:.0f})" for name, a, b in zip(classes, shares, raters, strict=True)
    )
    parts = {f"{name} given": 100 * float(a) for name, a in zip(classes, shares, strict=True)}
    parts |= {f"{name} raters": 100 * float(b) for name, b in zip(classes, raters, strict=True)}
    agree = [
        value_entry(float(np.mean([getattr(row, kind) for row in rows])), shown) for kind, shown in AGREEMENT.items()
    ]
    by_agreement = sum(row.prototype > row.classifier for row in rows)
    by_recall = sum(row.prototype_recall > row.classifier_recall for row in rows)
    better = Entry(f"{by_agreement}, {by_recall}", parts={"by agreement": by_agreement, "by recall": by_recall})
    return [*agree, better, Entry(mix, parts=parts)]
