"""How strong an emotion seemed to each rater, where a corpus says so, in a file beside a data set: `intensities.csv`.

It is no column of the data set, for then the content of the data sets that exist, by which runs are compared, would
be another one. It tells the answers to every utterance, also of splits whose labels are hidden: it is for analysis,
and no training reads it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hf_ambiser.data.hub_dataset import dataset_folder
from hf_ambiser.data.schema import Utterance
from hf_ambiser.files.read import FileError, exists, read_text
from hf_ambiser.untrusted.cells import csv_of, texts
from hf_ambiser.untrusted.numbers import whole_number


INTENSITIES = "intensities.csv"
STRONGEST = 100
_COLUMNS = ("id", "rater", "label", "intensity")
_CURE = "Restore it from a copy, or build the data set again with --overwrite."


@dataclass(frozen=True)
class Intensity:
    """One rater's answer to one utterance: its label, and how strong the emotion seemed (0 to 100)."""

    id: str
    rater: str
    label: str
    intensity: int


def write_intensities(dataset_dir: Path, utterances: Iterable[Utterance]) -> None:
    """Write a line for each answer with an intensity, or no file if there is none."""
    rows = [
        (utterance.id, rating.stored_rater or "", ";".join(rating.labels), rating.intensity)
        for utterance in utterances
        for rating in utterance.ratings
        if rating.intensity is not None
    ]
    if rows:
        (dataset_dir / INTENSITIES).write_text(csv_of([_COLUMNS, *rows]), encoding="utf-8", newline="")


def read_intensities(dataset_dir: Path | str) -> list[Intensity]:
    """Read the answers with an intensity; empty if the data set has none.

    Args:
        dataset_dir: A built data set, or its name on the Hub.

    Raises:
        FileError: If the file cannot be used.
    """
    path = dataset_folder(dataset_dir) / INTENSITIES
    if not exists(path):
        return []
    rows = csv.reader(io.StringIO(read_text(path, _CURE, as_is=True)))
    if tuple(next(rows, [])) != _COLUMNS:
        raise FileError(path, f"does not have the columns {', '.join(_COLUMNS)}", _CURE)
    found = []
    for row in rows:
        cells = texts(row)
        intensity = whole_number(cells[-1], STRONGEST) if len(cells) == len(_COLUMNS) else None
        if intensity is None:
            raise FileError(path, f"has a line that is no answer with an intensity: {row!r:.100}", _CURE)
        found.append(Intensity(cells[0], cells[1], cells[2], intensity))
    return found
