"""Emo-DB (Burkhardt et al. 2005): ten actors, ten German sentences, seven emotions, with listeners' recognition rates.

Two releases are read: the archive of its makers with `erkennung.txt` (535 utterances, each recognized by at least 80 %
of the listeners), and release 2.0 with `db.emotion.csv` (816 utterances, also the less recognized ones).

The votes: about twenty listeners heard each utterance, and the release says which share of them recognized the
intended emotion. That share becomes as many votes of twenty. The release does not say what the other listeners heard,
so their votes are `other`, which no class of the policy is: they lower the agreement, and the soft label cannot show
them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hf_ambiser.data.audio_copies import recordings_by_name
from hf_ambiser.data.release_files import (
    SUFFIXES,
    NotKept,
    Remarks,
    audio_files,
    first_file,
    of_form,
    read_rows,
    versus,
)
from hf_ambiser.data.schema import CorpusScan, Rating, Utterance
from hf_ambiser.labels.votes import VoteTable
from hf_ambiser.untrusted.numbers import decimal_number


NAME = "emo_db"
POLICY = "emo-db-7"
GROUP = "speaker"
LICENSE = (
    "CC0 1.0 says audEERING, which publishes it together with one of its makers; the makers' own page names no licence"
    " and asks for a citation"
)
LICENSE_ID = "other"
TERMS = "Its makers ask to be cited; nothing is known to be forbidden."
REDISTRIBUTABLE = True
SPEECH = (
    "posed German: ten actors (five women, five men, 21 to 35 years old) say ten fixed sentences in seven emotions in"
    " an anechoic room; about twenty listeners heard each recording; the share of them that recognized the intended"
    " emotion is known, and what the others heard is not"
)
STYLE = "posed"
LANGUAGE = "de"
HOMEPAGE = "http://emodb.bilderbar.info/docu/"
CITATION = """@inproceedings{burkhardt2005emodb,
  author    = {Burkhardt, Felix and Paeschke, Astrid and Rolfes, Miriam and Sendlmeier, Walter F. and Weiss, Benjamin},
  title     = {A Database of {German} Emotional Speech},
  booktitle = {Proceedings of Interspeech},
  pages     = {1517--1520},
  year      = {2005}
}"""
FILES_READ = "`erkennung.txt` or `db.emotion.csv`, and audio by name in any folder"
RATERS = "not named; about twenty an utterance, of which a share recognized the intended emotion"
NOT_VERIFIED = (
    "how many listeners heard each utterance (the paper says twenty), and the file `listener_judgements.txt`, which is"
    " given on request"
)

LISTENERS = 20
OTHER = "other"
EMOTIONS = {
    "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral",
}  # fmt: skip
# Number in a file's name -> sex and age, from the release's documentation.
ACTORS = {
    "03": ("male", 31), "08": ("female", 34), "09": ("female", 21), "10": ("male", 32), "11": ("male", 26),
    "12": ("male", 30), "13": ("female", 32), "14": ("female", 35), "15": ("male", 25), "16": ("female", 31),
}  # fmt: skip
PUBLISHED = {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "sadness": 62, "neutral": 79}
UTTERANCES_2_0 = 816
RATES, RATES_2_0 = "erkennung.txt", "db.emotion.csv"
FOLDERS = ("wav",)
_FORM = re.compile(r"(?P<actor>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])[a-z]?")


def scan(root: Path | str) -> CorpusScan:
    """Read the release below `root`.

    Returns:
        Utterances in order of id. `extra` holds `sentence` and `recognized`, the share of the listeners in [0, 1].

    Raises:
        FileNotFoundError: If the folder or both files of recognition rates are missing.
        ValueError: If a file lacks a column.
    """
    root = Path(root)
    path = first_file(root, RATES, RATES_2_0)
    if path is None:
        what = "is not a folder" if not root.is_dir() else f"holds neither {RATES} nor {RATES_2_0}"
        raise FileNotFoundError(
            f"Emo-DB not found: {root} {what}. Point --root at the unpacked release, the folder with wav/ and one of"
            " these files. Copies of wav/ alone do not say what the listeners heard."
        )
    notes: list[str] = []
    remarks = Remarks()
    # Release 2.0 has a recording of the larynx under the same name in a folder of its own.
    spoken = (p for p in audio_files(root) if "laryngo" not in p.relative_to(root).parts)
    audio, unclear = recordings_by_name(of_form(spoken, _FORM), root, FOLDERS, SUFFIXES, notes)
    utterances, out, named = [], NotKept(), set()
    for line, file, rate in _rates(path):
        source, name = f"{path.name}:{line}", Path(file).name.removesuffix(".wav")
        match = _FORM.fullmatch(name)
        readable = rate is not None and 0 <= rate <= 1
        # A rate stands for all listeners; an unreadable one tells no vote.
        told = [(OTHER,)] * LISTENERS if readable else []
        if match is None:
            out.add(name or source, "malformed_id", "not <actor><sentence><emotion><version>.wav", source, told)
        elif rate is None or not readable:
            out.add(name, "malformed_line", "its recognition rate is not a number from 0 to 100 %", source)
        elif name in named:
            out.add(name, "duplicate_label", "the first row is used", source, told)
        elif name not in audio:
            out.add(name, "label_without_audio", f"no {name}.* below the root", source, told)
        elif name in unclear:
            out.add(name, "ambiguous_audio", unclear[name], source, told)
        else:
            votes = round(rate * LISTENERS)
            if abs(rate * LISTENERS - votes) > 0.01:
                remarks.add(f"shares are not a whole number of {LISTENERS} votes and are rounded to one", source)
            answers = [EMOTIONS[match["emotion"]]] * votes + [OTHER] * (LISTENERS - votes)
            sex, age = ACTORS.get(match["actor"], ("", 0))
            utterances.append(
                Utterance(
                    name,
                    match["actor"],
                    "",
                    NAME,
                    [Rating(None, (answer,)) for answer in answers],
                    audio[name],
                    extra={"sentence": match["sentence"], "recognized": rate},
                    about_speaker={"sex": sex, "age": age} if sex else {},
                )
            )
        named.add(name)
    for name in sorted(set(audio) - named):
        where = audio[name].relative_to(root).as_posix()
        out.add(name, "audio_without_label", f"no row in {path.name}", where)
    notes += remarks.notes()
    utterances.sort(key=lambda u: u.id)
    return CorpusScan(NAME, utterances, out.listed, notes, len(utterances) + len(out.listed), lost=out.lost)


def _rates(path: Path) -> Iterator[tuple[int, str, float | None]]:
    """Yield (line, file, share of the listeners in [0, 1], None if it cannot be read)."""
    if path.name == RATES_2_0:
        for line, row in read_rows(path, ("file", "emotion", "emotion.confidence")):
            yield line, row["file"] if row else "", _number(row["emotion.confidence"]) if row else None
        return
    # Blanks or tabs between the columns, decimal commas, and no-break spaces inside cells.
    lines = path.read_text(encoding="latin-1").splitlines()
    header = re.split(r"[ \t]+", lines[0].strip()) if lines else []
    if missing := [name for name in ("Satz", "erkannt") if name not in header]:
        raise ValueError(
            f"{path} lacks the column(s) {missing}; its header is {header!r:.500}. Take it from the release again."
        )
    satz, erkannt = header.index("Satz"), header.index("erkannt")
    for line, text in enumerate(lines[1:], start=2):
        cells = re.split(r"[ \t]+", text.strip())
        if text.strip():
            rate = _number(cells[erkannt]) if len(cells) > max(satz, erkannt) else None
            yield line, cells[satz] if len(cells) > satz else "", None if rate is None else rate / 100


def _number(text: str) -> float | None:
    return decimal_number(text.replace("\xa0", "").replace(",", "."))


def compare(scan: CorpusScan, table: VoteTable) -> list[str]:
    """Compare with the 535 utterances of the paper's release, or with the 816 of release 2.0."""
    ours = Counter(EMOTIONS[match["emotion"]] for u in scan.utterances if (match := _FORM.fullmatch(u.id)))
    recognized = sum(u.extra["recognized"] >= 0.8 for u in scan.utterances)
    if len(scan.utterances) > sum(PUBLISHED.values()):
        return [
            versus("utterances (release 2.0)", len(scan.utterances), UTTERANCES_2_0),
            versus("of them recognized by 80 % or more (the first release)", recognized, sum(PUBLISHED.values())),
        ]
    lines = [versus("utterances", len(scan.utterances), sum(PUBLISHED.values()))]
    return lines + [versus(word, ours[word], n) for word, n in PUBLISHED.items()]
