"""Publish a built data set on the Hub: Parquet files, build report, what is left out, its speakers, and the card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hf_ambiser.data.build import CARD, KEPT_METADATA, LISTED, REPORT
from hf_ambiser.data.card import dataset_card
from hf_ambiser.data.corpora import available_corpora
from hf_ambiser.data.intensities import INTENSITIES
from hf_ambiser.data.loading import cure_of, dataset_files, read_dataset_info
from hf_ambiser.data.parquet_files import content_digest
from hf_ambiser.data.ratings.corpus_facts import known_corpus
from hf_ambiser.data.speakers import SPEAKERS
from hf_ambiser.files.read import in_use, read_card
from hf_ambiser.hub.edits import Card
from hf_ambiser.hub.push import Publication, Pushed, PushError, PushOptions, push
from hf_ambiser.untrusted.links import refuse_links


_BESIDE = (REPORT, LISTED, SPEAKERS, INTENSITIES)
_OWNED = re.compile(rf".+\.parquet|{'|'.join(map(re.escape, _BESIDE))}")


def push_dataset(folder: Path | str, repo_id: str, options: PushOptions | None = None) -> Pushed:
    """Publish a data set that `build()` made; `hub.push.push` lists more errors.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
        PushError: Also if the corpus' licence forbids passing it on and the repository is not private.
        LinkError: If one of its files is a link.
    """
    return push(dataset_publication(Path(folder)), repo_id, options)


def dataset_publication(folder: Path) -> Publication:
    """Collect the files and the card of a built data set.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
        LinkError: If one of its files is a link.
        PushError: If this package does not know the corpus, and so does not know what its licence allows; or if the
            Parquet files are not those that were built.
    """
    report = read_dataset_info(folder)
    name, corpus = report["corpus"], known_corpus(report)
    if corpus is None:
        raise PushError(
            f"{folder} was built from {name!r}, whose licence this package does not know; it knows"
            f" {available_corpora()}. Add hf_ambiser/data/corpora/{name}.py first."
        )
    card = folder / CARD
    paths = [
        *_parquet(folder, report),
        folder / REPORT,
        folder / LISTED,
        *folder.glob(SPEAKERS),
        *folder.glob(INTENSITIES),
    ]
    refuse_links(folder, [*paths, card])

    def card_of(repo_id: str, revision: str) -> Card:
        with in_use(folder / REPORT, cure_of(folder)):
            return dataset_card(report, corpus, repo_id, revision)

    return Publication(
        files={path.relative_to(folder).as_posix(): path for path in paths},
        card=card_of,
        edited=read_card(card),
        message=f"{name}, policy {report['policy']['name']}, content {report['content']}",
        repo_type="dataset",
        owned=lambda path: _OWNED.fullmatch(path) is not None,
        private_because="" if corpus.REDISTRIBUTABLE else corpus.TERMS,
        audio_metadata=bool(report.get(KEPT_METADATA)),
    )


def _parquet(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Return the Parquet files of all splits.

    Raises:
        LinkError: If one of them is a link.
        PushError: If there are others, or if their content is not the one that was built.
        FileError: If one cannot be read.
    """
    there = sorted(folder.rglob("*.parquet"))
    built = set(dataset_files(folder, report))
    refuse_links(folder, sorted({*there, *built}))
    strange = [path.relative_to(folder).as_posix() for path in there if path not in built]
    if strange:
        raise PushError(
            f"{folder} holds Parquet files of which {REPORT} knows nothing: {', '.join(strange[:3])}. A push publishes"
            " only what the build wrote; move them away, or build the data set again."
        )
    found = content_digest(folder)
    if found != report["content"]:
        raise PushError(
            f"the Parquet files in {folder} are not those that were built, or an older hf_ambiser built them: their"
            f" content is {found}, and {REPORT} says {report['content']}. Build the data set again (--overwrite)."
        )
    return there
