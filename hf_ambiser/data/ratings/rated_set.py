"""A `datasets` set with audio and ratings as rows of a table; its audio needs no folder.

Ratings stand in one column, a list of labels (one a rater) or of objects (`rater`, `label`); or in columns as a table
has them: counts of classes, labels of raters, or one rating in a row.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.data.noise_record import LABEL_NOISE
from hf_ambiser.data.place import REPORT
from hf_ambiser.data.ratings.audio_files import AudioFile, NoAudio, without_ending
from hf_ambiser.data.ratings.columns import is_usual, shown
from hf_ambiser.data.ratings.corpus_facts import FACTS, FIELDS, GROUPS
from hf_ambiser.data.ratings.set_rows import (
    CURE,
    SetRows,
    files_of_subset,
    is_saved,
    parquet_files,
    rows_of_parquet,
    rows_of_saved,
)
from hf_ambiser.data.schema import ANONYMOUS
from hf_ambiser.files.read import FileError, exists, read_json
from hf_ambiser.files.tables import Cell, TableFile, cell_of, composed
from hf_ambiser.hub.address import HUB, DatasetAddress
from hf_ambiser.hub.download import download_dataset
from hf_ambiser.untrusted.names import path_of_name, why_no_name


_FILES = ("*.parquet", "README.md", REPORT)
# Columns of ratings that have no usual name of a column of labels.
_RATINGS = ("ratings", "annotations", "votes")


class SetAudio:
    """Where the audio of a data set is: in its rows."""

    files: list[AudioFile] = []  # every row is in the table, so there is no audio without a row

    def __init__(self, root: Path, rows: SetRows, names: Mapping[int, str], one_row: bool) -> None:
        self.root, self._rows, self._names, self._one_row = root, rows, names, one_row
        self._by_name: dict[str, list[int]] = {}  # cells of tables are composed, and names need not be
        for row, name in names.items():
            self._by_name.setdefault(composed(name), []).append(row)
        self._short = Counter(map(without_ending, self._by_name))

    def find(self, cell: str, start: str = "", end: str = "") -> AudioFile | NoAudio:
        """Find the row of that name; rows that are one rating each must hold the same audio."""
        if start or end:
            return NoAudio("no_such_part", "parts of the recordings in a data set are not read")
        if why := why_no_name(cell, below=True):
            return NoAudio("malformed_id", f"the name {why}")
        rows = self._by_name.get(composed(cell), [])
        if not rows:
            return NoAudio("label_without_audio", "no row has that name")
        places = ", ".join(self._rows.places[row] for row in rows[:3])
        if len(rows) > 1 and (self._one_row or len({self._digest(row) for row in rows}) > 1):
            return NoAudio("ambiguous_audio", f"{len(rows)} rows have that name: {places}")
        first, whole = rows[0], self._names[rows[0]]
        short = without_ending(whole)
        name = short if self._short[composed(short)] == 1 else whole
        return AudioFile(name, self.root / self._rows.places[first], lambda: self._rows.read(first))

    def _digest(self, row: int) -> bytes:
        content = self._rows.read(row)
        return hashlib.blake2b(content if isinstance(content, bytes) else b"").digest()


@dataclass(frozen=True)
class RatedSet:
    """A data set that was opened: its rows as a table, what its columns are as far as known, audio and facts."""

    path: Path
    name: str
    table: TableFile
    roles: dict[str, str]
    audio: SetAudio
    facts: Mapping[str, Any]


def is_set(ratings: Path | str) -> bool:
    """Whether ratings are a set of the Hub, a Parquet file, or a folder of a data set."""
    path = Path(ratings)
    if str(ratings).startswith(HUB) or path.suffix.lower() == ".parquet":
        return True
    return path.is_dir() and (is_saved(path) or next(path.rglob("*.parquet"), None) is not None)


def open_set(ratings: Path | str, asked: Mapping[str, str], in_columns: bool, subset: str | None) -> RatedSet:
    """Open a data set.

    Args:
        ratings: `hf://datasets/ACCOUNT/NAME[@REVISION][/FOLDER]`, a Parquet file, a folder of Parquet files, or one
            that `save_to_disk` has written.
        asked: Role -> name of its column, as the user says.
        in_columns: Whether the user has named columns of classes or raters.
        subset: The subset (config) of Parquet files, or the split of a saved set.

    Raises:
        DownloadError: If a set of the Hub cannot be had.
        FileError: If a file cannot be used.
        ValueError: If it cannot be told where the ratings are.
    """
    root, name, shown_as = _place(str(ratings))
    said: list[str] = []
    facts: dict[str, Any] = {}
    if exists(root / REPORT):
        rows, facts = _own_build(root, subset, said, outside=not str(ratings).startswith(HUB))
        kept = _once(rows, said)
    elif is_saved(root):
        rows = rows_of_saved(root, subset)
        kept = list(range(len(rows.places)))
    else:
        files = parquet_files(root)
        if not files:
            raise FileError(shown_as, "holds no Parquet file", "Give a data set of Parquet files with audio.")
        if root.is_dir():
            files = files_of_subset(root, files, subset)
        elif subset is not None:
            raise ValueError(
                f"--subset {subset} came, and {shown_as} is one file, which has no subsets. Leave it out."
            )
        rows = rows_of_parquet(root, files, outside=not str(ratings).startswith(HUB))
        kept = list(range(len(rows.places)))
    if {"start", "end"} & set(asked):
        raise ValueError(f"--columns start= end=: parts of recordings are read from audio files, not from {shown_as}.")
    names, utterance = _names(rows, asked)
    ratings_in = None if in_columns else _ratings_column(rows, asked, shown_as)
    table = TableFile(Path(shown_as), {}, said=[*said, f"{len(kept)} rows with audio"])
    roles = _fill(table, rows, kept, names, utterance, ratings_in, asked)
    one_row = ratings_in is not None or in_columns or not _long(table, roles)
    audio = SetAudio(root, rows, {row: names[row] for row in kept}, one_row)
    return RatedSet(root, name, table, roles, audio, facts)


def _place(ratings: str) -> tuple[Path, str, str]:
    """Return where a set is on this machine, its name, and how lists and messages call it."""
    if not ratings.startswith(HUB):
        return Path(ratings), Path(ratings).stem, Path(ratings).name
    address = DatasetAddress.of(ratings)
    folder = download_dataset(address.repo, address.revision, _FILES)
    name = address.repo.partition("/")[2]
    shown_as = f"{address.repo.replace('/', '--')}@{folder.name[:12]}"
    below = address.below
    root = path_of_name(folder, below, "folder", ratings, below=True, follow=True) if below else folder
    if below and not exists(root):
        raise ValueError(f"{address.repo} has no {below!r} with Parquet files; leave it out, or give another.")
    return root, name, shown_as


def _own_build(root: Path, subset: str | None, said: list[str], outside: bool) -> tuple[SetRows, dict[str, Any]]:
    """Open a data set that this package built, all configs of it, with what it knows of its corpus."""
    if subset is not None:
        raise ValueError(
            f"--subset {subset}: of a data set that hf-ambiser built every config is read, and each utterance counts"
            " once. Leave it out."
        )
    report = read_json(root / REPORT, CURE)
    if report.get(LABEL_NOISE):
        raise ValueError(
            f"{root} holds labels that were made wrong on purpose. Build from the data set without noise."
        )
    said.append("a data set of hf-ambiser, whose splits and labels are made anew from its ratings")
    facts = _facts_of(report)
    # A speaker whom nobody knows has a name of its own in each utterance.
    needed = ["id", "ratings", "session", *(["speaker"] if facts.get("speakers_known", True) else [])]
    return rows_of_parquet(root, parquet_files(root), outside, needed), facts


def _facts_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a build knows of its corpus, as `corpus.yaml` would say it."""
    corpus = str(report.get("corpus"))
    if isinstance(found := report.get(FACTS), Mapping):
        facts = dict(found)
    elif corpus in available_corpora():
        module = load_corpus(corpus)
        facts = {name: getattr(module, name.upper(), None) for name in FIELDS if name not in ("name", "classes")}
        facts |= {"licence": module.LICENSE, "licence_id": getattr(module, "LICENSE_ID", None)}
        facts["name"] = f"{corpus}-again"  # reports would take a corpus of the package for this one
    else:
        facts = {}
    kinds = {
        name: bool if name in ("redistributable", "speakers_known") else str for name in (*FIELDS, "speakers_known")
    }
    facts = {
        name: facts[name] for name, kind in kinds.items() if isinstance(facts.get(name), kind) and name != "classes"
    }
    if facts.get("group", GROUPS[0]) not in GROUPS or not re.fullmatch(r"[\w.-]+", facts.get("name", "x")):
        raise FileError(REPORT, "holds facts of a corpus that no build has written", CURE)
    return facts


