"""Audio files of a CREMA-D folder whose names are no utterance's: the nearly right ones are listed, others counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hf_ambiser.data.crema_d.votes_table import UTTERANCE
from hf_ambiser.data.schema import Listed


# Four digits with a word behind them are meant to be an utterance's name (`1040_ITH_SAD_X`).
_NEARLY = re.compile(r"\d{4}[ _.-]?[A-Za-z]{2,}.*", re.ASCII)


def misnamed_audio(files: Iterable[Path], root: Path, notes: list[str]) -> list[Listed]:
    """List the audio files whose names are nearly an utterance's, and count the others in a note.

    Args:
        files: All audio files of the release.
        root: The release's top folder.
        notes: Gets the remark.
    """
    listed: list[Listed] = []
    others: list[str] = []
    for path in files:
        if UTTERANCE.fullmatch(path.stem):
            continue
        place = path.relative_to(root).as_posix()
        if _NEARLY.fullmatch(path.stem):
            wrong = f"{path.stem!r} is not <actor>_<sentence>_<emotion>_<level>"
            listed.append(Listed(path.stem, "malformed_id", wrong, place))
        else:
            others.append(place)
    if others:
        shown = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        notes.append(f"{len(others)} audio files are named as no utterance and left aside: {shown}")
    return listed


def nearly_named(listed: list[Listed]) -> Mapping[str, Listed]:
    """Return utterance -> the misnamed file that is probably its: the same name but for its end."""
    return {item.id.rpartition("_")[0]: item for item in listed}
