"""The readers of text, JSON, YAML, cards, Parquet and safetensors. No other module of the package opens such files.

A file may be spoilt in many ways: cut off, empty, overwritten, a folder of that name, not readable for this user, or
written by another program. Each of these gives a `FileError`, one line that a user can act on. Each reader takes the
cure as text, because only its caller knows how the file is made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hf_ambiser.files import lfs


if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq


class FileError(ValueError):
    """A stored file cannot be used. The message names the file, what is wrong with it, and the cure."""

    def __init__(self, path: Path | str, what: str, cure: str) -> None:
        super().__init__(" ".join(f"{path} {what}. {cure}".split()))


_AHEAD = 8 * 2**20  # bytes of a column that are read from a stream at a time
# A kind of value, in the words of JSON.
_IN_JSON: dict[object, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "nothing",
}


class Record(dict[str, Any]):
    """Named values of a file. A name that the file lacks is a `FileError`, which says where it is missing.

    `get` and `in` work as in any `dict`, for names that a file may lack.
    """

    path: Path | str = ""
    cure: str = ""

    @classmethod
    def of(cls, values: dict[str, Any], path: Path | str, cure: str) -> Record:
        """Return the values of a file as a record."""
        record = cls(values)
        record.path, record.cure = path, cure
        return record

    def check(self, kinds: Mapping[str, Any]) -> None:
        """Check that the file has these names, each with a value of its kind.

        Args:
            kinds: Name -> a type or union of types; a mapping of such kinds, for an object; or a list with one kind,
                for a list whose values are all of it.

        Raises:
            FileError: If it lacks one, or holds another kind of value.
        """
        for name, kind in kinds.items():
            self._check(name, self[name], kind)

    def _check(self, name: str, value: Any, kind: Any) -> None:
        outer = dict if isinstance(kind, Mapping) else list if isinstance(kind, list) else kind
        if not isinstance(value, outer):
            what = _IN_JSON.get(outer, outer.__name__ if isinstance(outer, type) else outer)
            raise FileError(self.path, f"must hold {what} under {name!r}, not {value!r:.50}", self.cure)
        if isinstance(value, Record) and isinstance(kind, Mapping):
            value.check(kind)
        elif isinstance(kind, list):
            for inner in value:
                self._check(name, inner, kind[0])

    def __missing__(self, name: str) -> Any:
        raise FileError(self.path, f"lacks {name!r}", self.cure)


@contextmanager
def in_use(path: Path | str, cure: str) -> Iterator[None]:
    """Name the file whose values a block makes a text or a figure of, where one is of another kind than was written.

    `Record.check` says what is wrong and is to be preferred; this is for values deep in a file that only a text shows.

    Raises:
        FileError: If the block meets such a value.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise FileError(path, f"holds a value that cannot be used ({type(error).__name__}: {error})", cure) from error


def exists(path: Path) -> bool:
    """Whether something has that name: a file, a folder, or a link that leads nowhere.

    Optional files are looked for with it. `is_file` would take a file that cannot be read for one that is not there.
    """
    return os.path.lexists(path)


def read_bytes(path: Path, cure: str) -> bytes:
    """Read a whole file.

    Raises:
        FileError: If it is not there, is a folder, or cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(path, _why_not(error), cure) from error
    if lfs.is_stub(data):
        raise FileError(path, lfs.WHAT, lfs.CURE)
    return data


def read_text(path: Path, cure: str, as_is: bool = False) -> str:
    """Read UTF-8 text, with or without a byte order mark.

    Args:
        path: The file.
        cure: What to do about a file that cannot be used.
        as_is: Whether line ends stay as they are, as the `csv` module wants them; otherwise each becomes a line feed.

    Raises:
        FileError: If the file cannot be read, or is not UTF-8.
    """
    try:
        text = read_bytes(path, cure).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(path, f"is not UTF-8 text (byte {error.start})", cure) from error
    return text if as_is else text.replace("\r\n", "\n").replace("\r", "\n")


def read_card(path: Path) -> str:
    """Read a card that a human may have edited; "" if there is none.

    Raises:
        FileError: If it cannot be read, or is not UTF-8.
    """
    return read_text(path, "Save it as UTF-8, or move it away.") if exists(path) else ""


def read_json(path: Path, cure: str) -> Record:
    """Read a JSON file that holds an object. Inner objects are records, too, with the same path and cure.

    Raises:
        FileError: If the file cannot be read, is empty, is not JSON, or holds something else than an object.
    """
    content = _json(path, cure)
    if not isinstance(content, Record):
        raise FileError(path, f'must hold an object (`{{"name": value}}`), not {kind_in_json(content)}', cure)
    return content


def read_records(path: Path, cure: str) -> list[Record]:
    """Read a JSON file that holds a list of objects.

    Raises:
        FileError: If the file cannot be read, is empty, is not JSON, or holds something else than a list of objects.
    """
    content = _json(path, cure)
    if not isinstance(content, list):
        raise FileError(
            path, f'must hold a list of objects (`[{{"name": value}}]`), not {kind_in_json(content)}', cure
        )
    if other := [item for item in content if not isinstance(item, Record)]:
        raise FileError(path, f"must hold a list of objects, and {kind_in_json(other[0])} is in it", cure)
    return content


def read_yaml(path: Path, cure: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping. A key that is given twice is refused: YAML would keep the later one.

    Raises:
        FileError: If the file cannot be read, is empty, is not YAML, holds something else than a mapping, or gives a
            key twice.
    """
    content = _parsed(path, cure, "YAML", _yaml)
    if not isinstance(content, dict):
        raise FileError(path, f"must hold `field: value` lines, not {kind_in_json(content)}", cure)
    return content