def _once(rows: SetRows, said: list[str]) -> list[int]:
    """Return one row of each utterance: configs repeat it, and hide its ratings in some."""
    best: dict[str, int] = {}
    ratings = rows.column("ratings")
    for row, name in enumerate(rows.column("id")):
        if name not in best or (ratings[row] and not ratings[best[name]]):
            best[name] = row
    if hidden := sum(not ratings[row] for row in best.values()):
        said.append(f"{hidden} utterances have their ratings hidden wherever they stand, so they have no vote")
    if repeats := len(rows.places) - len(best):
        said.append(f"{repeats} rows repeat an utterance in another config or split, and count once")
    return sorted(best.values())


def _names(rows: SetRows, asked: Mapping[str, str]) -> tuple[list[str], str | None]:
    """Return the name of each row's utterance, and the column that it is from (None: the name of the audio file)."""
    column = asked.get("utterance") or ("id" if "id" in rows.features else None)
    if column is not None and column not in rows.features:
        raise ValueError(f"the data set has no column {column!r}; its columns are {shown(list(rows.features))}.")
    if column is not None:
        return [_text(value) for value in rows.column(column)], column
    return [name or f"row {row}" for row, name in enumerate(rows.names, start=1)], None


def _ratings_column(rows: SetRows, asked: Mapping[str, str], where: str) -> str | None:
    """Return the column that holds lists of ratings; None if they stand in columns as in a table."""
    lists = rows.lists()
    if label := asked.get("label"):
        return label if label in lists else None
    objects = [name for name in lists if (keys := _keys(rows, name)) and any(is_usual(key, "label") for key in keys)]
    words = [name for name in lists if not _keys(rows, name) and (is_usual(name, "label") or name in _RATINGS)]
    words = [name for name in words if _holds_words(rows, name)]
    for found in (objects, words):
        if len(found) > 1:
            raise ValueError(
                f"{where}: columns {found} may each hold the ratings. Say which: --columns label={found[0]}"
            )
        if found:
            return found[0]
    return None


