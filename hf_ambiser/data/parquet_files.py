"""The Parquet files of a built data set: a check before they are used, their columns, and loading with `datasets`."""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ambiser.files.read import FileError, open_parquet, read_table


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


# The end of a file's name that says how many files its rows are divided into.
_SHARD = re.compile(r"-\d+-of-\d+(?=\.parquet$)")


def check_files(files: Sequence[Path], cure: str) -> int:
    """Check that Parquet files can be opened, and return how many rows they have together.

    Raises:
        FileError: If one cannot be opened.
    """
    rows = 0
    for path in files:
        with open_parquet(path, cure) as file:
            rows += file.metadata.num_rows
    return rows


def content_digest(folder: Path, cure: str = "Build the data set again (--overwrite).") -> str:
    """Twelve hex digits over all rows: they identify the content of a data set, wherever it lies and was built.

    Names of columns and of classes and the values are hashed, in the order of the rows. How Parquet stores them is
    not, for that depends on the version of pyarrow.

    Args:
        folder: Its Parquet files, at any depth, make up the data set. Shards of a file count as one.
        cure: What to do about a file that cannot be read.

    Raises:
        FileError: If a file cannot be read, or holds what no built data set has.
    """
    import pyarrow as pa

    digest, before = hashlib.blake2b(digest_size=6), None
    for path in sorted(folder.rglob("*.parquet")):
        name = _SHARD.sub("", path.relative_to(folder).as_posix())
        with open_parquet(path, cure) as file:
            try:
                if name != before:
                    _hash(digest.update, [name, file.schema_arrow.names, _class_names(file.schema_arrow)])
                    before = name
                for batch in file.iter_batches(batch_size=64):
                    for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                        _hash(digest.update, list(row))
            except pa.ArrowException:
                raise  # `open_parquet` says what is wrong with the file
            except (TypeError, ValueError, KeyError) as error:
                raise FileError(path, f"holds what no built data set has ({error})", cure) from None
    return digest.hexdigest()


def _class_names(schema: pa.Schema) -> list[list[str] | None]:
    """Return the names of the classes of each column, None where it has none: they stand beside the rows."""
    if b"huggingface" not in (schema.metadata or {}):
        return [None] * len(schema.names)
    from datasets import Features

    features = Features.from_arrow_schema(schema)
    return [getattr(features[name], "names", None) for name in schema.names]


def _hash(update: Callable[[bytes], None], value: Any) -> None:
    """Hash a value of a column; each begins with its kind and its length, so no two values look alike."""
    if value is None or isinstance(value, bool):
        update(repr(value).encode())
    elif isinstance(value, int):
        update(b"i%d;" % value)
    elif isinstance(value, float):
        update(b"fnan" if math.isnan(value) else b"f" + struct.pack("<d", value))
    elif isinstance(value, (str, bytes)):
        content = value.encode() if isinstance(value, str) else value
        update(b"%s%d:" % (b"s" if isinstance(value, str) else b"b", len(content)))
        update(content)
    elif isinstance(value, (list, dict)):
        parts = value if isinstance(value, list) else [part for item in value.items() for part in item]
        update(b"%s%d:" % (b"l" if isinstance(value, list) else b"d", len(parts)))
        for part in parts:
            _hash(update, part)
    else:
        raise TypeError(f"a value of type {type(value).__name__}")


def read_columns(files: Sequence[Path], columns: Sequence[str], cure: str) -> pa.Table:
    """Read columns of several files as one table.

    Raises:
        FileError: If a file cannot be used or lacks a column.
    """
    import pyarrow as pa

    return pa.concat_tables([read_table(path, cure, columns) for path in files])


def load_parquet(what: str, files: Sequence[Path], cure: str, *args: str, **options: Any) -> Dataset:
    """Call `datasets.load_dataset(what, *args, **options)`, whose errors do not name the spoilt file.

    Args:
        what: First argument of `load_dataset`: the folder of a data set, or `parquet`.
        files: The files that it will read.
        cure: What to do about a file that cannot be used.
        args: Its further arguments.
        options: Its named arguments.

    Raises:
        FileError: If a file, or the header of the data set's card, cannot be used.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        if any(_is_pattern(str(path.absolute())) for path in files):
            # A whole folder is no way out: `datasets` follows links to it. The files alone have all that it needs.
            names = [str(plain(path.parent) / path.name) for path in files]
            options["data_files"] = {options.get("split", "train"): names}
            loaded = load_dataset("parquet", **options)
        else:
            loaded = load_dataset(what, *args, **options)
    except (DatasetsError, ValueError, TypeError, AttributeError) as error:
        for path in files:
            read_table(path, cure)  # reads every page, and names the file that has a spoilt one
        card = Path(what) / "README.md"
        where = card if card.is_file() else Path(what)
        raise FileError(where, f"cannot be loaded by `datasets` ({_reason(error)})", cure) from error
    _check_loaded(loaded, files, cure)
    return loaded


def plain(folder: Path) -> Path:
    """Return a path to a folder whose name `datasets` reads neither as a pattern nor as a chain of addresses.

    To `datasets`, `set[1]` means `set1`, and there is no way to write the name of every folder. So a folder with such
    a name gets a link in the cache of `datasets`, the same one at every call; other folders are returned as they are.

    Raises:
        ValueError: If the cache itself has such a name.
    """
    if not _is_pattern(str(folder.absolute())):
        return folder
    import datasets

    links = Path(datasets.config.HF_DATASETS_CACHE).absolute() / "hf_ambiser_folders"
    if _is_pattern(str(links)):
        raise ValueError(
            f"neither {folder} nor the cache of `datasets` ({links.parent}) may be in a folder whose name holds"
            f" {', '.join(_SPECIAL)}, which `datasets` reads as a pattern. Rename one of them."
        )
    links.mkdir(parents=True, exist_ok=True)
    place = str(folder.absolute())
    link = links / hashlib.sha256(place.encode()).hexdigest()[:16]
    if not link.is_symlink():  # its name says where it leads
        part = link.with_name(f"{link.name}.{os.getpid()}")
        part.symlink_to(place)
        os.replace(part, link)  # other processes may do the same now
    return link


_SPECIAL = ("*", "?", "[", "::")


def _is_pattern(path: str) -> bool:
    return any(special in path for special in _SPECIAL)


# What tells the rows of two builds from each other, without reading the audio.
_COMPARED = ("id", "votes", "label", "duration", "reference_votes")


def _check_loaded(loaded: Dataset, files: Sequence[Path], cure: str) -> None:
    """Check that `datasets` has loaded the rows of these files and of no others, from its cache or anew."""
    if not files:
        return
    columns = [name for name in _COMPARED if name in loaded.column_names]
    found = loaded.select_columns(columns).with_format("arrow")[:].to_pydict()
    if found != read_columns(files, columns, cure).to_pydict():
        raise FileError(
            files[0].parent,
            f"holds other rows than `datasets` has loaded from there ({len(loaded)} rows)",
            "Delete the copy in the cache of `datasets` (HF_DATASETS_CACHE), or give the folder another name.",
        )


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
