"""EMO-SUPERB's released label files (Wu et al. 2024) as a source of votes, for English corpora whose audio you have.

A folder of the release, for example `data/IMPROV/Primary`, holds `labels_consensus_1.csv` and one such file for each
further fold. A row has a smoothed share for each class, the speaker and a partition. The recordings are looked for in
the folder above, where the release wants them (`data/IMPROV/Audios`).

Shares are smoothed: a share p of K classes is written as `p * 0.95 + (1 - p) * 0.05 / (K - 1)`, rounded. The parser
undoes this, and makes the smallest number of ratings that give exactly the shares that are printed. So the shares of
the votes are the release's, and of the number of raters only a lower bound is known. Raters have no names.

The file of CREMA-D holds shares that are rounded to tenths. The release of CREMA-D has the votes themselves: build
`crema_d` instead, where that is what you want.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.data.audio_copies import recordings_by_name
from hf_ambiser.data.release_files import SUFFIXES, NotKept, audio_files, of_form, read_rows
from hf_ambiser.data.schema import CorpusScan, Rating, Utterance
from hf_ambiser.untrusted.numbers import decimal_number


NAME = "emo_superb"
POLICY = "emo-superb-4"
# IEMOCAP's and MSP-IMPROV's SpkrID is the number of the pair, which its two actors share.
GROUP = "session"
LICENSE = (
    "the repository of the label files names no licence; the recordings are those of CREMA-D (ODbL 1.0), IEMOCAP or"
    " MSP-IMPROV (each by an agreement with its laboratory)"
)
LICENSE_ID = "other"
TERMS = (
    "What the corpus of the recordings forbids is forbidden here, too; the label files themselves are given without a"
    " licence, so a data set made of them must stay private."
)
REDISTRIBUTABLE = False
SPEECH = (
    "acted English of CREMA-D, IEMOCAP or MSP-IMPROV; the shares of the raters' answers are those that EMO-SUPERB"
    " published"
)
STYLE = "acted"
LANGUAGE = "en"
HOMEPAGE = "https://github.com/EMOsuperb/EMO-SUPERB-submission"
CITATION = """@article{wu2024emosuperb,
  author  = {Wu, Haibin and Chou, Huang-Cheng and Chang, Kai-Wei and Goncalves, Lucas and Du, Jiawei and
             Jang, Jyh-Shing Roger and Lee, Chi-Chun and Lee, Hung-Yi},
  title   = {{EMO-SUPERB}: An In-depth Look at Speech Emotion Recognition},
  journal = {arXiv preprint arXiv:2402.13018},
  year    = {2024}
}"""
FILES_READ = "`labels_consensus_1.csv` of one folder, and audio by name in the folder above it"
RATERS = "not named; as few an utterance as give its shares exactly"
NOT_VERIFIED = (
    "the label files of MSP-Podcast and BIIC-Podcast (too large for the copy of the repository that was seen), which"
    " are not read; the number of raters"
)

SMOOTHING = 0.05
MOST_RATINGS = 400
FOLDERS = ("Audios",)
# Columns of a label file that are no classes.
ABOUT = ("EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
_ENGLISH = re.compile(
    r"\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{2,3}|Ses0[1-5][MF]_\w+_[MF][X\d]\d{2}|MSP-IMPROV-S\d{2}[AHNS]-[FM]\d{2}-[PRST]-[FM]{2}\d+"
)


def scan(root: Path | str) -> CorpusScan:
    """Read the label files in `root`, for example `data/IMPROV/Primary`; what is returned says `scan_labels`."""
    return scan_labels(Path(root), NAME, _ENGLISH)


def scan_labels(root: Path, corpus: str, form: re.Pattern[str]) -> CorpusScan:
    """Read one folder of label files.

    Args:
        root: The folder with `labels_consensus_1.csv`.
        corpus: Name of the corpus.
        form: What the name of an utterance looks like.

    Returns:
        Utterances in order of id. The speaker is `SpkrID` and the first letter of the gender, because two actors of a
        pair share a number in some corpora; the session is `SpkrID`. `extra` holds `partition` (of the first fold) and
        `shares` (class -> share of the votes).

    Raises:
        FileNotFoundError: If the folder holds no label file.
        ValueError: If the file lacks a column or has fewer than two classes.
    """
    paths = sorted(root.glob("labels_consensus_*.csv"), key=lambda path: (len(path.name), path.name))
    if not paths:
        inner = sorted(path.parent.name for path in root.glob("*/labels_consensus_1.csv"))
        what = f"holds {inner}: pass one of them" if inner else "holds no labels_consensus_1.csv"
        what = what if root.is_dir() else "is not a folder"
        raise FileNotFoundError(
            f"no label files of EMO-SUPERB: {root} {what}. Point --root at a folder like data/IMPROV/Primary of the"
            " release, with the recordings in data/IMPROV/Audios."
        )
    path = paths[0]
    notes = [f"labels are read from {path.name}"]
    if len(paths) > 1:
        notes.append(
            f"{len(paths) - 1} files of other folds left aside: their labels are the same, their partitions are not"
        )
    found = of_form(audio_files(root.parent), form)
    audio, unclear = recordings_by_name(found, root.parent, FOLDERS, SUFFIXES, notes)
    utterances, out, named = [], NotKept(), set()
    for line, row in read_rows(path, ("SpkrID", "Gender", "Split_Set")):
        source = f"{path.name}:{line}"
        if row is None:
            out.add(source, "malformed_line", "its number of cells is not that of the header", source)
            continue
        first, *columns = row  # the first column has the file names; one file of the release gives it no name
        classes = [column for column in columns if column not in ABOUT]
        name = row[first].removesuffix(".wav")
        answers = ratings_of([row[column] for column in classes], classes)
        told = [(word,) for word in answers or ()]
        speaker, gender = row["SpkrID"], row["Gender"]
        if form.fullmatch(name) is None:
            out.add(name or source, "malformed_id", f"not the name of an utterance of {corpus}", source, told)
        elif answers is None:
            said = f"its shares are not those of {MOST_RATINGS} or fewer ratings, smoothed by {SMOOTHING}"
            out.add(name, "malformed_line", said, source)
        elif name in named:
            out.add(name, "duplicate_label", "the first row is used", source, told)
        elif not speaker or gender not in ("Female", "Male"):
            out.add(name, "no_speaker", f"SpkrID {speaker!r}, Gender {gender!r}", source, told)
        elif name not in audio:
            out.add(name, "label_without_audio", f"no {name}.* below {root.parent.name}", source, told)
        elif name in unclear:
            out.add(name, "ambiguous_audio", unclear[name], source, told)
        else:
            shares = {word: answers.count(word) / len(answers) for word in dict.fromkeys(answers)}
            utterances.append(
                Utterance(
                    name,
                    speaker + gender[0],
                    speaker,
                    corpus,
                    [Rating(None, (word,)) for word in answers],
                    audio[name],
                    extra={"partition": row["Split_Set"], "shares": shares},
                    about_speaker={"sex": gender.lower()},
                )
            )
        named.add(name)
    for name in sorted(set(audio) - named):
        where = audio[name].relative_to(root.parent).as_posix()
        out.add(name, "audio_without_label", f"no row in {path.name}", where)
    utterances.sort(key=lambda u: u.id)
    return CorpusScan(corpus, utterances, out.listed, notes, len(utterances) + len(out.listed), lost=out.lost)


def ratings_of(cells: Sequence[str], classes: Sequence[str]) -> list[str] | None:
    """Undo the smoothing of one row, and return the fewest ratings that give its shares.

    Args:
        cells: K smoothed shares as they are printed.
        classes: The K classes.

    Returns:
        One class name for each rating, in the order of `classes`; None if no number of ratings up to `MOST_RATINGS`
        gives these shares to the last digit that is printed.
    """
    smoothed = [share for cell in cells if (share := decimal_number(cell)) is not None]
    if len(smoothed) < max(2, len(cells)) or abs(sum(smoothed) - 1) > 0.01 * len(smoothed):
        return None
    low = SMOOTHING / (len(smoothed) - 1)
    span = 1 - SMOOTHING - low
    last_digit = 10.0 ** -max(len(cell.partition(".")[2]) for cell in cells)
    for n in range(1, MOST_RATINGS + 1):
        counts = [round((share - low) / span * n) for share in smoothed]
        near = all(abs(low + span * k / n - share) <= last_digit for k, share in zip(counts, smoothed, strict=True))
        if near and sum(counts) == n and min(counts) >= 0:
            return [word for word, k in zip(classes, counts, strict=True) for _ in range(k)]
    return None