def _keys(rows: SetRows, name: str) -> list[str]:
    """The names within the objects of a column of lists; none if it holds no objects."""
    import pyarrow as pa

    kind = rows.table.schema.field(name).type
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _holds_words(rows: SetRows, name: str) -> bool:
    """Whether a list holds texts or classes; numbers are shares, counts or codes, and no labels."""
    return all(isinstance(one, str | list | None) for value in rows.column(name)[:100] for one in value or [])


def _fill(
    table: TableFile,
    rows: SetRows,
    kept: Sequence[int],
    names: Sequence[str],
    utterance: str | None,
    ratings_in: str | None,
    asked: Mapping[str, str],
) -> dict[str, str]:
    """Write the rows into a table, one rating a row where ratings are lists; return role -> column."""
    if ratings_in:
        _check_rater(rows, utterance, ratings_in, asked)
    parallel = _parallel_raters(rows, ratings_in, asked)
    lists = [name for name in rows.lists() if name not in (utterance, ratings_in, parallel)]
    plain = [name for name in rows.features if name not in (utterance, ratings_in, parallel, *lists)]
    table.said += [f"columns of lists and objects that are not used: {shown(lists)}"] if lists else []
    own = ["utterance", *(["rater", "label"] if ratings_in else [])]
    column_of = {name: name if name not in own else f"{name} of the row" for name in plain}
    table.columns.update({name: [] for name in (*own, *column_of.values())})
    cells = {name: [cell_of(value) for value in rows.column(name)] for name in plain}
    given = rows.column(ratings_in) if ratings_in else []
    raters = rows.column(parallel) if parallel else []
    one_rater = asked.get("rater") or next((name for name in plain if is_usual(name, "rater")), None)
    one_rater = None if parallel else one_rater
    for row in kept:
        beside = [cells[name][row] for name in plain]
        if not ratings_in:
            table.add(rows.places[row], [names[row], *beside])
            continue
        said = _ratings(given[row], raters[row] if parallel else None, cells[one_rater][row] if one_rater else None)
        if isinstance(said, str):
            table.broken.append((rows.places[row], said))
            continue
        for rater, label, own_rating in said or [("", "", False)]:
            if own_rating:
                table.broken.append((rows.places[row], "a speaker's rating of himself, which is no rater's vote"))
            else:
                table.add(rows.places[row], [names[row], rater, label, *beside])
    roles = {role: column_of.get(name, name) for role, name in asked.items()} | {"utterance": "utterance"}
    return roles | ({"rater": "rater", "label": "label"} if ratings_in else {})


