"""MSP-Podcast 1.8 to 2.0 (Lotfian and Busso 2019): natural speech of podcasts, each utterance rated by five or more.

The parser reads the release's `Labels/labels_consensus.csv` for speakers and partitions, the ratings of each worker
from the first of these files that is there, and the recordings in `Audios/`:

- `labels_detailed.csv`: one row a rating, in columns of its own (2.0) or packed into `EmoDetail` (1.8 to 1.12);
- `labels_detailed.json`: file -> worker -> answer;
- `labels.txt` or `Labels.txt`: a block of lines a file.

An utterance whose speaker the release does not know (`Unknown`) is listed, because no split could keep the voice on
one side. The recordings of Test3 have no labels in any release, so they are listed, too.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.data.audio_copies import recordings_by_name
from hf_ambiser.data.corpora._msp_answers import UNREADABLE, Answers, number, split_line
from hf_ambiser.data.lost_votes import NO_BLOCK, PARTITION
from hf_ambiser.data.release_files import (
    SUFFIXES,
    NotKept,
    audio_files,
    first_file,
    of_form,
    read_rows,
    versus,
)
from hf_ambiser.data.schema import CorpusScan, Utterance
from hf_ambiser.files.read import read_json
from hf_ambiser.labels.votes import VoteTable


NAME = "msp_podcast"
POLICY = "msp-podcast-8"
GROUP = "speaker"
LICENSE = (
    "MSP-Podcast is a licensed corpus: the MSP laboratory of the University of Texas at Dallas gives it to"
    " institutions that sign its agreement; the podcasts themselves have Creative Commons licences"
)
LICENSE_ID = "other"
TERMS = (
    "Whoever did not sign the laboratory's agreement may not have the recordings, the labels, or a data set made of"
    " them; ask the laboratory before a model trained on them is used commercially."
)
REDISTRIBUTABLE = False
SPEECH = (
    "natural English: turns of 3 to 11 seconds from podcasts by thousands of speakers, chosen by machine to have many"
    " emotions; five or more crowd workers heard each of them and named one primary and any number of secondary"
    " emotions"
)
STYLE = "natural"
LANGUAGE = "en"
HOMEPAGE = "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html"
CITATION = """@article{lotfian2019podcast,
  author  = {Lotfian, Reza and Busso, Carlos},
  title   = {Building Naturalistic Emotionally Balanced Speech Corpus by Retrieving Emotional Speech from Existing
             Podcast Recordings},
  journal = {IEEE Transactions on Affective Computing},
  volume  = {10},
  number  = {4},
  pages   = {471--483},
  year    = {2019}
}"""
FILES_READ = (
    "`Labels/labels_consensus.csv` or `.json` (older: `labels_concensus`), the first of `labels_detailed.csv`,"
    " `labels_detailed.json`, `labels.txt`, and `Audios/`"
)
RATERS = "named; five or more an utterance, each with one primary and any number of secondary emotions"
NOT_VERIFIED = (
    "releases before 1.6 and after 2.0; the class counts of any release (they are not public); `EmoDetail` in 1.9 and"
    " 1.12 beyond what public readers of it show"
)

# The release's code of the plurality of primary emotions -> the raters' word; X: no plurality.
CODES = {
    "A": "angry", "S": "sad", "H": "happy", "U": "surprise", "F": "fear", "D": "disgust", "C": "contempt",
    "N": "neutral", "O": "other", "X": None,
}  # fmt: skip
PRIMARY = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
SECONDARY = (
    *PRIMARY, "amused", "annoyed", "concerned", "confused", "depressed", "disappointed", "excited", "frustrated",
)  # fmt: skip
PARTITIONS = ("Train", "Development", "Validation", "Test1", "Test2", "Test3")
# Release -> its turns, with those of Test3, which have no labels and are in the releases from 1.11 on.
TURNS = {"1.8": 73042, "1.11": 151654, "1.12": 207136, "2.0": 264705}
TEST3 = {"1.11": 2347, "1.12": 3200}
# Release 1.11 alone says how many utterances each partition with labels has.
PARTITIONS_1_11 = {"Train": 84030, "Development": 19815, "Test1": 30647, "Test2": 14815}
UNKNOWN = ("", "unknown", "nan", "none")

_FORM = re.compile(r"MSP-PODCAST_(?P<podcast>\d{4})_\d{4}(?:_\d+)?")
_FOLDERS = ("Labels", "labels", "label", "")
_AUDIO = ("Audios", "Audio")
_SPELLINGS = ("consensus", "concensus")  # the second one in the releases before 1.10


def scan(root: Path | str, *, partitions: Sequence[str] = ()) -> CorpusScan:
    """Read the release below `root`.

    Args:
        root: The release's top folder, with `Labels/` and `Audios/`.
        partitions: Read these partitions of the release only, and count the others in a note; (): all of them.

    Returns:
        Utterances in order of id; their session is the podcast. `extra` holds `partition`, `release_label` (the code
        of the release's own consensus), `valence`, `activation`, `dominance` (means) and, where raters typed an
        emotion of their own, `typed`.

    Raises:
        FileNotFoundError: If the folder or its label files are missing.
        ValueError: If a label file lacks a column, or there is no such partition.
    """
    root = Path(root)
    if unknown := sorted(set(partitions) - set(PARTITIONS)):
        raise ValueError(f"MSP-Podcast: partitions={unknown} must be some of {list(PARTITIONS)}.")
    labels, consensus = _label_folder(root)
    notes: list[str] = []
    answers, read_from = _answers(labels)
    notes.append(f"ratings are read from {read_from.name}, speakers and partitions from {consensus.name}")
    audio_root = next((root / name for name in _AUDIO if (root / name).is_dir()), root)
    audio, unclear = recordings_by_name(of_form(audio_files(audio_root), _FORM), root, _AUDIO, SUFFIXES, notes)

    found: dict[str, Utterance] = {}
    out = NotKept()
    aside: Counter[str] = Counter()
    named: set[str] = set()
    for place, row in _people(consensus):
        source = f"{consensus.relative_to(root).as_posix()}:{place}"
        if row is None:
            out.add(source, "malformed_line", "its number of cells is not that of the header", source)
            continue
        name = row["FileName"].removesuffix(".wav")
        match = _FORM.fullmatch(name)
        again = name in named
        # A name's first row says what becomes of its ratings; further rows tell no vote.
        told = [] if again else answers.labels_of(name)
        named.add(name)
        speaker, partition = row["SpkrID"], row["Split_Set"]
        if partitions and partition not in partitions:
            aside[partition] += 1
            out.lost.add_ratings(PARTITION, told)
        elif match is None:
            out.add(name or source, "malformed_id", "not MSP-PODCAST_<podcast>_<number>.wav", source, told)
        elif again:
            out.add(name, "duplicate_label", "the first row is used", source)
        elif name not in audio:
            out.add(name, "label_without_audio", f"no {name}.* in {audio_root.name}", source, told)
        elif speaker.lower() in UNKNOWN:
            out.add(name, "no_speaker", f"SpkrID is {speaker!r}", source, told)
        elif name in unclear:
            out.add(name, "ambiguous_audio", unclear[name], source, told)
        else:
            sex = {"female": "female", "male": "male"}.get(row.get("Gender", "").lower())
            extra: dict[str, Any] = {
                "partition": partition,
                "release_label": row["EmoClass"],
                "activation": number(row.get("EmoAct")),
                "valence": number(row.get("EmoVal")),
                "dominance": number(row.get("EmoDom")),
                **({"typed": answers.typed[name]} if name in answers.typed else {}),
            }
            ratings, about = answers.of(name), {"sex": sex} if sex else {}
            found[name] = Utterance(
                name, speaker, match["podcast"], NAME, ratings, audio[name], extra=extra, about_speaker=about
            )
    for name in sorted(set(answers.ratings) - named):
        told = answers.labels_of(name)
        out.add(name or "(no name)", "no_speaker", f"ratings, and no row in {consensus.name}", read_from.name, told)
    for name in sorted(set(audio) - named - set(answers.ratings)):
        where = audio[name].relative_to(root).as_posix()
        out.add(name, "audio_without_label", "Test3 has no labels in any release", where)
    notes.extend(f"{n} utterances of the partition {name} left aside" for name, n in sorted(aside.items()))
    if lacking := sum(not utterance.ratings for utterance in found.values()):
        notes.append(f"{lacking} utterances have no rating in {read_from.name}")
    notes += answers.remarks.notes()
    out.lost.update(answers.lost)
    utterances = sorted(found.values(), key=lambda u: u.id)
    return CorpusScan(NAME, utterances, out.listed, notes, len(utterances) + len(out.listed), lost=out.lost)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--partitions` to the command line."""
    parser.add_argument(
        "--partitions",
        nargs="+",
        choices=PARTITIONS,
        default=(),
        metavar="PARTITION",
        help=f"read these partitions of the release only: {', '.join(PARTITIONS)} (default: all)",
    )


def scan_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of `scan` that the command line gives."""
    return {"partitions": tuple(args.partitions)} if args.partitions else {}


def _label_folder(root: Path) -> tuple[Path, Path]:
    """Return the folder of the label files, and the file of the consensus labels in it."""
    for folder in _FOLDERS:
        names = [f"labels_{word}.{ending}" for ending in ("csv", "json") for word in _SPELLINGS]
        if consensus := first_file(root / folder, *names):
            return consensus.parent, consensus
    what = "is not a folder" if not root.is_dir() else "holds no Labels/labels_consensus.csv (or .json)"
    raise FileNotFoundError(
        f"MSP-Podcast not found: {root} {what}. Point --root at the release's top folder, the one with Labels/ and"
        " Audios/."
    )


def _people(path: Path) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yield (place, row) of each utterance in the file of the consensus labels."""
    needed = ("FileName", "EmoClass", "SpkrID", "Split_Set")
    if path.suffix == ".csv":
        yield from read_rows(path, needed)
        return
    for place, (name, values) in enumerate(read_json(path, "Take it from the release again.").items(), start=1):
        cells = values.items() if isinstance(values, Mapping) else ()
        row = {"FileName": name, **{key: str(value).strip() for key, value in cells}}
        yield place, row if all(key in row for key in needed) else None


def _answers(labels: Path) -> tuple[Answers, Path]:
    """Read the ratings of every worker, from the first file that has them."""
    answers = Answers(PRIMARY, SECONDARY)
    readers = {
        "labels_detailed.csv": _read_csv,
        "labels_detailed.json": _read_json,
        "labels.txt": _read_text,
        "Labels.txt": _read_text,
    }
    path = first_file(labels, *readers)
    if path is None:
        raise FileNotFoundError(
            f"MSP-Podcast: {labels} holds none of {', '.join(readers)}, so the ratings of the workers are missing."
            " Take one of them from the release."
        )
    readers[path.name](path, answers)
    return answers, path


def _read_csv(path: Path, answers: Answers) -> None:
    """Read one row a rating; releases 1.8 to 1.12 pack the worker's line of labels.txt into one cell."""
    for line, row in read_rows(path, ("FileName",)):
        place = f"{path.name}:{line}"
        packed = row.get("EmoDetail") if row else None
        if packed is not None:
            found = split_line(packed[max(packed.find("WORKER"), 0) :])
        elif row and "EmoClass_Major" in row:
            worker = row.get("WorkerID") or row.get("Workers") or ""
            found = (worker, row["EmoClass_Major"], row.get("EmoClass_Second", ""))
        else:
            found = None
        if row is None or found is None:
            answers.remarks.add(UNREADABLE, place)
        else:
            answers.add(row["FileName"].removesuffix(".wav"), *found, place)


def _read_json(path: Path, answers: Answers) -> None:
    for name, workers in read_json(path, "Take it from the release again.").items():
        for worker, answer in workers.items() if isinstance(workers, Mapping) else ():
            place = f"{path.name}: {name}, {worker}"
            if not isinstance(answer, Mapping) or "EmoClass_Major" not in answer:
                answers.remarks.add(UNREADABLE, place)
                continue
            second = str(answer.get("EmoClass_Second") or "")
            answers.add(name.removesuffix(".wav"), worker, str(answer["EmoClass_Major"]), second, place)


def _read_text(path: Path, answers: Answers) -> None:
    name = ""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line, text in enumerate(file, start=1):
            head = text.split(";")[0].strip()
            if not text.strip():
                name = ""
            elif head.endswith(".wav"):
                name = head.removesuffix(".wav")
            elif (found := split_line(text)) and name:
                answers.add(name, *found, f"{path.name}:{line}")
            else:
                answers.remarks.add(UNREADABLE, f"{path.name}:{line}")
                answers.lost.add_ratings(NO_BLOCK, [answers.told(*found[1:])] if found else [])


def compare(scan: CorpusScan, table: VoteTable) -> list[str]:
    """Compare the number of utterances with the releases', and the consensus of the votes with the release's own."""
    turns = len(scan.utterances) + len(scan.listed)
    unlabelled = sum(item.reason == "audio_without_label" for item in scan.listed)
    release, published = min(TURNS.items(), key=lambda entry: abs(entry[1] - turns))
    lines = [versus(f"turns (release {release}, the nearest)", turns, published)]
    if release in TEST3:
        lines.append(versus(f"recordings without labels (Test3 of release {release})", unlabelled, TEST3[release]))
    if release == "1.11":
        ours = Counter(u.extra["partition"] for u in scan.utterances)
        lines += [
            versus(f"utterances of {name} with a known speaker (1.11: with any)", ours[name], n)
            for name, n in PARTITIONS_1_11.items()
        ]
    plurality, counted = 0, 0
    for utterance in scan.utterances:
        votes = Counter(rating.labels[0] for rating in utterance.ratings).most_common(2)
        if utterance.extra["release_label"] in CODES and votes:
            tie = len(votes) > 1 and votes[0][1] == votes[1][1]
            counted += 1
            plurality += (None if tie else votes[0][0]) == CODES[utterance.extra["release_label"]]
    lines.append(f"The plurality of the primary emotions equals the release's code for {plurality} of {counted}.")
    return lines
