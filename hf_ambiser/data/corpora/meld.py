"""MELD (Poria et al. 2019): scenes of the television series Friends, one of seven emotions for each utterance.

The parser reads `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv`, and the sound of the videos. The
release has videos only (`train_splits/dia0_utt0.mp4`), so their sound must be taken out first, into files of the same
name beside them; `docs/corpora.md` has the command.

Three people rated each utterance, and the release has their majority alone. So every utterance has one label: none is
ambiguous, and methods that learn from disagreement have nothing to learn from here.

Two recordings are known to be broken or missing (`dia125_utt3` of train, `dia110_utt7` of dev). The folder of the test
videos has some utterances a second time under the name `final_videos_test<name>`. If only that file is there, it is
used. If both are there and differ, the utterance is listed (`ambiguous_audio`), because public readers disagree about
which one is right.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from hf_ambiser.data.audio_copies import the_recording
from hf_ambiser.data.release_files import SUFFIXES, NotKept, audio_files, read_rows, versus
from hf_ambiser.data.schema import CorpusScan, Rating, Utterance
from hf_ambiser.files.digest import file_digest
from hf_ambiser.labels.votes import VoteTable


NAME = "meld"
POLICY = "meld-7"
GROUP = "speaker"
LICENSE = (
    "the labels have the GNU General Public License 3.0; the recordings are scenes of a television series, whose"
    " owners have not put them under any free licence"
)
LICENSE_ID = "other"
TERMS = "The recordings belong to the owners of the series, so a data set that holds them may not be published."
REDISTRIBUTABLE = False
SPEECH = (
    "acted English: actors of a television comedy, with music, laughter and noise behind them; three people saw the"
    " scene and read its words, and the label of an utterance is what most of them chose"
)
STYLE = "acted"
LANGUAGE = "en"
HOMEPAGE = "https://affective-meld.github.io"
CITATION = """@inproceedings{poria2019meld,
  author    = {Poria, Soujanya and Hazarika, Devamanyu and Majumder, Navonil and Naik, Gautam and Cambria, Erik and
               Mihalcea, Rada},
  title     = {{MELD}: A Multimodal Multi-Party Dataset for Emotion Recognition in Conversations},
  booktitle = {Proceedings of the 57th Annual Meeting of the Association for Computational Linguistics},
  pages     = {527--536},
  year      = {2019}
}"""
FILES_READ = (
    "`train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv`, and the sound of the videos as audio files of"
    " their names"
)
RATERS = "not in the release: one label an utterance, the majority of three raters"
NOT_VERIFIED = "which of two files is right where the test folder has a video also as `final_videos_test<name>`"

# Part -> its folders in the release, and as some readers name them.
PARTS = {
    "train": ("train_splits", "train"),
    "dev": ("dev_splits_complete", "dev"),
    "test": ("output_repeated_splits_test", "test"),
}
PUBLISHED = {  # the README of the release
    "train": {
        "anger": 1109, "disgust": 271, "fear": 268, "joy": 1743, "neutral": 4710, "sadness": 683, "surprise": 1205,
    },
    "dev": {"anger": 153, "disgust": 22, "fear": 40, "joy": 163, "neutral": 470, "sadness": 111, "surprise": 150},
    "test": {"anger": 345, "disgust": 68, "fear": 50, "joy": 402, "neutral": 1256, "sadness": 208, "surprise": 281},
}  # fmt: skip
EMOTIONS = tuple(PUBLISHED["train"])
# Names in the column of speakers that stand for several people at once.
SEVERAL = re.compile(r"all|both|the guys|.* and .*", re.IGNORECASE)
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_AGAIN = "final_videos_test"
_FILE = re.compile(rf"(?P<again>{_AGAIN})?(?P<name>dia\d+_utt\d+)")


def scan(root: Path | str) -> CorpusScan:
    """Read the release below `root`.

    Returns:
        Utterances in order of id, which is `<part>_dia<n>_utt<n>`. `extra` holds `partition`, `dialogue` and
        `transcript`. An utterance of several speakers at once is listed (`no_speaker`).

    Raises:
        FileNotFoundError: If the folder or all tables are missing, or if there are videos and no audio.
        ValueError: If a table lacks a column.
    """
    root = Path(root)
    tables = {part: path for part in PARTS if (path := _table(root, part))}
    if not tables:
        what = "is not a folder" if not root.is_dir() else "holds no train_sent_emo.csv, dev_... or test_sent_emo.csv"
        raise FileNotFoundError(
            f"MELD not found: {root} {what}. Point --root at the folder with these tables and the folders"
            f" {', '.join(folders[0] for folders in PARTS.values())}."
        )
    audio = _find(root, SUFFIXES)
    videos = _find(root, (".mp4",))
    if videos and not audio:
        raise FileNotFoundError(
            f"MELD: {root} holds videos and no audio. Take their sound out first, into files of the same name, for"
            " example: for f in */*.mp4; do ffmpeg -i $f -ac 1 -ar 16000 ${f%.mp4}.wav; done"
        )
    notes = [f"no {part}_sent_emo.csv, so nothing of {part}" for part in PARTS if part not in tables]
    utterances, out, named = [], NotKept(), set()
    for part, path in tables.items():
        for line, row in read_rows(path, _COLUMNS):
            source = f"{path.relative_to(root).as_posix()}:{line}"
            if row is None:
                said = "its number of cells is not that of the header"
                out.add(source, "malformed_line", said, source)
                continue
            dialogue, emotion = f"{part}_dia{row['Dialogue_ID']}", row["Emotion"].lower()
            name = f"{dialogue}_utt{row['Utterance_ID']}"
            vote = [(emotion,)] if emotion else []
            if not (row["Dialogue_ID"].isdecimal() and row["Utterance_ID"].isdecimal()):
                out.add(name, "malformed_id", "Dialogue_ID and Utterance_ID must be numbers", source, vote)
            elif emotion not in EMOTIONS:
                said = f"emotion {row['Emotion']!r} is not one of {list(EMOTIONS)}"
                out.add(name, "malformed_line", said, source, vote)
            elif name in named:
                out.add(name, "duplicate_label", "the first row is used", source, vote)
            elif name not in audio:
                video = "; its video is there, without audio beside it" if name in videos else ""
                out.add(name, "label_without_audio", f"no audio of {name}{video}", source, vote)
            elif (recording := _recording(audio[name], root, PARTS[part])) is None:
                files = " and ".join(file.relative_to(root).as_posix() for file in audio[name][:3])
                said = f"{files} differ; move those away that you do not trust"
                out.add(name, "ambiguous_audio", said, source, vote)
            elif SEVERAL.fullmatch(row["Speaker"]) or not row["Speaker"]:
                out.add(name, "no_speaker", f"speaker {row['Speaker']!r}", source, vote)
            else:
                extra = {"partition": part, "dialogue": dialogue, "transcript": row["Utterance"]}
                ratings = [Rating(None, (emotion,))]
                utterances.append(Utterance(name, row["Speaker"], "", NAME, ratings, recording, extra=extra))
            named.add(name)
    for name in sorted(set(audio) - named):
        where = audio[name][0].relative_to(root).as_posix()
        out.add(name, "audio_without_label", "no row in a table", where)
    utterances.sort(key=lambda u: u.id)
    return CorpusScan(NAME, utterances, out.listed, notes, len(utterances) + len(out.listed), lost=out.lost)


def _table(root: Path, part: str) -> Path | None:
    """The table of a part: at the top, in the folder of the part, or where the repository of the labels has it."""
    places = ("", *PARTS[part], "data/MELD")
    return next((path for place in places if (path := root / place / f"{part}_sent_emo.csv").is_file()), None)


def _find(root: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Find utterance -> its files, the one of the plain name first."""
    found: dict[str, list[Path]] = {}
    for path in audio_files(root, suffixes):
        match = _FILE.fullmatch(path.stem)
        folders = path.relative_to(root).parts[:-1]
        part = next((part for part, names in PARTS.items() if any(name in folders for name in names)), None)
        if match and part:
            place = len(found.get(f"{part}_{match['name']}", [])) if match["again"] else 0
            found.setdefault(f"{part}_{match['name']}", []).insert(place, path)
    return found


def _recording(files: list[Path], root: Path, folders: tuple[str, ...]) -> Path | None:
    """Return the file of the plain name, else the one of the test folder's other name; None if nobody can tell."""
    again = [path for path in files if path.stem.startswith(_AGAIN)]
    plain = [path for path in files if path not in again]
    kinds = [the_recording(kind, root, folders, SUFFIXES) for kind in (plain, again) if kind]
    same = [path and file_digest(path) for path in kinds] if len(kinds) > 1 else []
    return kinds[0] if len(set(same)) < 2 else None


def compare(scan: CorpusScan, table: VoteTable) -> list[str]:
    """Compare with the counts in the README of the release, which count rows of the tables and not recordings."""
    lines = []
    for part, published in PUBLISHED.items():
        ours = Counter(u.ratings[0].labels[0] for u in scan.utterances if u.extra["partition"] == part)
        lines.append(versus(f"utterances, {part}", sum(ours.values()), sum(published.values())))
        lines += [versus(f"{word}, {part}", ours[word], n) for word, n in published.items()]
    return lines
