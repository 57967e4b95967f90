"""The report's table of figures by the speakers' sex and age group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_ambiser.metrics.display import COMPARED, SCORES
from hf_ambiser.metrics.significance import paired_t
from hf_ambiser.metrics.speaker_groups import (
    GROUPED_BY,
    MIN_SPEAKERS,
    MIN_UTTERANCES,
    GroupFigures,
    figures_by_group,
)
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import number, spread_entry
from hf_ambiser.report.statistics import Spread, by_seed, pooled
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


NOTE = (
    "The folds of one seed are put together, for the speakers of one fold are too few for groups. Mean (standard"
    " deviation) [95 % interval] over seeds, Student's t: what is said is about training again, not about other"
    f" speakers. `too few`: fewer than {MIN_UTTERANCES} utterances or {MIN_SPEAKERS} speakers have this figure (a"
    " seed of which this is so is left out). Groups also differ in which emotions their utterances show and in how far"
    " raters agree."
)


def speaker_groups_table(group: Group, split: str) -> Table | None:
    """WA, UA and JS of every system by sex and age group; None if no run knows its speakers."""
    speakers = {name: known for run in group.runs for name, known in run.speakers.items()}
    rows: list[list[Entry | str]] = []
    for attribute in GROUPED_BY if speakers else ():
        for system, runs in group.systems.items():
            of_seeds = [_of_seed(seed, split, speakers, attribute) for seed in by_seed(runs)]
            for name in dict.fromkeys(name for groups in of_seeds for name in groups):
                found = [groups[name] for groups in of_seeds if name in groups]
                # Seeds that lack some folds have fewer utterances; the table counts those of the fullest seed.
                counts = [max(one.n_utterances for one in found), max(one.n_speakers for one in found)]
                figures = [_entry(found, figure) for figure in COMPARED]
                rows.append([f"{attribute}: {name}", system, *map(number, counts), *figures])
    if not rows:
        return None
    heads = ["speakers", "system", "utterances", "speakers in it", *(SCORES[name].title for name in COMPARED)]
    return Table(file_name(group.name, split, "speaker_groups"), heads, rows, NOTE)


def _of_seed(
    runs: Sequence[FinishedRun], split: str, speakers: dict[str, dict], attribute: str
) -> dict[str, GroupFigures]:
    all_folds = pooled(runs, split)
    return figures_by_group(
        all_folds.probabilities, all_folds.votes, all_folds.consensus, all_folds.speaker, speakers, attribute
    )


def _entry(found: Sequence[GroupFigures], figure: str) -> Entry:
    values = [value for one in found if (value := getattr(one, figure)) is not None]
    if not values:
        return Entry("too few")
    return spread_entry(Spread(paired_t(np.array(values)), "seeds", len(found) - len(values)), SCORES[figure])
