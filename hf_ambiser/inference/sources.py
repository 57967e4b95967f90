"""What a corpus is annotated from: a folder, a list of paths, tars, or a data set, as an ordered list of inputs."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from hf_ambiser.files.read import exists, read_text
from hf_ambiser.hub.address import HUB
from hf_ambiser.inference.dataset_source import OF_A_BUILD, ArrowSource, ParquetSource
from hf_ambiser.inference.hub_source import open_streamed
from hf_ambiser.inference.inputs import SUFFIXES, files_below, kinds_of, shown
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording
from hf_ambiser.inference.tar_source import TarSource


_ALLOWED = (
    "a folder of recordings, a text file with a path in each line, a .tar file or a folder of them (WebDataset),"
    f" the folder of a data set (Parquet files, or what `save_to_disk` wrote), or {HUB}ACCOUNT/NAME"
)


class Source(Protocol):
    """An ordered list of inputs. All processes, on any machine, see the same list.

    Args:
        kind: In a word or two, for the manifest.
        left_out: What the source holds beside the inputs -> how many.
    """

    kind: str
    left_out: dict[str, int]

    def __len__(self) -> int: ...

    def names(self) -> Iterator[str]:
        """Yield the name of each input; no name holds the place of the source on this machine."""

    def recordings(self, start: int, stop: int) -> Iterator[Recording]:
        """Yield the inputs from `start` up to `stop`, each read only now."""


class FileSource:
    """Files by their paths, and what is known beforehand to be no file.

    Args:
        kind: See `Source`.
        root: Folder that the paths begin at.
        paths: Path of each input, relative to `root` or absolute; its name, too.
        problems: Inputs without audio, which come first.
    """

    def __init__(self, kind: str, root: Path, paths: list[str], problems: list[Recording]) -> None:
        self.kind = kind
        self.left_out: dict[str, int] = {}
        self._root, self._paths, self._problems = root, paths, problems

    def __len__(self) -> int:
        return len(self._problems) + len(self._paths)

    def names(self) -> Iterator[str]:
        """See `Source`."""
        yield from (problem.name for problem in self._problems)
        yield from map(shown, self._paths)

    def recordings(self, start: int, stop: int) -> Iterator[Recording]:
        """See `Source`."""
        yield from self._problems[start:stop]
        first = len(self._problems)
        for path in self._paths[max(0, start - first) : max(0, stop - first)]:
            where = self._root / path
            folder = NoAudio("unreadable", "it is a folder, and an input is a file") if where.is_dir() else None
            yield Recording(shown(path), folder or where)


def open_source(given: Path | str, subset: str | None = None, split: str | None = None) -> Source:
    """Open a source, and list its inputs.

    Args:
        given: See `annotate`.
        subset: See `annotate`.
        split: See `annotate`.

    Raises:
        ValueError: If it is none of what is allowed, holds inputs of several kinds, or none at all.
        DownloadError: If a data set of the Hub cannot be had.
    """
    if str(given).startswith(HUB):
        return open_streamed(str(given), subset, split)
    for option, value in (("subset", subset), ("split", split)):
        if value is not None:
            raise ValueError(
                f"--{option} {value} is for a data set of the Hub ({HUB}ACCOUNT/NAME), and {given} is none; give the"
                " folder or file that is to be annotated."
            )
    path = Path(given)
    if not exists(path):
        raise ValueError(f"source {given}: there is no such file or folder; allowed: {_ALLOWED}.")
    source = _of_folder(path) if path.is_dir() else _of_file(path)
    if len(source) == 0:
        raise ValueError(f"source {given} holds nothing to annotate; allowed: {_ALLOWED}.")
    return source


def digest_of(source: Source) -> str:
    """Return 16 hex digits over the names of a source's inputs in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for name in source.names():
        digest.update(f"{name}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _of_file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".tar":
        return TarSource(path.parent, [path.name])
    if suffix == ".parquet":
        return ParquetSource(path.parent, [path.name], exists(path.parent / OF_A_BUILD))
    if suffix in SUFFIXES:
        raise ValueError(
            f"source {path} is one recording; `hf-ambiser predict {shlex.quote(str(path))}` answers for it."
        )
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".gz")):
        raise ValueError(f"source {path} is compressed, so nothing can be read from its middle; unpack it first.")
    lines = read_text(path, "Give a text file with a path in each line.").splitlines()
    # Relative to the list itself, so that it does not matter where the command is given.
    return FileSource("list of paths", path.parent, [line.strip() for line in lines if line.strip()], [])


def _of_folder(folder: Path) -> Source:
    if exists(folder / "dataset_dict.json") or exists(folder / "state.json"):
        return ArrowSource(folder)
    found, problems = files_below(folder, (*SUFFIXES, ".tar", ".parquet"))
    kinds = kinds_of(os.path.relpath(path, folder) for path in found)
    if len(there := [f"{len(paths)} {kind}" for kind, paths in kinds.items() if paths]) > 1:
        raise ValueError(f"source {folder} holds {' and '.join(there)}; give a folder that holds one of these alone.")
    if problems and not found:
        raise ValueError(f"source {folder}: {problems[0].name} cannot be read; give yourself the right to read it.")
    if kinds["tars"]:
        return TarSource(folder, kinds["tars"])
    if kinds["Parquet files"]:
        return ParquetSource(folder, kinds["Parquet files"], exists(folder / OF_A_BUILD))
    named = [Recording(os.path.relpath(one.name, folder), one.content) for one in problems]
    return FileSource("folder", folder, kinds["recordings"], named)