def _check_rater(rows: SetRows, utterance: str | None, ratings_in: str, asked: Mapping[str, str]) -> None:
    """Refuse an asked column of raters that no rating in a column of ratings would be read with."""
    rater = asked.get("rater")
    if rater is None:
        return
    if rater not in rows.features:
        raise ValueError(f"the data set has no column {rater!r}; its columns are {shown(list(rows.features))}.")
    if rater in (utterance, ratings_in):
        raise ValueError(f"column {rater!r} was named for two things; name it once.")
    if keys := _keys(rows, ratings_in):
        raise ValueError(
            f"--columns rater={rater} came, and the ratings in {ratings_in!r} are objects with {shown(keys)}, whose"
            " raters are looked for among these. Leave it out."
        )


def _parallel_raters(rows: SetRows, ratings_in: str | None, asked: Mapping[str, str]) -> str | None:
    """The column with a list of raters beside a list of labels."""
    if ratings_in is None or _keys(rows, ratings_in):
        return None
    lists = [name for name in rows.lists() if name != ratings_in]
    if rater := asked.get("rater"):
        return rater if rater in lists else None
    return next((name for name in lists if is_usual(name, "rater") or is_usual(name.removesuffix("s"), "rater")), None)


def _ratings(value: Any, raters: Any, one_rater: Cell | None) -> list[tuple[Cell, Cell, bool]] | str:
    """Return (rater, label, whether it is the speaker's own) of each rating in a cell, or what is wrong with it."""
    if isinstance(value, Mapping):  # an object of lists, as `datasets` once stored a list of objects
        lists = {key: one for key, one in value.items() if isinstance(one, list)}
        if len({len(one) for one in lists.values()}) > 1:
            return f"its lists differ in length: { {key: len(one) for key, one in lists.items()} }"
        n = len(next(iter(lists.values()), []))
        value = [{key: one[i] for key, one in lists.items()} for i in range(n)] if lists else [value]
    value = value or []
    if not isinstance(value, list):
        return f"its ratings are {str(value)[:30]!r}, and must be a list"
    if any(isinstance(one, Mapping) for one in value):
        found: list[tuple[Cell, Cell, bool]] = []
        for one in value:
            keys = one if isinstance(one, Mapping) else {}
            label = next((key for key in keys if is_usual(key, "label")), None)
            rater = next((key for key in keys if is_usual(key, "rater")), None)
            who = _text(keys[rater]) if rater else ""
            nobody = who.startswith(ANONYMOUS)
            found.append(
                ("" if nobody else who, cell_of(keys[label]) if label else "", keys.get("self_report") is True)
            )
        return found
    labels = [cell_of(one) for one in value]
    if raters is not None:
        if len(raters) != len(labels):
            return f"it has {len(labels)} labels and {len(raters)} raters"
        return [(_text(rater), label, False) for rater, label in zip(raters, labels, strict=True)]
    if one_rater:
        return [(one_rater, tuple(map(_text, value)), False)]
    return [("", label, False) for label in labels]


def _long(table: TableFile, roles: Mapping[str, str]) -> bool:
    """Whether a row is one rating."""
    return "label" in roles or any(is_usual(name, "label") for name in table.columns)


def _text(value: Any) -> str:
    cell = cell_of(value)
    return cell if isinstance(cell, str) else ", ".join(cell)
