"""What a corpus says of its speakers, in a small file beside a built data set: `speakers.csv`.

It is no column of the data set, for then every recording would be written again, and the content of the data sets
that exist, by which runs are compared, would be another one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hf_ambiser.data.hub_dataset import dataset_folder
from hf_ambiser.data.schema import Utterance
from hf_ambiser.files.read import FileError, exists, read_text
from hf_ambiser.untrusted.cells import csv_of, texts
from hf_ambiser.untrusted.numbers import whole_number


SPEAKERS = "speakers.csv"
# The attributes that are kept: `sex` in the corpus' word, in lower case, and `age` in whole years.
ATTRIBUTES = ("sex", "age")
_OLDEST = 999  # years
_CURE = "Restore it from a copy, or build the data set again with --overwrite."


def speaker_attributes(utterances: Iterable[Utterance]) -> dict[str, dict[str, Any]]:
    """Collect speaker -> attributes from utterances; a speaker of whom nothing is known is left out.

    Raises:
        ValueError: If two utterances of a speaker say different things.
    """
    found: dict[str, dict[str, Any]] = {}
    for utterance in utterances:
        known = {name: value for name in ATTRIBUTES if (value := utterance.about_speaker.get(name)) not in (None, "")}
        before = found.setdefault(utterance.speaker, known)
        if before != known:
            raise ValueError(
                f"{utterance.id}: speaker {utterance.speaker} is {known}, but another utterance says {before}; a"
                " speaker must have one sex and one age. Correct the corpus' parser or its file of speakers."
            )
    return {speaker: known for speaker, known in sorted(found.items()) if known}


def write_speakers(dataset_dir: Path, speakers: Mapping[str, Mapping[str, Any]]) -> None:
    """Write `speakers.csv` (speaker, sex, age; empty: not known), or nothing if nothing is known of anybody."""
    if not speakers:
        return
    rows = [[speaker, *(known.get(name, "") for name in ATTRIBUTES)] for speaker, known in speakers.items()]
    text = csv_of([["speaker", *ATTRIBUTES], *rows])
    (dataset_dir / SPEAKERS).write_text(text, encoding="utf-8", newline="")


def read_speakers(dataset_dir: Path | str) -> dict[str, dict[str, Any]]:
    """Read speaker -> its known attributes (`sex` a word, `age` a number); empty if the data set says nothing.

    Raises:
        ValueError: If an age is not a whole number, or the file cannot be used.
    """
    path = dataset_folder(dataset_dir) / SPEAKERS
    if not exists(path):
        return {}
    speakers: dict[str, dict[str, Any]] = {}
    rows = csv.DictReader(io.StringIO(read_text(path, _CURE, as_is=True)))
    if rows.fieldnames is None or "speaker" not in rows.fieldnames:
        raise FileError(path, "has no column `speaker`", _CURE)
    for read in rows:
        row = {name: texts([value])[0] if value else value for name, value in read.items()}
        known: dict[str, Any] = {name: row[name] for name in ATTRIBUTES if row.get(name)}
        if "age" in known:
            years = whole_number(known["age"], _OLDEST)
            if years is None:
                raise ValueError(f"{path}: age {known['age']!r:.50} of speaker {row['speaker']} must be whole years.")
            known["age"] = years
        speakers[row["speaker"]] = known
    return speakers
