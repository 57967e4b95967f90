"""MSP-IMPROV (Busso et al. 2017): twelve actors improvise in pairs; each turn is rated by five to fifty crowd workers.

The parser reads `Evalution.txt` (so spelt in the release; `Evaluation.txt` is taken, too) and the recordings, which
it finds by name in any folder: the label file names videos, `UTD-IMPROV-....avi`, the recordings are
`MSP-IMPROV-....wav`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from hf_ambiser.data.audio_copies import recordings_by_name
from hf_ambiser.data.corpora._msp_answers import UNREADABLE, Answers, number, split_line
from hf_ambiser.data.lost_votes import NO_BLOCK
from hf_ambiser.data.release_files import SUFFIXES, NotKept, audio_files, first_file, of_form, versus
from hf_ambiser.data.schema import CorpusScan, Utterance
from hf_ambiser.labels.votes import VoteTable


NAME = "msp_improv"
POLICY = "msp-improv-4"
# Two actors speak in each session, and a turn's name does not say beyond doubt which of them speaks (NOT_VERIFIED).
GROUP = "session"
LICENSE = (
    "MSP-IMPROV is a licensed corpus: the MSP laboratory of the University of Texas at Dallas gives it to those who"
    " sign its agreement"
)
LICENSE_ID = "other"
TERMS = (
    "Whoever did not sign the laboratory's agreement may not have the recordings, the labels, or a data set made of"
    " them; ask the laboratory before a model trained on them is used commercially."
)
REDISTRIBUTABLE = False
SPEECH = (
    "acted English: twelve students of theatre in six pairs improvise scenes that lead to twenty fixed sentences in"
    " four emotions, read these sentences, and talk naturally between the scenes; five or more crowd workers saw and"
    " heard each turn"
)
STYLE = "acted"
LANGUAGE = "en"
HOMEPAGE = "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html"
CITATION = """@article{busso2017improv,
  author  = {Busso, Carlos and Parthasarathy, Srinivas and Burmania, Alec and AbdelWahab, Mohammed and
             Sadoughi, Najmeh and Mower Provost, Emily},
  title   = {{MSP-IMPROV}: An Acted Corpus of Dyadic Interactions to Study Emotion Perception},
  journal = {IEEE Transactions on Affective Computing},
  volume  = {8},
  number  = {1},
  pages   = {67--80},
  year    = {2017}
}"""
FILES_READ = "`Evalution.txt` (or `Evaluation.txt`), and audio by name in any folder"
RATERS = "named; five to fifty an utterance, each with one primary and any number of secondary emotions"
NOT_VERIFIED = (
    "which of the two actors speaks where a name ends in `FM` or `MF`: `speaker` is the actor in the middle of the"
    " name, as public readers take it, the session is the unit of strict splits, and no sex is given"
)

PRIMARY = ("angry", "sad", "happy", "neutral")
SECONDARY = (*PRIMARY, "depressed", "disgust", "excited", "fear", "frustrated", "surprise")
CODES = {"A": "angry", "S": "sad", "H": "happy", "N": "neutral", "O": "other", "X": None}
SCENARIOS = {"P": "natural interaction", "R": "target read", "S": "other improvised", "T": "target improvised"}
# Busso et al. 2017, Table 4: turns, and those with each consensus code.
PUBLISHED = {
    "target improvised": (652, {"A": 115, "S": 106, "H": 136, "N": 283, "O": 1, "X": 11}),
    "target read": (620, {"A": 169, "S": 80, "H": 88, "N": 241, "O": 3, "X": 39}),
    "other improvised": (4381, {"A": 470, "S": 633, "H": 1048, "N": 1789, "O": 70, "X": 371}),
    "natural interaction": (2785, {"A": 38, "S": 66, "H": 1372, "N": 1164, "O": 11, "X": 134}),
}

LABELS = ("Evalution.txt", "Evaluation.txt")
_NAME = r"S(?P<sentence>\d{2})(?P<intended>[AHNS])-(?P<speaker>[FM](?P<session>\d{2}))-(?P<scenario>[PRST])-[FM]{2}\d+"
_FORM = re.compile(rf"MSP-IMPROV-{_NAME}")
_HEADER = re.compile(r"(?:UTD|MSP)-IMPROV-(\S+?)\.(?:avi|wav)\s*;\s*([A-Z])\s*;(.*)", re.I)
_MEANS = re.compile(r"\b([AVDN]):\s*([\d.]+|NaN)", re.I)
_ATTRIBUTES = {"A": "activation", "V": "valence", "D": "dominance", "N": "naturalness"}


def scan(root: Path | str) -> CorpusScan:
    """Read the release below `root`.

    Returns:
        Utterances in order of id. `extra` holds `sentence` and `intended` emotion of the scene, `scenario`,
        `release_label` (the code of the release's consensus) and the means of the attributes, None where the release
        has NaN or nothing.

    Raises:
        FileNotFoundError: If the folder or its label file is missing.
    """
    root = Path(root)
    path = first_file(root, *LABELS)
    if path is None:
        what = "is not a folder" if not root.is_dir() else f"holds no {LABELS[0]}"
        raise FileNotFoundError(
            f"MSP-IMPROV not found: {root} {what}. Point --root at the release's top folder, the one with {LABELS[0]}."
        )
    notes: list[str] = []
    # The release has a tree of folders for each session, so no one folder is preferred.
    audio, unclear = recordings_by_name(of_form(audio_files(root), _FORM), root, (), SUFFIXES, notes)
    out, answers = NotKept(), Answers(PRIMARY, SECONDARY)
    headers = _read(path, answers, out)

    utterances = []
    for name, (source, code, means) in headers.items():
        match, told = _FORM.fullmatch(name), answers.labels_of(name)
        if match is None:
            out.add(name, "malformed_id", "not IMPROV-S<nn><emotion>-<actor>-<scenario>-<turn>", source, told)
        elif name not in audio:
            out.add(name, "label_without_audio", f"no {name}.* below the root", source, told)
        elif name in unclear:
            out.add(name, "ambiguous_audio", unclear[name], source, told)
        else:
            extra: dict[str, Any] = {
                "sentence": match["sentence"],
                "intended": CODES[match["intended"]],
                "scenario": SCENARIOS[match["scenario"]],
                "release_label": code,
                **{word: number(means.get(letter)) for letter, word in _ATTRIBUTES.items()},
                **({"typed": answers.typed[name]} if name in answers.typed else {}),
            }
            session, ratings = f"session{int(match['session'])}", answers.of(name)
            utterances.append(Utterance(name, match["speaker"], session, NAME, ratings, audio[name], extra=extra))
    for name in sorted(set(audio) - set(headers)):
        where = audio[name].relative_to(root).as_posix()
        out.add(name, "audio_without_label", f"no block in {path.name}", where)
    if lacking := sum(not utterance.ratings for utterance in utterances):
        notes.append(f"{lacking} utterances have no rating in {path.name}")
    notes += answers.remarks.notes()
    out.lost.update(answers.lost)
    utterances.sort(key=lambda u: u.id)
    return CorpusScan(NAME, utterances, out.listed, notes, len(utterances) + len(out.listed), lost=out.lost)


def _read(path: Path, answers: Answers, out: NotKept) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Read utterance -> (place, consensus code, letter -> mean) of each block, and the raters' lines below it."""
    headers: dict[str, tuple[str, str, dict[str, str]]] = {}
    name, why = "", NO_BLOCK  # where there is no name: for which reason the ratings below do not count
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line, text in enumerate(file, start=1):
            source, text = f"{path.name}:{line}", text.strip()
            if header := _HEADER.fullmatch(text):
                name = f"MSP-IMPROV-{header[1]}"
                if name in headers:
                    out.add(name, "duplicate_label", "the first block is used", source)
                    name, why = "", "duplicate_label"
                else:
                    means = {letter.upper(): value for letter, value in _MEANS.findall(header[3])}
                    headers[name] = (source, header[2].upper(), means)
            elif "IMPROV-" in text.split(";")[0]:
                out.add(source, "malformed_line", f"not the line of an utterance: {text[:60]!r}", source)
                name, why = "", "malformed_line"
            elif (found := split_line(text)) and name:
                answers.add(name, *found, source)
            elif text:
                answers.remarks.add(UNREADABLE, source)
                out.lost.add_ratings(why, [answers.told(*found[1:])] if found else [])
    return headers


def compare(scan: CorpusScan, table: VoteTable) -> list[str]:
    """Compare turns and consensus codes of each scenario with Busso et al. 2017, Table 4."""
    lines = [versus("turns", len(scan.utterances), sum(turns for turns, _ in PUBLISHED.values()))]
    for scenario, (turns, codes) in PUBLISHED.items():
        ours = Counter(u.extra["release_label"] for u in scan.utterances if u.extra["scenario"] == scenario)
        lines.append(versus(f"turns, {scenario}", sum(ours.values()), turns))
        lines += [versus(f"code {code}, {scenario}", ours[code], n) for code, n in codes.items()]
    return lines
