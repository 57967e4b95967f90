"""The set that published figures of distributions are on: every utterance with votes of the held-out speakers."""

from __future__ import annotations

from functools import partial

from hf_ambiser.data.splits import held_out_splits
from hf_ambiser.metrics.display import OF_WHOLE_SET
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import figure_of, number, spread_entry
from hf_ambiser.report.statistics import spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_scores.held_out import SCORED, WHOLE


TITLES = {
    "all": "all with votes",
    "consensus": "with a consensus label",
    "clear": "clear (agreement of 2/3)",
    "ambiguous": "ambiguous (the others)",
}
NOTE = (
    "WA, UA and ECE are over the utterances with a consensus label of each part; the other figures are over all of its"
    " utterances. An utterance without a consensus label is ambiguous. KL is the cross-entropy against the shares of"
    " the votes less their own entropy, so it can be compared between parts."
)


def about_whole_set(group: Group) -> str:
    """Say what the set is made of, or why a report has none, in a sentence or two of Markdown."""
    if not held_out_splits(str(group.first.data.get("dataset_config", group.family))):
        return "These splits hold out no speaker, so there is no set of all utterances of held-out speakers."
    if not group.whole:
        return (
            f"There is no section **{WHOLE}**: these runs answered only a part of the held-out speakers' utterances."
            " Runs of this version answer all of them."
        )
    joined = dict.fromkeys(split for run in group.runs for split in run.joined.get(group.whole, ()))
    made = f", made of {', '.join(f'`{split}`' for split in joined)}" if joined else ""
    if group.whole != SCORED:
        return (
            f"`{group.whole}` holds every utterance with votes of the held-out speakers{made}. Utterances without a"
            " consensus label are in it; they are scored against their votes."
        )
    return (
        f"`{SCORED}` holds what all of these runs answered of the held-out speakers' utterances{made}. Utterances"
        " without a consensus label may be missing, because a run was made before they were always answered: its"
        " distances are not comparable with figures on all utterances with votes."
    )


def whole_set_table(group: Group) -> Table:
    """The whole set beside its part with a consensus label, the clear and the ambiguous part, for every system."""
    one_each = group.one_a_fold()
    parts = [part for part in TITLES if all(part in run.results["scores"][group.whole] for run in group.runs)]
    rows: list[list[Entry | str]] = []
    for system, runs in group.systems.items():
        for part in parts:
            n = sum(run.scores(group.whole, part)["n"] for run in one_each)
            values = {name: spread(runs, partial(figure_of, group.whole, name, part=part)) for name in OF_WHOLE_SET}
            found = [spread_entry(value, OF_WHOLE_SET[name]) for name, value in values.items()]
            rows.append([system, TITLES[part], number(n), *found])
    heads = ["system", "utterances", "n", *(shown.title for shown in OF_WHOLE_SET.values())]
    return Table(file_name(group.name, group.whole, "and_its_parts"), heads, rows, NOTE)
