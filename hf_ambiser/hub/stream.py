"""Read a data set's files where they lie on the Hub, by ranges of bytes; none of them is kept on this machine."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hf_ambiser.hub.download import DownloadError, reasons
from hf_ambiser.untrusted.names import why_no_name
from hf_ambiser.untrusted.printed import in_one_line


class StreamBroken(ValueError):
    """The connection to the Hub broke in the middle of a file, also when it was tried again."""


@dataclass(frozen=True)
class StreamedRepo:
    """A data set's repository at one commit.

    Args:
        repo_id: `<account>/<name>`.
        commit: Its id, which a branch or tag stands for.
        files: Paths of all files, in order of their names.
    """

    repo_id: str
    commit: str
    files: tuple[str, ...]

    @classmethod
    def of(cls, repo_id: str, revision: str | None) -> StreamedRepo:
        """Ask the Hub what a revision stands for, and which files it has.

        Raises:
            DownloadError: If there is no such repository or revision, or the Hub cannot be reached.
        """
        from huggingface_hub import HfApi

        with reasons(repo_id, revision):
            about = HfApi().dataset_info(repo_id, revision=revision)
        if about.sha is None:
            raise DownloadError(f"the Hub does not say which commit {repo_id} stands at; give a revision")
        return cls(repo_id, about.sha, tuple(sorted(one.rfilename for one in about.siblings or ())))

    def splits(self, subset: str | None, below: str | None) -> dict[str, list[str]]:
        """Return which files belong to which split, as `datasets` finds it from the card or from their names.

        Args:
            subset: Config on the card; None: the only or default one.
            below: Folder that holds the files; None: the repository.

        Raises:
            DownloadError: If the Hub cannot be reached.
            ValueError: If there is no such subset or folder, several subsets and none is asked for, or `datasets`
                finds no data.
        """
        from datasets import load_dataset_builder
        from datasets.exceptions import DatasetsError

        if below is not None:  # `datasets` would ask for one that is not there for a long time
            if why := why_no_name(below, below=True):
                raise ValueError(f"{self.repo_id}: the folder {below!r} {why}; give one that is in the repository.")
            if not any(file.startswith(f"{below}/") for file in self.files):
                raise ValueError(f"{self.repo_id} has no folder {below!r}; leave it out, or give another.")
        try:
            with reasons(self.repo_id, self.commit):
                builder = load_dataset_builder(self.repo_id, subset, data_dir=below, revision=self.commit)
        except (DatasetsError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.repo_id}: {_of_datasets(error)}") from None
        start = f"hf://datasets/{self.repo_id}@{self.commit}/"
        files: Any = builder.config.data_files or {}
        return {str(split): [str(one).removeprefix(start) for one in files[split]] for split in files}

    def open(self, path: str, ahead: int) -> io.BufferedReader:
        """Open a file.

        Args:
            path: Its path in the repository.
            ahead: Bytes that are asked for at a time, as long as no more are needed.

        Raises:
            DownloadError: If there is no such file, or the Hub cannot be reached.
        """
        with reasons(self.repo_id, self.commit):
            file = self._file_system.open(f"datasets/{self.repo_id}@{self.commit}/{path}", cache_type="none")
        return io.BufferedReader(_Ranges(file, f"{self.repo_id}: {path}"), ahead)

    @cached_property
    def _file_system(self) -> Any:
        from huggingface_hub import HfFileSystem

        return HfFileSystem()


class _Ranges(io.RawIOBase):
    """A file of the Hub, of which each call fetches what it asks for."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:  # of the Hub, of the system, or of one of several HTTP libraries
            raise StreamBroken(
                f"{self._name} cannot be read from the Hub any further ({in_one_line(error)}). What is whole is kept:"
                " give the same command again when the Hub can be reached."
            ) from error
        buffer[: len(data)] = data
        return len(data)


def _of_datasets(error: Exception) -> str:
    """What `datasets` says, in one line and without its own Python."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("Example of usage", "`load_dataset"))]
    return " ".join(kept)[:300] + (" (--subset)" if "onfig" in str(error) else "")
