"""CREMA-D (Cao et al. 2014): 91 actors, rated by anonymous crowd workers who heard the voice, saw the face, or both.

By default only the votes of raters who heard the voice alone are used.

The parser reads `processedResults/tabulatedVotes.csv`, `VideoDemographics.csv` if there is one, and the audio files.
It finds these by name in any folder below the root, with any usual ending (the release has
`AudioWAV/<utterance>.wav`).
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.data.audio_copies import recordings_by_name
from hf_ambiser.data.schema import CorpusScan, Listed, Rating, Utterance


NAME = "crema_d"
POLICY = "crema-d-6"
GROUP = "speaker"
LICENSE = "Open Database License (ODbL) 1.0 for the database, Database Contents License (DbCL) 1.0 for its contents"
LICENSE_ID = "odbl"
TERMS = (
    "Whoever passes the database on, changed or not, must name it and keep it under the same licence; commercial use"
    " is not forbidden."
)
REDISTRIBUTABLE = True
# Kind of rating -> what its raters did. The first one is the default.
RATINGS = {
    "voice": "heard the voice alone",
    "face": "saw the face alone",
    "voice_and_face": "heard the voice and saw the face",
}


def speech(ratings: Sequence[str]) -> str:
    """Who speaks, and who rated, if these kinds of ratings count."""
    raters = "; others ".join(RATINGS[kind] for kind in RATINGS if kind in ratings)
    return (
        "acted English: actors in the United States (91 in the whole corpus: 48 men, 43 women, 20 to 74"
        f" years old) say twelve fixed sentences in six emotions, in a studio; the raters are crowd workers who"
        f" {raters}"
    )


SPEECH = speech(["voice"])
LANGUAGE = "en"
HOMEPAGE = "https://github.com/CheyneyComputerScience/CREMA-D"
CITATION = """@article{cao2014cremad,
  author  = {Cao, Houwei and Cooper, David G. and Keutmann, Michael K. and Gur, Ruben C. and
             Nenkova, Ani and Verma, Ragini},
  title   = {{CREMA-D}: Crowd-Sourced Emotional Multimodal Actors Dataset},
  journal = {IEEE Transactions on Affective Computing},
  volume  = {5},
  number  = {4},
  pages   = {377--390},
  year    = {2014}
}"""

VOTES = Path("processedResults", "tabulatedVotes.csv")
DEMOGRAPHICS = Path("VideoDemographics.csv")
# The vote columns and the labels that they stand for.
CODES = {"A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness"}
# The first digit of a row's id says what the raters were shown: the kind of its ratings, and the row's name in notes.
KINDS = {"1": "voice", "2": "face", "3": "voice_and_face"}
ROWS = {"voice": "voice only", "face": "face only", "voice_and_face": "voice and face"}
DEFAULT = ("voice",)
# If an utterance has several audio files, the first of these folders of the release and of these endings is used.
FOLDERS = ("AudioWAV", "AudioMP3")
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_UTTERANCE = re.compile(r"\b(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{2,3})\b")
_ID = re.compile(r"[123]\d{5}")


def scan(root: Path, *, ratings: Sequence[str] = DEFAULT) -> CorpusScan:
    """Read the release below `root`.

    Every utterance has the votes of all rows of these kinds. `count_in` counts the utterances with such a row, the
    rows that are listed and the audio files without a row. The scan lists rows that cannot be read, second rows of an
    utterance, utterances without audio and audio without a row; rows of other kinds are counted in a note.

    Args:
        root: The release's top folder.
        ratings: Kinds of ratings, keys of `RATINGS`. If they are not the default, each rating has its `kind`, and a
            note counts the votes of every kind.

    Raises:
        FileNotFoundError: If the folder or its `processedResults/tabulatedVotes.csv` is missing.
        ValueError: If the CSV lacks a required column, or there is no such kind of ratings.
    """
    root, kinds = Path(root), tuple(kind for kind in RATINGS if kind in ratings)
    if not kinds or set(ratings) - set(kinds):
        raise ValueError(f"CREMA-D: ratings={tuple(ratings)} must be one or more of {list(RATINGS)}.")
    if not (root / VOTES).is_file():
        what = f"{root} is not a folder" if not root.is_dir() else f"{root} holds no {VOTES}"
        raise FileNotFoundError(
            f"CREMA-D not found: {what}. Point --root (or CREMA_D_ROOT) at the release's top folder, the one with"
            f" {VOTES} and AudioWAV/."
        )
    notes: list[str] = []
    audio, unclear = recordings_by_name(_audio_files(root), root, FOLDERS, SUFFIXES, notes)
    people = _demographics(root, notes)
    votes, listed = _read_votes(root, kinds, notes)

    utterances, mentioned = [], set(votes) | {item.id for item in listed}
    for name, rows in votes.items():
        if name in unclear:
            listed.append(Listed(name, "ambiguous_audio", unclear[name], next(iter(rows.values()))[1]))
            continue
        if name not in audio:
            source = next(iter(rows.values()))[1]
            listed.append(Listed(name, "label_without_audio", f"no {name}.* below the root", source))
            continue
        actor, sentence, intended, level = name.split("_")
        utterances.append(
            Utterance(
                id=name,
                speaker=actor,
                session="",
                corpus=NAME,
                ratings=[rating for kind in kinds if kind in rows for rating in _ratings(rows[kind][0], kind, kinds)],
                audio_path=audio[name],
                extra={"sentence": sentence, "intended": intended, "level": level, **people.get(actor, {})},
                about_speaker=people.get(actor, {}),
            )
        )
    row = f"{' or '.join(ROWS[kind] for kind in kinds)} row" if kinds != DEFAULT else "voice-only row"
    for name in sorted(set(audio) - mentioned):
        listed.append(Listed(name, "audio_without_label", f"no {row}", audio[name].relative_to(root).as_posix()))
    for kind in kinds:
        if lacking := sum(kind not in votes[utterance.id] for utterance in utterances):
            notes.append(f"{lacking} utterances have no {ROWS[kind]} row that can be used, so fewer votes")
    utterances.sort(key=lambda u: u.id)
    return CorpusScan(NAME, utterances, listed, notes, len(utterances) + len(listed))


def _ratings(counts: list[int], kind: str, kinds: tuple[str, ...]) -> list[Rating]:
    """Make one rating of each vote of a row. Its kind is left out where only the default kind is read."""
    said = kind if kinds != DEFAULT else ""
    return [
        Rating(None, (label,), kind=said) for label, n in zip(CODES.values(), counts, strict=True) for _ in range(n)
    ]


# Kind of rating -> votes per code, and the place of the row.
Rows = dict[str, tuple[list[int], str]]


def _read_votes(root: Path, kinds: tuple[str, ...], notes: list[str]) -> tuple[dict[str, Rows], list[Listed]]:
    """Read utterance -> its rows of these kinds, and the rows of these kinds that cannot be used."""
    votes: dict[str, Rows] = {}
    listed: list[Listed] = []
    aside: Counter[str] = Counter()
    n_votes: Counter[str] = Counter()
    with open(root / VOTES, newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in (*CODES, "fileName", "numResponses") if name not in header]
        if missing:
            raise ValueError(f"{VOTES} lacks the column(s) {missing}; its header is {header}.")
        column = {name: i for i, name in enumerate(header)}
        for row in reader:
            if not row:
                continue
            source = f"{VOTES.as_posix()}:{reader.line_num}"
            kind = KINDS[row[0][0]] if _ID.fullmatch(row[0]) else ""
            problem, counts = _parse(row, kind, column)
            if kind and kind not in kinds:
                aside[kind] += 1
                n_votes[kind] += sum(counts)
                continue
            found = _UTTERANCE.search(",".join(row))
            name = found.group(0) if found else source
            if problem:
                listed.append(Listed(name, "malformed_line", problem, source))
            elif kind in votes.get(name, {}):
                first, place = votes[name][kind]
                same = "the same votes" if first == counts else "other votes"
                listed.append(Listed(name, "duplicate_label", f"{same} as in {place}, which is used", source))
            else:
                votes.setdefault(name, {})[kind] = (counts, source)
                n_votes[kind] += sum(counts)
    notes.extend(f"{aside[kind]} {name} rows left aside" for kind, name in ROWS.items() if aside[kind])
    if kinds != DEFAULT:
        told = (f"{n_votes[kind]} {ROWS[kind]} ({'counted' if kind in kinds else 'left aside'})" for kind in ROWS)
        notes.append(f"votes in the rows that can be read: {', '.join(told)}")
    return votes, listed


def _parse(row: list[str], kind: str, column: dict[str, int]) -> tuple[str, list[int]]:
    """Return what is wrong with a row ("" if nothing is), and its votes in the order of `CODES`."""
    if len(row) != len(column):
        return f"{len(row)} columns, the header has {len(column)}", []
    if not kind:
        return f"id {row[0]!r} is not six digits of which the first is a modality, 1, 2 or 3", []
    if not _UTTERANCE.fullmatch(row[column["fileName"]]):
        return f"fileName {row[column['fileName']]!r} is not <actor>_<sentence>_<emotion>_<level>", []
    for name in (*CODES, "numResponses"):
        if not row[column[name]].strip().isdecimal():
            return f"{name}={row[column[name]]!r} is not a count", []
    counts, responses = [int(row[column[code]]) for code in CODES], int(row[column["numResponses"]])
    if sum(counts) != responses:
        return f"votes sum to {sum(counts)}, numResponses is {responses}", []
    return "", counts


def _audio_files(root: Path) -> Iterator[Path]:
    """Yield the files below the root that have the name of an utterance, in order of folder and name."""
    # The audio may lie elsewhere, behind a link. A folder is read once, so a link to a folder above it ends there.
    seen = {os.path.realpath(root)}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders.sort()
        for name in list(subfolders):
            place = os.path.realpath(os.path.join(folder, name))
            if place in seen:
                subfolders.remove(name)
            seen.add(place)
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in SUFFIXES and _UTTERANCE.fullmatch(path.stem):  # also skips macOS' ._ files
                yield path


def _demographics(root: Path, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Read actor -> age (years) and sex; empty if the file is missing."""
    path = root / DEMOGRAPHICS
    if not path.is_file():
        notes.append(f"no {DEMOGRAPHICS}: age and sex of the actors are unknown")
        return {}
    people: dict[str, dict[str, Any]] = {}
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            actor, age = (row.get("ActorID") or "").strip(), (row.get("Age") or "").strip()
            if not actor or not age.isdecimal():
                notes.append(f"{DEMOGRAPHICS}: cannot read the line of actor {actor!r}")
                continue
            people[actor] = {"age": int(age), "sex": (row.get("Sex") or "").strip().lower()}
    return people