def read_header(path: Path, cure: str) -> dict[str, Any]:
    """Read the YAML header of a card as the Hub's client finds and reads it; empty if the card has none.

    Raises:
        FileError: If the file cannot be read, or its header is not YAML or holds something else than a mapping.
    """
    import yaml
    from huggingface_hub import metadata_load

    read_text(path, cure)  # the client does not name a file that cannot be read
    try:
        return metadata_load(path) or {}
    except (ValueError, yaml.YAMLError) as error:
        raise FileError(path, f"has a header that cannot be used ({error})", cure) from error


@contextmanager
def open_parquet(path: Path, cure: str, stream: IO[bytes] | None = None) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; errors that come while the block reads from it name the file, too.

    Args:
        path: The file.
        cure: What to do about a file that cannot be used.
        stream: Where it is read from if it lies elsewhere; then `path` is only its name. A column is read some
            megabytes at a time, and never a row group as a whole.

    Raises:
        FileError: If the file cannot be read or is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if stream is None:
            with path.open("rb"):  # pyarrow says less about a folder, or a file that is not ours to read
                pass
            if lfs.is_stub_file(path):
                raise FileError(path, lfs.WHAT, lfs.CURE)
        with pq.ParquetFile(stream or path, buffer_size=_AHEAD if stream else 0) as file:
            yield file
    except FileError:
        raise
    except pa.ArrowException as error:
        raise FileError(path, f"is not a whole Parquet file ({error})", cure) from error
    except OSError as error:
        raise FileError(path, _why_not(error), cure) from error


def read_table(path: Path, cure: str, columns: Sequence[str] | None = None, needed: bool = True) -> pa.Table:
    """Read a Parquet file, or some of its columns.

    Args:
        path: The file.
        cure: What to do about a file that cannot be used.
        columns: Their names; None: all.
        needed: Whether the file must have all of `columns`; otherwise those that it has are read.

    Raises:
        FileError: If the file cannot be read, is not Parquet, or lacks a needed column.
    """
    with open_parquet(path, cure) as file:
        there = file.schema_arrow.names
        missing = [name for name in columns or () if name not in there]
        if missing and needed:
            raise FileError(path, f"lacks the column {missing[0]!r}; it has {there}", cure)
        return file.read(None if columns is None else [name for name in there if name in columns])


def read_tensors(path: Path, cure: str) -> dict[str, np.ndarray]:
    """Read the tensors of a safetensors file.

    Raises:
        FileError: If the file cannot be read, or is not a whole safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return Record.of(load(read_bytes(path, cure)), path, cure)
    except SafetensorError as error:
        raise FileError(path, f"is not a whole safetensors file ({error})", cure) from error


def check_tensors(path: Path, cure: str) -> None:
    """Check that a safetensors file is whole, without reading its tensors: others read weights.

    Raises:
        FileError: If the file cannot be read, or is not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb"):
            pass
        with safe_open(path, "np") as file:
            file.keys()
    except SafetensorError as error:
        raise FileError(path, f"is not a whole safetensors file ({error})", cure) from error
    except OSError as error:
        raise FileError(path, _why_not(error), cure) from error


def _parsed(path: Path, cure: str, kind: str, parse: Callable[[str], Any]) -> Any:
    text = read_text(path, cure)
    if not text.strip("\0 \t\n"):  # a power cut may leave zeros
        raise FileError(path, "is empty", cure)
    try:
        return parse(text)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(path, f"is not {kind} ({error})", cure) from error


def _json(path: Path, cure: str) -> Any:
    return _parsed(path, cure, "JSON", partial(json.loads, object_hook=partial(Record.of, path=path, cure=cure)))


def _yaml(text: str) -> Any:
    import yaml

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = [loader.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in seen if seen.count(key) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is given twice in one mapping; names of systems and keys are unique")
        return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(text, Loader=Strict)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _why_not(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, IsADirectoryError):
        return "is a folder and must be a file"
    if isinstance(error, PermissionError):
        return "cannot be read: this user has no permission to (chmod u+r, or ask its owner)"
    return f"cannot be read ({error.strerror or error})"


def kind_in_json(value: Any) -> str:
    """Name the kind of a value of JSON or YAML within a sentence: "an object", "a number"."""
    kind = dict if isinstance(value, dict) else type(value)
    return _IN_JSON.get(kind, f"a {kind.__name__}")  # YAML has dates, too
