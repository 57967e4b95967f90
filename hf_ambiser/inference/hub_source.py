"""A data set that is streamed from the Hub, as a source to annotate: no file of it is kept on this machine.

`datasets` says which files are in which split. They are read at their places by ranges of bytes, so that each input
can be had without those before it, and a job that is killed goes on where it was. A commit is chosen once and written
into the manifest, because a branch may move in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hf_ambiser.files.read import open_parquet
from hf_ambiser.hub.address import HUB, DatasetAddress
from hf_ambiser.hub.stream import StreamedRepo
from hf_ambiser.inference.dataset_source import CURE, OF_A_BUILD, ParquetSource
from hf_ambiser.inference.inputs import kinds_of, shown
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording
from hf_ambiser.inference.tar_source import TarSource


if TYPE_CHECKING:
    import pyarrow.parquet as pq

# Bytes that are fetched at a time for what is small: the end of a Parquet file, and the headers of a tar.
_AHEAD = 2**16


class Streamed:
    """A source on the Hub.

    Args:
        repo: Its repository, at the commit that is annotated.
    """

    repo: StreamedRepo


class StreamedParquet(Streamed, ParquetSource):
    """Rows of Parquet files on the Hub; see `ParquetSource`."""

    kind = "data set (Parquet, streamed from the Hub)"

    def __init__(self, repo: StreamedRepo, paths: list[str]) -> None:
        self.repo = repo
        super().__init__(Path(repo.repo_id), paths, OF_A_BUILD in repo.files)

    @contextmanager
    def _open(self, path: str) -> Iterator[pq.ParquetFile]:
        with self.repo.open(path, _AHEAD) as stream, open_parquet(self._root / path, CURE, stream) as file:
            yield file

    def _audio(self, value: Mapping[str, Any] | None, path: str) -> bytes | NoAudio:
        # A path in somebody's data set would be one of this machine.
        data = (value or {}).get("bytes")
        return NoAudio("unreadable", "the row holds no audio, at most a path") if data is None else bytes(data)


class StreamedTars(Streamed, TarSource):
    """Members of tars on the Hub; see `TarSource`. To list them, the headers of each tar are read once."""

    kind = "tar archives (streamed from the Hub)"

    def __init__(self, repo: StreamedRepo, paths: list[str]) -> None:
        self.repo = repo
        super().__init__(Path(repo.repo_id), paths)

    def _open(self, path: str) -> IO[bytes]:
        return self.repo.open(path, _AHEAD)


class StreamedFiles(Streamed):
    """Recordings that are files on the Hub, each of them fetched when it is heard."""

    kind = "recordings (streamed from the Hub)"

    def __init__(self, repo: StreamedRepo, paths: list[str]) -> None:
        self.repo, self._paths = repo, paths
        self.left_out: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def names(self) -> Iterator[str]:
        """See `Source`."""
        yield from map(shown, self._paths)

    def recordings(self, start: int, stop: int) -> Iterator[Recording]:
        """See `Source`."""
        for path in self._paths[start:stop]:
            with self.repo.open(path, _AHEAD) as file:
                yield Recording(shown(path), file.read())


def open_streamed(given: str, subset: str | None, split: str | None) -> StreamedParquet | StreamedTars | StreamedFiles:
    """Open a data set of the Hub, and list its inputs.

    Args:
        given: `hf://datasets/ACCOUNT/NAME[@REVISION][/FOLDER]`.
        subset: See `annotate`.
        split: See `annotate`.

    Raises:
        DownloadError: If it cannot be had.
        StreamBroken: If the connection breaks in between.
        ValueError: If the address is none, there is no such folder, subset or split, or the data set holds inputs of
            several kinds, or none. As a FileError, if a file cannot be used.
    """
    address = DatasetAddress.of(given)
    repo = StreamedRepo.of(address.repo, address.revision)
    if OF_A_BUILD in repo.files and (subset, split, address.below) == (None, None, None):
        paths = [path for path in repo.files if path.endswith(".parquet")]
    else:
        splits = repo.splits(subset, address.below)
        if split is not None and split not in splits:
            raise ValueError(f"--split {split}: {given} has none of that name; it has {', '.join(splits)}.")
        paths = [path for name, files in splits.items() if split in (None, name) for path in files]
    kinds = {kind: files for kind, files in kinds_of(paths).items() if files}
    if len(kinds) > 1:
        there = " and ".join(f"{len(files)} {kind}" for kind, files in kinds.items())
        raise ValueError(f"{given} holds {there}; give a folder of it that holds one of these alone.")
    if not kinds:
        raise ValueError(
            f"{given} holds no Parquet files, tars or recordings. The Hub itself keeps most data sets as Parquet"
            f" files, too: {HUB}{repo.repo_id}@refs/convert/parquet"
        )
    ((kind, files),) = kinds.items()
    opened: StreamedParquet | StreamedTars | StreamedFiles
    if kind == "Parquet files":
        opened = StreamedParquet(repo, files)
    else:
        opened = StreamedTars(repo, files) if kind == "tars" else StreamedFiles(repo, files)
    if others := len(paths) - len(files):
        opened.left_out["files that are no recordings"] = others
    if len(opened) == 0:
        raise ValueError(f"{given} holds no row to annotate.")
    return opened
