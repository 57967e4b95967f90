"""RAVDESS, the speech recordings (Livingstone and Russo 2018): 24 actors say two sentences in eight emotions.

A file's name says everything: `03-01-06-01-02-01-12.wav` is audio only, speech, fearful, normal intensity, statement
2, first repetition, actor 12. Files are found in any folder. The archive on Kaggle holds each file twice; the second
copies are counted. Songs (`03-02-...`) are left aside.

The label is the emotion that the actor was asked to show. The ratings of the validation study are not part of the
release, so every utterance has this one label: none is ambiguous, and methods that learn from disagreement have
nothing to learn from here.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from hf_ambiser.data.audio_copies import recordings_by_name
from hf_ambiser.data.release_files import SUFFIXES, NotKept, audio_files, of_form, versus
from hf_ambiser.data.schema import CorpusScan, Rating, Utterance
from hf_ambiser.labels.votes import VoteTable


NAME = "ravdess"
POLICY = "ravdess-8"
GROUP = "speaker"
LICENSE = "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 (CC BY-NC-SA 4.0)"
LICENSE_ID = "cc-by-nc-sa-4.0"
TERMS = (
    "Commercial use is forbidden without a licence from its makers; whoever passes it on must name them and keep the"
    " same licence."
)
REDISTRIBUTABLE = True
SPEECH = (
    "posed English: 24 professional actors (12 women, 12 men) in Toronto say two fixed sentences in eight emotions, in"
    " a studio; the label is the emotion that the actor was asked to show, and not what listeners heard"
)
STYLE = "posed"
LANGUAGE = "en"
HOMEPAGE = "https://zenodo.org/records/1188976"
CITATION = """@article{livingstone2018ravdess,
  author  = {Livingstone, Steven R. and Russo, Frank A.},
  title   = {The {Ryerson} Audio-Visual Database of Emotional Speech and Song ({RAVDESS}): A dynamic, multimodal set of
             facial and vocal expressions in {North American} {English}},
  journal = {PLoS ONE},
  volume  = {13},
  number  = {5},
  pages   = {e0196391},
  year    = {2018}
}"""
FILES_READ = "the names of `03-01-*.wav` in any folder"
RATERS = "none: one label an utterance, the intended emotion"
NOT_VERIFIED = (
    "the form of the ratings of the validation study (247 raters, ten ratings a recording), which are an appendix of"
    " the paper; they are not read"
)

EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgust",
    "08": "surprised",
}  # fmt: skip
UTTERANCES = 1440
FOLDERS = tuple(f"Actor_{actor:02d}" for actor in range(1, 25))
_FORM = re.compile(
    r"03-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<statement>0[12])-(?P<repetition>0[12])"
    r"-(?P<actor>[01]\d|2[0-4])"
)
_OTHER_MODALITY = re.compile(r"0[12](?:-\d\d){6}")


def scan(root: Path | str) -> CorpusScan:
    """Read the release below `root`.

    Returns:
        Utterances in order of id. `extra` holds `sentence` ("01", "02"), `intensity` and `repetition`.

    Raises:
        FileNotFoundError: If the folder is missing, or holds no speech recording of the release.
    """
    root = Path(root)
    notes: list[str] = []
    paths = list(audio_files(root)) if root.is_dir() else []
    audio, unclear = recordings_by_name(of_form(paths, _FORM), root, FOLDERS, SUFFIXES, notes)
    matches = {name: match for name in sorted(audio) if (match := _FORM.fullmatch(name))}
    if not any(match["channel"] == "01" for match in matches.values()):
        what = "is not a folder" if not root.is_dir() else "holds no 03-01-*.wav"
        raise FileNotFoundError(
            f"RAVDESS not found: {root} {what}. Unpack Audio_Speech_Actors_01-24.zip, and point --root at the folder."
        )
    songs = sum(match["channel"] == "02" for match in matches.values())
    if songs:
        notes.append(f"{songs} songs left aside")
    out = NotKept()
    for path in paths:
        if not _FORM.fullmatch(path.stem) and not _OTHER_MODALITY.fullmatch(path.stem):
            where = path.relative_to(root).as_posix()
            out.add(path.stem, "malformed_id", "not seven numbers of two digits, as the release says", where)
    speech = {name: match for name, match in matches.items() if match["channel"] == "01"}
    for name in sorted(set(speech) & set(unclear)):
        where = audio[name].relative_to(root).as_posix()
        out.add(name, "ambiguous_audio", unclear[name], where, [(EMOTIONS[speech[name]["emotion"]],)])
    utterances = [
        Utterance(
            name,
            match["actor"],
            "",
            NAME,
            [Rating(None, (EMOTIONS[match["emotion"]],))],
            audio[name],
            extra={
                "sentence": match["statement"],
                "intensity": {"01": "normal", "02": "strong"}[match["intensity"]],
                "repetition": match["repetition"],
            },
            about_speaker={"sex": "female" if int(match["actor"]) % 2 == 0 else "male"},
        )
        for name, match in speech.items()
        if name not in unclear
    ]
    return CorpusScan(NAME, utterances, out.listed, notes, len(utterances) + len(out.listed), lost=out.lost)


def compare(scan: CorpusScan, table: VoteTable) -> list[str]:
    """Compare with the release: 60 utterances an actor, 8 an emotion and actor (neutral: 4)."""
    ours = Counter(u.ratings[0].labels[0] for u in scan.utterances)
    lines = [versus("utterances", len(scan.utterances), UTTERANCES)]
    return lines + [versus(word, ours[word], 96 if word == "neutral" else 192) for word in EMOTIONS.values()]
