"""What `predict` takes: paths, folders, bytes, file objects, arrays, or a list of them, as recordings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording


# Which files of a folder are recordings. A file that is named itself is opened whatever its ending is.
BY_LIBSNDFILE = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64")
BY_FFMPEG = (".m4a", ".mp4", ".webm", ".aac", ".wma", ".amr", ".3gp", ".mka", ".mkv", ".mov")
SUFFIXES = BY_LIBSNDFILE + BY_FFMPEG
_ALLOWED = (
    "a path, encoded bytes, a binary file object, an array with its sampling_rate,"
    ' {"array": ..., "sampling_rate": ...}, or a list of these'
)


def recordings_of(inputs: Any, sampling_rate: int | None = None) -> list[Recording]:
    """Return the recordings of one input or a list of inputs, in their order; those of a folder by name.

    Args:
        inputs: See `predict`.
        sampling_rate: Of the arrays, in Hz.

    Raises:
        ValueError: If an input is none of what is allowed, an array has no sampling rate, or `sampling_rate` is given
            and there is no array that it belongs to.
    """
    many = isinstance(inputs, list | tuple) or _is_iterator(inputs)
    items = list(inputs) if many else [inputs]
    if sampling_rate is not None and not any(hasattr(item, "__array__") for item in items):
        raise ValueError(
            f"sampling_rate is {sampling_rate}, and no input is an array; all others say their rate. Leave it out."
        )
    return [one for i, item in enumerate(items) for one in _of(item, i, sampling_rate)]


def _is_iterator(inputs: Any) -> bool:
    return isinstance(inputs, Iterator) and not hasattr(inputs, "read")


def _of(item: Any, index: int, sampling_rate: int | None) -> Iterator[Recording]:
    if isinstance(item, Recording):
        yield item
    elif isinstance(item, str | Path):
        yield from _of_path(item)
    elif isinstance(item, bytes | bytearray | memoryview):
        yield Recording(f"bytes {index}", bytes(item))
    elif isinstance(item, Mapping):
        array = item.get("array", item.get("raw"))
        if array is None or not item.get("sampling_rate"):
            raise ValueError(
                f'input {index} has the keys {sorted(map(str, item))}; allowed: "array", "sampling_rate".'
            )
        yield _of_array(array, index, item["sampling_rate"])
    elif hasattr(item, "read"):
        if isinstance(item.read(0), str):
            raise ValueError(f"input {index} is a file object of text; open it in binary mode (`rb`).")
        name = getattr(item, "name", None)
        yield Recording(shown(name) if isinstance(name, str | Path) else f"file {index}", item)
    elif getattr(item, "shape", None) == ():
        raise ValueError(f"input {index} is one number; give samples as an array, not as a list of numbers.")
    elif hasattr(item, "__array__"):
        yield _of_array(item, index, sampling_rate)
    else:
        raise ValueError(f"input {index} is of type {type(item).__name__}; allowed: {_ALLOWED}.")


def _of_array(array: Any, index: int, sampling_rate: Any) -> Recording:
    if sampling_rate is None:
        raise ValueError(f"input {index} is an array and has no sampling rate; give sampling_rate in Hz.")
    rate = float(sampling_rate) if isinstance(sampling_rate, Real) else 0.0
    if rate < 1 or not rate.is_integer():
        raise ValueError(f"sampling_rate is {sampling_rate!r}; allowed: a whole number of Hz, of at least 1.")
    return Recording(f"array {index}", np.asarray(array), int(rate))


def _of_path(given: str | Path) -> Iterator[Recording]:
    path, name = Path(given), shown(given)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(given)) and not os.path.exists(path):
        yield Recording(name, NoAudio("unreadable", "it is an address, and nothing is fetched; give a file"))
    elif os.path.isdir(path):  # Path.is_dir raises below a folder that may not be entered
        yield from _of_folder(path)
    else:
        yield Recording(name, path)


def files_below(folder: Path, suffixes: tuple[str, ...]) -> tuple[list[str], list[Recording]]:
    """List the files below a folder that have one of some endings, by name, and the folders that cannot be read.

    Links to folders are followed. No folder is searched twice, so a link to a folder above ends nowhere. Names that
    begin with a dot are left out, as `ls` leaves them out.

    Returns:
        The files' paths as texts, which take less memory than objects; and a recording without audio for each folder
        that cannot be read.
    """
    seen: set[str] = set()
    closed: list[OSError] = []
    found: list[str] = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=closed.append):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(place, name)
            for name in sorted(files)
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
        ]
    return found, [_closed(error, folder) for error in closed]


def kinds_of(paths: Iterable[str]) -> dict[str, list[str]]:
    """Divide paths into "recordings", "tars" and "Parquet files"; what has another ending is in none of them."""
    kinds: dict[str, list[str]] = {"recordings": [], "tars": [], "Parquet files": []}
    endings = {**dict.fromkeys(SUFFIXES, "recordings"), ".tar": "tars", ".parquet": "Parquet files"}
    for path in paths:
        if (kind := endings.get(os.path.splitext(path)[1].lower())) is not None:
            kinds[kind].append(path)
    return kinds


def _closed(error: OSError, folder: Path) -> Recording:
    why = f"the folder cannot be read ({error.strerror or type(error).__name__})"
    return Recording(shown(error.filename or folder), NoAudio("unreadable", why))


def _of_folder(folder: Path) -> Iterator[Recording]:
    """Yield a row for each folder that cannot be read, and the recordings below a folder by name."""
    found, closed = files_below(folder, SUFFIXES)
    yield from closed
    if not found and not closed:
        few, others = ", ".join(BY_LIBSNDFILE[:6]), len(SUFFIXES) - 6
        why = f"the folder holds no audio: no file below it ends with {few} or one of {others} other endings"
        yield Recording(shown(folder), NoAudio("unreadable", why))
    for path in found:
        yield Recording(shown(path), Path(path))


def shown(name: str | Path) -> str:
    """A file's name as text that every output can hold; bytes that are no UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
