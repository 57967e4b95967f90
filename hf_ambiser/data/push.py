"""Publish a built data set on the Hub: Parquet files, build report, what is left out, its speakers, and the card."""

from __future__ import annotations

import re
from pathlib import Path

from hf_ambiser.data.build import CARD, LISTED, REPORT
from hf_ambiser.data.card import dataset_card
from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.data.speakers import SPEAKERS
from hf_ambiser.files.read import read_card
from hf_ambiser.hub.push import Publication, Pushed, PushError, PushOptions, push


_OWNED = re.compile(rf".+\.parquet|{re.escape(REPORT)}|{re.escape(LISTED)}|{re.escape(SPEAKERS)}")


def push_dataset(folder: Path | str, repo_id: str, options: PushOptions | None = None) -> Pushed:
    """Publish a data set that `build()` made; `hub.push.push` lists more errors.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
        PushError: Also if the corpus' licence forbids passing it on and the repository is not private.
    """
    return push(dataset_publication(Path(folder)), repo_id, options)


def dataset_publication(folder: Path) -> Publication:
    """Collect the files and the card of a built data set.

    Raises:
        FileNotFoundError: If the folder is not a built data set.
        PushError: If this package does not know the corpus, and so does not know what its licence allows.
    """
    report = read_dataset_info(folder)
    name = report["corpus"]
    if name not in available_corpora():
        raise PushError(
            f"{folder} was built from {name!r}, whose licence this package does not know; it knows"
            f" {available_corpora()}. Add hf_ambiser/data/corpora/{name}.py first."
        )
    corpus = load_corpus(name)
    paths = [*sorted(folder.rglob("*.parquet")), folder / REPORT, folder / LISTED, *folder.glob(SPEAKERS)]
    card = folder / CARD
    return Publication(
        files={path.relative_to(folder).as_posix(): path for path in paths},
        card=lambda repo_id, revision: dataset_card(report, corpus, repo_id, revision),
        edited=read_card(card),
        message=f"{name}, policy {report['policy']['name']}, content {report['content']}",
        repo_type="dataset",
        owned=lambda path: _OWNED.fullmatch(path) is not None,
        private_because="" if corpus.REDISTRIBUTABLE else corpus.TERMS,
    )
