"""Open what `--ratings` names: a table, an export of Label Studio, annotations of Praat or ELAN, a `datasets` set.

Each of them becomes the rows of one table (utterance, rater, label ...), so everything behind works for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_ambiser.data.ratings.audio_files import AudioFile, AudioFinder, AudioFolder
from hf_ambiser.data.ratings.columns import Columns, find_columns
from hf_ambiser.data.ratings.hidden_votes import check_label_alone
from hf_ambiser.data.ratings.label_studio import is_label_studio, label_studio_table
from hf_ambiser.data.ratings.rated_set import HUB, is_set, open_set
from hf_ambiser.data.ratings.tiers import annotated_files, tiers_table
from hf_ambiser.files.read import FileError
from hf_ambiser.files.tables import TableFile, composed, read_json_list, read_table_file, table_of_json


@dataclass(frozen=True)
class RatingSource:
    """Ratings that were opened.

    Args:
        path: Where they are on this machine; `corpus.yaml` may stand beside it.
        name: What they are called, for the corpus' name.
        table: Their rows.
        columns: Which column is what.
        audio: Where the audio is.
        facts: What is known of the corpus, in the fields of `corpus.yaml`.
    """

    path: Path
    name: str
    table: TableFile
    columns: Columns
    audio: AudioFinder
    facts: Mapping[str, Any] = field(default_factory=dict)


def open_ratings(
    ratings: Path | str,
    audio: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
    class_columns: Sequence[str] = (),
    rater_columns: Sequence[str] = (),
    subset: str | None = None,
) -> RatingSource:
    """Open ratings of any kind; `build_from_ratings` describes the arguments.

    Letters with accents are composed in all cells, so that two byte spellings of one name are one speaker.

    Raises:
        FileNotFoundError: If the folder of audio is missing or empty. As a DownloadError for a set of the Hub.
        ValueError: If the ratings or their columns cannot be used. As a FileError for a file.
    """
    source = _opened(ratings, audio, columns, class_columns, rater_columns, subset)
    if n := source.table.compose():
        source.table.said.append(f"letters and accents were written as one character (Unicode NFC) in {n} cells")
    if "label" not in (columns or {}):
        check_label_alone(source.columns, source.table.columns)
    return source


def _opened(
    ratings: Path | str,
    audio: Path | str | None,
    columns: Mapping[str, str] | None,
    class_columns: Sequence[str],
    rater_columns: Sequence[str],
    subset: str | None,
) -> RatingSource:
    asked, path = dict(columns or {}), Path(ratings)
    files = annotated_files(path)
    if audio is None and not files and is_set(ratings):
        found = open_set(ratings, asked, bool(class_columns or rater_columns), subset)
        what = find_columns(list(found.table.columns), found.roles, class_columns, rater_columns)
        return RatingSource(found.path, found.name, found.table, what, found.audio, found.facts)
    _check_place(ratings, audio, bool(files), subset)
    folder = AudioFolder(Path(str(audio)))
    # The names of tiers and of a table's columns are composed, too.
    asked = {role: composed(name) for role, name in asked.items()}
    class_columns, rater_columns = [*map(composed, class_columns)], [*map(composed, rater_columns)]
    values, said = read_json_list(path) if path.suffix.lower() == ".json" and not files else ([], [])
    if files or is_label_studio(values):
        _check_columns(path, class_columns, () if files else rater_columns)
        if files:
            table, roles = tiers_table(path, files, asked, rater_columns)
        else:
            table, roles = label_studio_table(
                path, values, asked, lambda name: isinstance(folder.find(name), AudioFile)
            )
            table.said = [*said, *table.said]
        return RatingSource(path, path.stem, table, find_columns(list(table.columns), roles), folder)
    table = table_of_json(path, values, said) if values else read_table_file(path)
    what = find_columns(list(table.columns), asked, class_columns, rater_columns)
    return RatingSource(path, path.stem, table, what, folder)


def _check_place(ratings: Path | str, audio: Path | str | None, annotated: bool, subset: str | None) -> None:
    """Check that ratings which are no data set have a folder of audio, and that a data set has none."""
    path = Path(ratings)
    if str(ratings).startswith(HUB) or (path.is_dir() and not annotated):
        if is_set(ratings):
            raise ValueError(f"--audio {audio} came, and {ratings} is a data set that holds its audio. Leave it out.")
        raise FileError(
            path,
            "is a folder without a TextGrid, an .eaf file or a data set with audio",
            "Give a table (CSV, TSV, JSON, JSONL, Parquet, XLSX), an export, or a folder of one of these.",
        )
    if subset is not None:
        raise ValueError(f"--subset {subset} came, and {path.name} is no data set with audio. Leave it out.")
    if audio is None:
        raise ValueError(f"--audio is missing: give the folder with the audio files that {path.name} names.")


def _check_columns(path: Path, class_columns: Sequence[str], rater_columns: Sequence[str]) -> None:
    """Refuse what an export or annotations on a time line do not have."""
    for option, names in (("--class-columns", class_columns), ("--rater-columns", rater_columns)):
        if names:
            raise ValueError(
                f"{option} {names[0]!r} came, and {path.name} has one answer of one rater in a row. Leave it out;"
                " --columns label=NAME says where the labels are."
            )
