"""CREMA-D (Cao et al. 2014): 91 actors, rated by crowd workers who heard the voice, saw the face, or both.

By default only the votes of raters who heard the voice alone are used.

The parser reads `processedResults/tabulatedVotes.csv`, `VideoDemographics.csv` if there is one, and the audio files.
It finds these by name in any folder below the root, with any usual ending (the release has
`AudioWAV/<utterance>.wav`). Where the release's `finishedResponses.csv` is there, each vote has its rater; without it
the raters are anonymous (`hf_ambiser.data.crema_d`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.data.audio_copies import recordings_by_name
from hf_ambiser.data.crema_d.audio_names import misnamed_audio, nearly_named
from hf_ambiser.data.crema_d.responses import Responses, read_responses
from hf_ambiser.data.crema_d.votes_table import CODES, ROWS, UTTERANCE, VOTES, VoteRow, read_votes
from hf_ambiser.data.lost_votes import LostVotes
from hf_ambiser.data.release_files import SUFFIXES, audio_files
from hf_ambiser.data.schema import CorpusScan, Listed, Rating, Utterance
from hf_ambiser.files.read import FileError
from hf_ambiser.files.release_tables import read_release_table
from hf_ambiser.untrusted.numbers import whole_number


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
STYLE = "acted"
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
FILES_READ = (
    "`processedResults/tabulatedVotes.csv`; where they are there, `finishedResponses.csv` with"
    " `finishedEmoResponses.csv` and `VideoDemographics.csv`; and audio by name in any folder"
)
RATERS = (
    "named where `finishedResponses.csv` is there, else not named; 4 to 12 an utterance for each kind (voice, face,"
    " both)"
)
NOT_VERIFIED = ""

DEMOGRAPHICS = Path("VideoDemographics.csv")
DEFAULT = ("voice",)
_OLDEST = 150  # years
# If an utterance has several audio files, the first of these folders of the release is used.
FOLDERS = ("AudioWAV", "AudioMP3")


def scan(root: Path, *, ratings: Sequence[str] = DEFAULT) -> CorpusScan:
    """Read the release below `root`.

    Every utterance has the votes of all rows of these kinds. `count_in` counts the utterances with such a row, the
    rows that are listed and the audio files without a row. The scan lists rows that cannot be read or contradict
    themselves, second rows of an utterance, utterances without audio, audio without a row and audio whose name is
    nearly an utterance's; rows of other kinds are counted in a note.

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
    lost = LostVotes()
    # The files are walked through once for both.
    files = list(audio_files(root))
    named = (path for path in files if UTTERANCE.fullmatch(path.stem))
    audio, unclear = recordings_by_name(named, root, FOLDERS, SUFFIXES, notes)
    misnamed = misnamed_audio(files, root, notes)
    near = nearly_named(misnamed)
    people = _demographics(root, notes)
    votes, listed = read_votes(root, kinds, notes, lost)
    responses = read_responses(root, notes)

    utterances, mentioned = [], set(votes) | {item.id for item in listed}
    listed += misnamed
    for name, rows in votes.items():
        if name in unclear:
            listed.append(Listed(name, "ambiguous_audio", unclear[name], next(iter(rows.values())).source))
            lost.add("ambiguous_audio", sum(sum(row.counts) for row in rows.values()))
            continue
        if name not in audio:
            nearly = near.get(name.rpartition("_")[0])
            detail = f"no {name}.* below the root" + (f", but {nearly.source}" if nearly else "")
            listed.append(Listed(name, "label_without_audio", detail, next(iter(rows.values())).source))
            lost.add("label_without_audio", sum(sum(row.counts) for row in rows.values()))
            continue
        actor, sentence, intended, level = name.split("_")
        utterances.append(
            Utterance(
                id=name,
                speaker=actor,
                session="",
                corpus=NAME,
                ratings=[
                    rating for kind in kinds if kind in rows for rating in _ratings(rows[kind], kind, kinds, responses)
                ],
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
    notes += responses.said()
    utterances.sort(key=lambda u: u.id)
    return CorpusScan(NAME, utterances, listed, notes, len(utterances) + len(listed), lost=lost)


def _ratings(row: VoteRow, kind: str, kinds: tuple[str, ...], responses: Responses) -> list[Rating]:
    """Make one rating of each vote of a row. Its kind is left out where only the default kind is read."""
    said = kind if kinds != DEFAULT else ""
    if answers := responses.of(row):
        return [Rating(answer.rater, (CODES[answer.code],), kind=said, intensity=answer.level) for answer in answers]
    return [
        Rating(None, (label,), kind=said)
        for label, n in zip(CODES.values(), row.counts, strict=True)
        for _ in range(n)
    ]


def _demographics(root: Path, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Read actor -> age (years) and sex; empty if the file is missing."""
    path = root / DEMOGRAPHICS
    if not path.is_file():
        notes.append(f"no {DEMOGRAPHICS}: age and sex of the actors are unknown")
        return {}
    try:
        table = read_release_table(path, ("ActorID", "Age", "Sex"), "", DEMOGRAPHICS.as_posix())
    except FileError as error:
        notes.append(f"{error} Age and sex of the actors are unknown.")
        return {}
    people: dict[str, dict[str, Any]] = {}
    for line in table.lines:
        actor, age, sex = ("" if line.problem else line.cells[table.column(c)] for c in ("ActorID", "Age", "Sex"))
        years = whole_number(age, _OLDEST)
        if not actor or years is None:
            notes.append(f"{DEMOGRAPHICS}: cannot read the line of actor {actor!r:.50}")
            continue
        people[actor] = {"age": years, "sex": sex.lower()}
    return people
