"""Publish an annotated corpus on the Hub: shards, table of what was not answered, manifest and card; no audio."""

from __future__ import annotations

import re
from pathlib import Path

from hf_ambiser.files.read import read_card
from hf_ambiser.hub.push import Publication, Pushed, PushError, PushOptions, push
from hf_ambiser.inference.annotation_card import annotation_card
from hf_ambiser.inference.annotation_folder import DATA, MANIFEST, NOT_ANSWERED, AnnotationFolder
from hf_ambiser.untrusted.links import refuse_links


_OWNED = re.compile(rf"{DATA}/annotated-.+\.parquet|{re.escape(NOT_ANSWERED)}|{re.escape(MANIFEST)}")


def push_annotation(path: Path | str, repo_id: str, options: PushOptions | None = None) -> Pushed:
    """Publish what `annotate` wrote; `hub.push.push` lists more errors.

    Raises:
        PushError: If the job is not finished.
        FileError: If a file is not the one that was written.
        LinkError: If one of the files is a link.
        LeakError: If names of recordings hold a path of this machine, for example from a list with absolute paths.
    """
    return push(annotation_publication(Path(path)), repo_id, options)


def annotation_publication(path: Path) -> Publication:
    """Collect the files and the card of a finished job.

    Raises:
        PushError: If the job is not finished.
        FileError: If a file is not the one that was written.
        LinkError: If one of the files is a link.
    """
    folder = AnnotationFolder(path)
    if not folder.is_finished:
        raise PushError(f"{path} is not finished. Give the `annotate` command that began it once more, then push.")
    manifest = folder.read()
    refuse_links(path, [*path.glob(f"{DATA}/*"), folder.manifest, folder.not_answered, folder.card])
    files = list(folder.files())
    return Publication(
        files={file.relative_to(path).as_posix(): file for file in files},
        card=lambda repo_id, revision: annotation_card(manifest, repo_id, revision),
        edited=read_card(folder.card),
        message=f"{manifest['source']['name']}, annotated by {manifest['model']['name']}",
        repo_type="dataset",
        owned=lambda name: _OWNED.fullmatch(name) is not None,
    )
