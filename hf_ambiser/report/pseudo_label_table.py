"""The table of the labels that ambiguous utterances had after training, compared with the raters' consensus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_ambiser.label_analysis.corrected import EpochAgreement, pseudo_label_agreement
from hf_ambiser.metrics.display import AGREEMENT
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import number, value_entry
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


def labels_given_table(group: Group) -> Table | None:
    """Agreement of prototype and classifier labels with the consensus, and each class's share; None without labels.

    All figures are of the last epoch (the right end of IPR's Figure 3), in %, as means over all runs.
    """
    rows: list[list[Entry | str]] = []
    for system, runs in group.systems.items():
        last = _last(runs)
        if not last:
            continue
        shares = np.mean([row.class_shares for row in last], axis=0)
        raters = np.mean([row.rater_shares for row in last], axis=0)
        classes = zip(group.classes, shares, raters, strict=True)
        mix = ", ".join(f"{name} {100 * a:.0f} ({100 * b:.0f})" for name, a, b in classes)
        agreement = {kind: float(np.mean([getattr(row, kind) for row in last])) for kind in AGREEMENT}
        parts = {f"{name} given": 100 * float(a) for name, a in zip(group.classes, shares, strict=True)}
        parts |= {f"{name} raters": 100 * float(b) for name, b in zip(group.classes, raters, strict=True)}
        agree = [value_entry(value, AGREEMENT[kind]) for kind, value in agreement.items()]
        rows.append([system, number(len(last)), *agree, Entry(mix, parts=parts)])
    if not rows:
        return None
    heads = ["labels given to unlabelled utterances", "runs", *(shown.title for shown in AGREEMENT.values())]
    heads.append("share of each class % (the raters')")
    note = "After the last epoch; agreement with the raters' consensus, which training never saw. Mean over runs."
    return Table(file_name(group.name, "labels_given"), heads, rows, note)


def _last(runs: Sequence[FinishedRun]) -> list[EpochAgreement]:
    return [rows[-1] for run in runs if (rows := pseudo_label_agreement(run.folder, last=True))]
