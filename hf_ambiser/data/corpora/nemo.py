"""nEMO (Christop 2024): nine actors say ninety Polish sentences in six emotions.

The parser reads `data.tsv` and the recordings in `samples/`, as in the repository of the release (the copy on the Hub
has another form). Cells of `speaker_id` have blanks at their beginning there.

The label is the emotion that the actor was asked to show. The release has no ratings, so every utterance has this one
label: none is ambiguous, and methods that learn from disagreement have nothing to learn from here.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from hf_ambiser.data.audio_copies import recordings_by_name
from hf_ambiser.data.release_files import SUFFIXES, NotKept, audio_files, of_form, read_rows, versus
from hf_ambiser.data.schema import CorpusScan, Rating, Utterance
from hf_ambiser.labels.votes import VoteTable
from hf_ambiser.untrusted.numbers import whole_number


NAME = "nemo"
POLICY = "nemo-6"
GROUP = "speaker"
LICENSE = "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 (CC BY-NC-SA 4.0)"
LICENSE_ID = "cc-by-nc-sa-4.0"
TERMS = "Commercial use is forbidden; whoever passes it on must name its maker and keep the same licence."
REDISTRIBUTABLE = True
SPEECH = (
    "posed Polish: nine actors (four women, five men, 23 to 28 years old) say ninety fixed sentences in six emotions;"
    " the label is the emotion that the actor was asked to show, and not what listeners heard"
)
STYLE = "posed"
LANGUAGE = "pl"
HOMEPAGE = "https://github.com/amu-cai/nEMO"
CITATION = """@inproceedings{christop2024nemo,
  author    = {Christop, Iwona},
  title     = {n{EMO}: Dataset of Emotional Speech in {P}olish},
  booktitle = {Proceedings of the 2024 Joint International Conference on Computational Linguistics, Language Resources
               and Evaluation (LREC-COLING 2024)},
  pages     = {12111--12116},
  year      = {2024}
}"""
FILES_READ = "`data.tsv` and `samples/`"
RATERS = "none: one label an utterance, the intended emotion"
NOT_VERIFIED = "the copy on the Hub, which has another form and is not read"

TABLE, FOLDERS = "data.tsv", ("samples",)
# Counted in the release's data.tsv.
PUBLISHED = {"anger": 749, "fear": 736, "happiness": 749, "neutral": 809, "sadness": 769, "surprised": 669}
_FORM = re.compile(r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>[a-z]+)_(?P<sentence>\d+)")


def scan(root: Path | str) -> CorpusScan:
    """Read the release below `root`.

    Returns:
        Utterances in order of id. `extra` holds `sentence` and `transcript`.

    Raises:
        FileNotFoundError: If the folder or its `data.tsv` is missing.
        ValueError: If `data.tsv` lacks a column.
    """
    root = Path(root)
    path = root / TABLE
    if not path.is_file():
        what = "is not a folder" if not root.is_dir() else f"holds no {TABLE}"
        raise FileNotFoundError(
            f"nEMO not found: {root} {what}. Point --root at a copy of the release's repository ({HOMEPAGE})."
        )
    notes: list[str] = []
    audio, unclear = recordings_by_name(of_form(audio_files(root), _FORM), root, FOLDERS, SUFFIXES, notes)
    utterances, out, named = [], NotKept(), set()
    columns = ("file_id", "emotion", "raw_text", "speaker_id", "gender", "age")
    for line, row in read_rows(path, columns, delimiter="\t"):
        source = f"{TABLE}:{line}"
        if row is None:
            out.add(source, "malformed_line", "its number of cells is not that of the header", source)
            continue
        name = row["file_id"].removesuffix(".wav")
        match = _FORM.fullmatch(name)
        vote = [(row["emotion"],)] if row["emotion"] else []
        if match is None:
            out.add(name or source, "malformed_id", "not <speaker>_<emotion>_<sentence>.wav", source, vote)
        elif (match["speaker"], match["emotion"]) != (row["speaker_id"], row["emotion"]):
            said = f"the row says {row['speaker_id']}, {row['emotion']}"
            out.add(name, "malformed_line", said, source, vote)
        elif match["emotion"] not in PUBLISHED:
            out.add(name, "malformed_line", f"{row['emotion']!r} is not one of {[*PUBLISHED]}", source, vote)
        elif name in named:
            out.add(name, "duplicate_label", "the first row is used", source, vote)
        elif name not in audio:
            out.add(name, "label_without_audio", f"no {name}.* below the root", source, vote)
        elif name in unclear:
            out.add(name, "ambiguous_audio", unclear[name], source, vote)
        else:
            years = whole_number(row["age"], 150)
            age = {} if years is None else {"age": years}
            utterances.append(
                Utterance(
                    name,
                    row["speaker_id"],
                    "",
                    NAME,
                    [Rating(None, (row["emotion"],))],
                    audio[name],
                    extra={"sentence": match["sentence"], "transcript": row["raw_text"]},
                    about_speaker={"sex": row["gender"], **age} if row["gender"] in ("female", "male") else age,
                )
            )
        named.add(name)
    for name in sorted(set(audio) - named):
        where = audio[name].relative_to(root).as_posix()
        out.add(name, "audio_without_label", f"no row in {TABLE}", where)
    utterances.sort(key=lambda u: u.id)
    return CorpusScan(NAME, utterances, out.listed, notes, len(utterances) + len(out.listed), lost=out.lost)


def compare(scan: CorpusScan, table: VoteTable) -> list[str]:
    """Compare with the rows of the release's `data.tsv`."""
    ours = Counter(u.ratings[0].labels[0] for u in scan.utterances)
    lines = [versus("utterances", len(scan.utterances), sum(PUBLISHED.values()))]
    return lines + [versus(word, ours[word], n) for word, n in PUBLISHED.items()]
