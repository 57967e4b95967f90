"""Recordings in a data set on disk: Parquet files as `hf-ambiser build` and the Hub have them, or Arrow files."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ambiser.files.audio_column import audio_column
from hf_ambiser.files.read import FileError, open_parquet
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording
from hf_ambiser.untrusted.names import NotAName, path_of_name


if TYPE_CHECKING:
    import pyarrow.parquet as pq

# A data set that this package built stands beside it. Its configurations repeat utterances under the same id.
OF_A_BUILD = "build_report.json"
CURE = "Restore the file from a copy, or make the data set again."
_ID, _REPEATS = "id", "repeats of an utterance"
_AT_ONCE = 16  # rows whose audio is in memory


class ParquetSource:
    """Rows of Parquet files with a column of audio, `{bytes, path}`, in the order of the files and rows.

    An input is called as its `id`, or else as the file name in `path`. Of a data set that this package built, each
    utterance is an input once, however many configurations hold it.

    Args:
        root: Folder that the paths begin at.
        paths: The files, relative to `root`.
        built: Whether this package built the data set.

    Raises:
        FileError: If a file cannot be used or has no such column.
    """

    kind = "data set (Parquet)"

    def __init__(self, root: Path, paths: list[str], built: bool) -> None:
        self.left_out: dict[str, int] = {}
        self._root, self._paths, self._columns = root, paths, list[str]()
        self._names: list[str] = []
        self._files, self._rows = array("i"), array("q")
        seen: set[str] = set()
        for number, path in enumerate(paths):
            row = -1
            for row, name in enumerate(self._names_in(path)):
                if built and name in seen:
                    self.left_out[_REPEATS] = self.left_out.get(_REPEATS, 0) + 1
                    continue
                if built:
                    seen.add(name)
                self._names.append(name)
                self._files.append(number)
                self._rows.append(row)

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> Iterator[str]:
        """See `Source`."""
        yield from self._names

    def recordings(self, start: int, stop: int) -> Iterator[Recording]:
        """See `Source`."""
        wanted = range(start, min(stop, len(self)))
        for number, places in groupby(wanted, key=lambda i: self._files[i]):
            yield from self._of_file(number, list(places))

    def _of_file(self, number: int, places: list[int]) -> Iterator[Recording]:
        path, column = self._paths[number], self._columns[number]
        names = {self._rows[i]: self._names[i] for i in places}
        first, last = self._rows[places[0]], self._rows[places[-1]]
        with self._open(path) as file:
            begin = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if begin <= last and begin + rows > first:
                    at = begin
                    for batch in file.iter_batches(_AT_ONCE, row_groups=[group], columns=[column]):
                        for cell in batch.column(0):
                            if at in names:
                                yield Recording(names[at], self._audio(cell.as_py(), path))
                            at += 1
                begin += rows

    def _open(self, path: str) -> AbstractContextManager[pq.ParquetFile]:
        return open_parquet(self._root / path, CURE)

    def _audio(self, value: Mapping[str, Any] | None, path: str) -> bytes | Path | NoAudio:
        return _content(value, (self._root / path).parent)

    def _names_in(self, path: str) -> Iterator[str]:
        with self._open(path) as file:
            column = audio_column(file.schema_arrow, self._root / path)
            self._columns.append(column)
            has_id = _ID in file.schema_arrow.names
            row = 0
            for batch in file.iter_batches(10_000, columns=[_ID if has_id else f"{column}.path"]):
                for value in batch.column(0).to_pylist():
                    name = value if has_id else (value or {}).get("path")
                    yield str(name) if has_id else _file_name(name) or f"{path}, row {row}"
                    row += 1


class ArrowSource:
    """Rows of what `datasets` has saved with `save_to_disk`; of several splits, in the order of the splits.

    Args:
        folder: The saved data set.

    Raises:
        FileError: If it cannot be loaded, or has no column of audio.
    """

    kind = "data set (Arrow)"

    def __init__(self, folder: Path) -> None:
        from datasets import Audio, load_from_disk
        from datasets.exceptions import DatasetsError

        self.left_out: dict[str, int] = {}
        self._folder = folder
        try:
            loaded = load_from_disk(str(folder))
        except (DatasetsError, OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(folder, f"cannot be loaded by `datasets` ({error})", CURE) from error
        self._splits: list[tuple[str, Any, str]] = []
        for split, rows in loaded.items() if isinstance(loaded, Mapping) else [("", loaded)]:
            for name, feature in rows.features.items():
                if isinstance(feature, Audio):
                    rows = rows.cast_column(name, Audio(decode=False))
            self._splits.append((split, rows, audio_column(rows.features.arrow_schema, folder)))

    def __len__(self) -> int:
        return sum(len(rows) for _, rows, _ in self._splits)

    def names(self) -> Iterator[str]:
        """See `Source`."""
        import pyarrow.compute as pc

        for split, rows, column in self._splits:
            needed = _ID if _ID in rows.column_names else column
            place = 0
            for batch in rows.select_columns([needed]).with_format("arrow").iter(1000):
                # Of the audio only the paths: the bytes are not read.
                values = batch[needed] if needed == _ID else pc.struct_field(batch[needed], "path")
                for value in values.to_pylist():
                    yield self._name(
                        split, place, {_ID: value} if needed == _ID else {column: {"path": value}}, column
                    )
                    place += 1

    def recordings(self, start: int, stop: int) -> Iterator[Recording]:
        """See `Source`."""
        first = 0
        for split, rows, column in self._splits:
            needed = [column, *([_ID] if _ID in rows.column_names else [])]
            only = rows.select_columns(needed)
            for place in range(max(0, start - first), min(len(rows), stop - first)):
                row = only[place]
                yield Recording(self._name(split, place, row, column), _content(row[column], self._folder))
            first += len(rows)

    @staticmethod
    def _name(split: str, place: int, row: Mapping[str, Any], column: str) -> str:
        name = str(row[_ID]) if _ID in row else _file_name((row[column] or {}).get("path")) or f"row {place}"
        return f"{split}/{name}" if split else name


def _content(value: Mapping[str, Any] | None, folder: Path) -> bytes | Path | NoAudio:
    """Return the audio of a row, or the file of the data set that it names; one elsewhere is not opened."""
    value = value or {}
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    if not value.get("path"):
        return NoAudio("unreadable", "the row holds no audio")
    try:
        return path_of_name(folder, value["path"], "path", folder, below=True, follow=True)
    except NotAName:
        return NoAudio("unreadable", "the row holds no audio, and its path leads out of the data set")


def _file_name(path: str | None) -> str:
    return Path(path).name if path else ""
