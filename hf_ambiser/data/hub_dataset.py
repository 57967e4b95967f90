"""Find the folder of a data set: one on this machine, or one that this package pushed to the Hub.

A name `ACCOUNT/NAME` or `ACCOUNT/NAME@REVISION` is looked for on the Hub if there is no such folder here. A name whose
first part is a folder here, or `data` (where the package's own configs build), is always one of this machine, so that
nobody asks the network for a folder that is missing.
"""

from __future__ import annotations

import re
from pathlib import Path

from hf_ambiser.data.parquet_files import content_digest
from hf_ambiser.data.place import REPORT
from hf_ambiser.files.read import FileError, exists, read_json
from hf_ambiser.hub.download import DownloadError, download_dataset


_ON_THE_HUB = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w-][\w.-]*))?", re.ASCII)
_OURS = "data"
# What a push of a data set publishes.
_FILES = ("*.parquet", REPORT, "*.csv", "README.md")


def on_the_hub(dataset: Path | str) -> bool:
    """Whether a name is looked for on the Hub."""
    path = Path(dataset)
    named = _ON_THE_HUB.fullmatch(str(dataset)) is not None
    return named and path.parts[0] != _OURS and not exists(path) and not exists(path.parent)


def dataset_folder(dataset: Path | str, *, cached: bool = False) -> Path:
    """Return the folder of a data set; one of the Hub is downloaded into the cache of huggingface_hub and checked.

    Args:
        dataset: Folder, `ACCOUNT/NAME` or `ACCOUNT/NAME@REVISION`.
        cached: Take one of the Hub from the cache alone, without any request.

    Raises:
        DownloadError: A FileNotFoundError: if it is neither here nor on the Hub, or is no data set that this package
            pushed.
        FileError: If its files are not those that were built.
    """
    name = str(dataset)
    if name not in _DOWNLOADED:
        if not on_the_hub(dataset):
            return Path(dataset)
        _DOWNLOADED[name] = _download(name, cached)
    return _DOWNLOADED[name]


# A process sees one state of a repository, and checks its files once.
_DOWNLOADED: dict[str, Path] = {}


def why_not_on_the_hub(dataset: Path | str) -> str:
    """Say why a name that could be one of the Hub was taken for a folder; "" if it could not."""
    path = Path(dataset)
    if _ON_THE_HUB.fullmatch(str(dataset)) is None or path.parts[0] == _OURS or not exists(path.parent):
        return ""
    return f". It was not looked for on the Hub, because a folder {path.parent} is here"


def _download(name: str, cached: bool) -> Path:
    match = _ON_THE_HUB.fullmatch(name)
    assert match is not None
    try:
        folder = download_dataset(match["repo"], match["revision"], _FILES, cached=cached)
    except DownloadError as error:
        raise DownloadError(
            f"{name} does not exist as a folder, and cannot be had from the Hub: {error}. Or build it: hf-ambiser"
            f" build <corpus> --root RELEASE --out {name}"
        ) from None
    report, page = folder / REPORT, f"https://huggingface.co/datasets/{match['repo']}"
    if not exists(report):
        raise DownloadError(
            f"{name} on the Hub holds no {REPORT}, so it is not a data set that hf_ambiser pushed ({page}). Build one"
            f" from its ratings and audio: hf-ambiser build --ratings hf://datasets/{match['repo']} --out DIR"
        )
    cure = f"Choose another revision ({name.partition('@')[0]}@REVISION), or ask its owner to push it again ({page})."
    said, found = read_json(report, cure).get("content"), content_digest(folder, cure)
    if said != found:
        raise FileError(report, f"says that the content is {said!r:.30}, and its Parquet files are {found}", cure)
    return folder
