"""The rows of a `datasets` set on this machine: Parquet files, or the folder that `save_to_disk` has written.

The columns beside the audio are read at once, and the audio of a row when it is needed: so memory does not grow with
the audio. Parquet cannot be read at any row, so its audio is first copied into a temporary file (TMPDIR).
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hf_ambiser.data.audio import AudioProblem
from hf_ambiser.files.audio_column import audio_column, holds_audio
from hf_ambiser.files.read import FileError, exists, open_parquet, read_header
from hf_ambiser.untrusted.printed import in_one_line


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

CURE = "Restore it from a copy, or make the data set again."
_SAVED = ("dataset_dict.json", "state.json")
_AT_ONCE = 16  # rows whose audio is in memory


@dataclass(frozen=True)
class SetRows:
    """N rows of a data set.

    Args:
        table: The columns beside the audio, `(N,)` each.
        features: What each column holds.
        places: `(N,)` where each row is, in words.
        names: `(N,)` the name of each row's audio file, "" if it has none.
        read: Returns the encoded audio of a row, or why there is none.
    """

    table: pa.Table
    features: Features
    places: list[str]
    names: list[str]
    read: Callable[[int], bytes | AudioProblem]

    def lists(self) -> list[str]:
        """The columns that hold lists or objects."""
        from pyarrow import types

        kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_struct)
        return [field.name for field in self.table.schema if any(kind(field.type) for kind in kinds)]

    def column(self, name: str) -> list[Any]:
        """The values of a column; classes are given by their names, and -1 is no class."""
        return [named(value, self.features[name]) for value in self.table.column(name).to_pylist()]


def named(value: Any, feature: Any) -> Any:
    """Return a value with the names of its classes in place of their numbers."""
    from datasets import ClassLabel, LargeList, List

    if value is None:
        return None
    if isinstance(feature, ClassLabel):
        return feature.names[value] if 0 <= value < len(feature.names) else None
    if isinstance(feature, List | LargeList) and isinstance(value, list):
        return [named(one, feature.feature) for one in value]
    if isinstance(feature, Mapping) and isinstance(value, Mapping):
        return {name: named(one, feature.get(name)) for name, one in value.items()}
    return value


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any(exists(folder / name) for name in _SAVED)


def parquet_files(place: Path) -> list[Path]:
    """Return a Parquet file itself, or all below a folder, in order of their names."""
    alone = place.suffix.lower() == ".parquet" and not place.is_dir()
    files = [place] if alone else sorted(place.rglob("*.parquet"))
    return [path for path in files if not path.name.startswith("._")]


def files_of_subset(folder: Path, files: Sequence[Path], subset: str | None) -> list[Path]:
    """Return the files of one subset (a config of `datasets`), as the card in the folder names them.

    Raises:
        ValueError: If there are several subsets and none is asked for, or there is none of that name.
    """
    card = folder / "README.md"
    header = read_header(card, CURE) if exists(card) else {}
    configs = header.get("configs") if isinstance(header, Mapping) else None
    by_name: dict[str, list[str]] = {}
    for one in configs if isinstance(configs, list) else []:
        if isinstance(one, Mapping) and (patterns := list(_patterns(one.get("data_files")))):
            by_name[str(one.get("config_name", "default"))] = patterns
    if subset is None and len(by_name) > 1:
        raise ValueError(
            f"{folder.name} has the subsets {list(by_name)}, which may hold the same utterances. Say which: --subset"
            f" {next(iter(by_name))}"
        )
    if subset is None or subset in by_name:
        patterns = by_name.get(subset, []) if subset is not None else next(iter(by_name.values()), [])
        names = {path: path.relative_to(folder).as_posix() for path in files}
        chosen = [path for path in files if any(fnmatch.fnmatch(names[path], pattern) for pattern in patterns)]
        if chosen or not patterns:
            return chosen or list(files)
    there = f"its card names {list(by_name)}" if by_name else "its card names none"
    raise ValueError(f"{folder.name} has no Parquet file of a subset {subset!r}; {there}.")


def _patterns(files: Any) -> Iterator[str]:
    """The patterns of `data_files` on a card: a text, a list, or objects with a `path`."""
    if isinstance(files, str):
        yield files.removeprefix("./")
    elif isinstance(files, list):
        for one in files:
            yield from _patterns(one)
    elif isinstance(files, Mapping):
        for one in [files["path"]] if "path" in files else files.values():
            yield from _patterns(one)


def rows_of_parquet(root: Path, files: Sequence[Path], outside: bool, needed: Sequence[str] | None = None) -> SetRows:
    """Open Parquet files as one set.

    Args:
        root: The folder that places begin at.
        files: The files.
        outside: Whether a row without audio may name a file of this machine; never of a set that others made.
        needed: The columns beside the audio, as far as the files have them; None: all that may say something.

    Raises:
        FileError: If a file cannot be used, or has no column of audio.
    """
    import pyarrow as pa
    from datasets import Features

    tables, places, names, columns = [], list[str](), list[str](), list[str]()
    for path in files:
        with open_parquet(path, CURE) as file:
            column = audio_column(file.schema_arrow, path)
            beside = _beside(file.schema_arrow, column)
            tables.append(file.read([name for name in beside if needed is None or name in needed]))
            for batch in file.iter_batches(10_000, columns=[f"{column}.path"]):
                names += [_file_name((value or {}).get("path")) for value in batch.column(0).to_pylist()]
            columns.append(column)
        place = path.relative_to(root).as_posix() if path != root else path.name
        places += [f"{place}:{row}" for row in range(1, tables[-1].num_rows + 1)]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
        features = Features.from_arrow_schema(table.schema)
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise FileError(root, f"holds files whose columns do not fit together ({in_one_line(error)})", CURE) from error
    return SetRows(table, features, places, names, _CopiedAudio(files, columns, outside).read)


class _CopiedAudio:
    """The audio of Parquet files, copied into a temporary file at the first use."""

    def __init__(self, files: Sequence[Path], columns: Sequence[str], outside: bool) -> None:
        self._files, self._columns, self._outside = files, columns, outside

    def read(self, row: int) -> bytes | AudioProblem:
        copy, spans = self._copied
        span = spans[row]
        if isinstance(span, Path):
            return _file_content(span, self._outside)
        if span is None:
            return AudioProblem("unreadable_audio", "the row holds no audio")
        copy.seek(span[0])
        return copy.read(span[1])

    @cached_property
    def _copied(self) -> tuple[IO[bytes], list[tuple[int, int] | Path | None]]:
        copy = tempfile.TemporaryFile()  # noqa: SIM115  it lasts as long as the set
        spans: list[tuple[int, int] | Path | None] = []
        for path, column in zip(self._files, self._columns, strict=True):
            with open_parquet(path, CURE) as file:
                for batch in file.iter_batches(_AT_ONCE, columns=[column]):
                    for value in batch.column(0).to_pylist():
                        content = (value or {}).get("bytes")
                        if content is not None:
                            spans.append((copy.tell(), len(content)))
                            copy.write(content)
                        else:
                            name = (value or {}).get("path")
                            spans.append(path.parent / name if name else None)
        return copy, spans


def rows_of_saved(folder: Path, subset: str | None) -> SetRows:
    """Open what `save_to_disk` has written; of several splits, all rows in their order, or one split.

    Raises:
        FileError: If it cannot be loaded, or has no column of audio.
        ValueError: If there is no such split.
    """
    from datasets import Audio, Features, concatenate_datasets, load_from_disk
    from datasets.exceptions import DatasetsError

    try:
        loaded = load_from_disk(str(folder))
        splits = dict(loaded) if isinstance(loaded, Mapping) else {"": loaded}
        if subset is not None and subset not in splits:
            raise ValueError(f"{folder.name} has no split {subset!r}; it has {list(filter(None, splits))}.")
        splits = {name: rows for name, rows in splits.items() if subset in (None, name)}
        whole = concatenate_datasets(list(splits.values()))
    except (DatasetsError, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{folder.name} has no split"):
            raise
        raise FileError(folder, f"cannot be loaded by `datasets` ({in_one_line(error)})", CURE) from error
    column = audio_column(whole.features.arrow_schema, folder)
    if isinstance(whole.features[column], Audio):
        whole = whole.cast_column(column, Audio(decode=False))
    only, beside = whole.select_columns([column]), _beside(whole.features.arrow_schema, column)
    features = Features({name: whole.features[name] for name in beside})
    names = []
    for batch in only.with_format("arrow").iter(1000):
        names += [_file_name((value or {}).get("path")) for value in batch[column].to_pylist()]
    table = whole.select_columns(beside).with_format("arrow")[:]

    def read(row: int) -> bytes | AudioProblem:
        value = only[row][column] or {}
        if value.get("bytes") is not None:
            return value["bytes"]
        if value.get("path"):
            return _file_content(folder / value["path"], True)
        return AudioProblem("unreadable_audio", "the row holds no audio")

    places = [f"{name}:{row}" for name, rows in splits.items() for row in range(1, len(rows) + 1)]
    return SetRows(table, features, [place.removeprefix(":") for place in places], names, read)


def _beside(schema: pa.Schema, column: str) -> list[str]:
    """The columns beside the audio that may say something of it: no other files, and no bytes."""
    import pyarrow as pa

    def is_content(kind: pa.DataType) -> bool:
        return holds_audio(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    return [field.name for field in schema if field.name != column and not is_content(field.type)]


def _file_content(path: Path, allowed: bool) -> bytes | AudioProblem:
    if not allowed:
        return AudioProblem("unreadable_audio", "the row names a file and holds no audio")
    try:
        return path.read_bytes()
    except OSError as error:
        return AudioProblem("unreadable_audio", f"the file that the row names cannot be read ({error.strerror})")


def _file_name(path: str | None) -> str:
    return path.replace("\\", "/").rpartition("/")[2] if path else ""
