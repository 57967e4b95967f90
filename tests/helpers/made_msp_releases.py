"""Small trees in the form of MSP-Podcast, as its releases write it, and of MSP-IMPROV, with their quirks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from helpers.release_tree import Release, table, voices, write
from hf_ambiser.data.lost_votes import NO_BLOCK, SECOND_ANSWER, UNKNOWN_LABEL


def _podcast(root: Path) -> tuple[Release, dict[str, list[tuple[str, str, str]]]]:
    """Speakers, partitions and audio of MSP-Podcast, and the workers' answers to be written in one of its forms."""
    answers: dict[str, list[tuple[str, str, str]]] = {}
    rows = [("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")]
    made = Release(root, header="Labels/labels_consensus.csv")
    for i in range(12):
        name, speaker = f"MSP-PODCAST_{i // 3:04d}_{i:04d}", str(20 + i // 2)
        first = ("Happy", "Sad", "Neutral")[i % 3]
        answers[name] = [
            ("WORKER00000001", "Other-some thing; else", "Concerned,Confused"),
            ("WORKER00000018", first, first),
            ("WORKER00000021", first, f"{first},Amused,Other-hopeful,optimistic"),
            ("WORKER00000018", first, first),  # the same rater again
        ]
        word = first.lower()
        ratings = [
            ("WORKER00000001", "other", "concerned", "confused"),
            ("WORKER00000018", word),
            ("WORKER00000021", word, "amused", "other"),
        ]
        made.add(name, speaker, f"{i // 3:04d}", ratings)
        part = ("Train", "Train", "Development", "Test1")[i // 3]
        rows.append((f"{name}.wav", first[0], "2.4", "4.0", "2.8", speaker, ("Male", "Female")[i // 2 % 2], part))
    rows += [
        ("MSP-PODCAST_0009_0001.wav", "H", "1", "1", "1", "Unknown", "Unknown", "Train"),
        ("MSP-PODCAST_0009_0002.wav", "X", "1", "1", "1", "31", "Male", "Train"),
        ("MSP-PODCAST_0000_0000.wav", "H", "1", "1", "1", "20", "Male", "Train"),
        ("PODCAST_1.wav", "H", "1", "1", "1", "20", "Male", "Train"),
    ]
    write(root / "Labels" / "labels_consensus.csv", table(rows))
    voices(root / "Audios", [*made.utterances, "MSP-PODCAST_0009_0001", "MSP-PODCAST_7777_0001_000"])
    # Recordings of earlier releases lie beside it, and are not of this one.
    voices(root / "Previous_releases_information" / "removed", ["MSP-PODCAST_0008_0001"], 40)
    answers["MSP-PODCAST_0011_0001"] = [("WORKER00000001", "Sad", "Sad")]
    answers["MSP-PODCAST_0009_0001"] = [("WORKER00000001", "Happy", "")]
    made.listed = {
        ("MSP-PODCAST_0009_0001", "no_speaker"),
        ("MSP-PODCAST_0009_0002", "label_without_audio"),
        ("MSP-PODCAST_0000_0000", "duplicate_label"),
        ("PODCAST_1", "malformed_id"),
        ("MSP-PODCAST_0011_0001", "no_speaker"),
        ("MSP-PODCAST_7777_0001_000", "audio_without_label"),
    }
    made.notes = (
        "12 ratings are a rater's second one of an utterance (the same answer)",
        "12 secondary emotions are words",
    )
    made.tables = ("Labels/labels_consensus.csv",)
    made.lost = {SECOND_ANSWER: 12, "no_speaker": 2}
    return made, answers


def msp_podcast(root: Path) -> Release:
    """Release 2.0: one row a rating."""
    made, answers = _podcast(root)
    rows = [("FileName", "WorkerID", "EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom")]
    rows += [(f"{name}.wav", *answer, 3, 3, 3) for name, given in answers.items() for answer in given]
    write(
        root / "Labels" / "labels_detailed.csv",
        table([*rows, ("MSP-PODCAST_0000_0000.wav", "WORKER00000009", "Calm", "", 1, 1, 1)]),
    )
    made.notes += ("1 ratings have a primary emotion that the release does not have",)
    made.lost[UNKNOWN_LABEL] = 1
    return made


def _packed(answer: tuple[str, str, str]) -> str:
    return f"{'; '.join(answer)}; A:3.000000; V:3.000000; D:4.000000;"


def msp_podcast_packed(root: Path) -> Release:
    """Releases 1.8 to 1.12: the worker's line in one cell."""
    made, answers = _podcast(root)
    rows = [(f"{name}.wav", _packed(answer)) for name, given in answers.items() for answer in given]
    write(
        root / "Labels" / "labels_detailed.csv",
        table([("FileName", "EmoDetail"), *rows, ("MSP-PODCAST_0000_0000.wav", "?")]),
    )
    made.notes += ("1 lines hold no rating that can be read", "labels_detailed.csv:")
    return made


def msp_podcast_json(root: Path) -> Release:
    """JSON in both files, in the older spelling; a rater cannot stand twice there."""
    made, answers = _podcast(root)
    labels = root / "Labels"
    with open(labels / "labels_consensus.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    named = {row.pop("FileName"): row for row in rows[::-1]}  # a name cannot stand twice, either
    write(labels / "labels_concensus.json", json.dumps(dict(reversed(named.items()))))
    (labels / "labels_consensus.csv").unlink()
    keys = ("EmoClass_Major", "EmoClass_Second")
    told = {f"{n}.wav": {w: dict(zip(keys, a, strict=True)) for w, *a in given} for n, given in answers.items()}
    write(labels / "labels_detailed.json", json.dumps(told))
    made.listed -= {("MSP-PODCAST_0000_0000", "duplicate_label")}
    del made.lost[SECOND_ANSWER]
    made.notes, made.tables, made.header = ("12 secondary emotions are words",), ("Labels/labels_concensus.json",), ""
    return made


def msp_podcast_text(root: Path) -> Release:
    """The raw file: a block of lines an utterance."""
    made, answers = _podcast(root)
    blocks = [
        "\r\n".join([f"{name}.wav; N; A:2.400000; V:4.000000; D:2.800000; ", *(_packed(answer) for answer in given)])
        for name, given in answers.items()
    ]
    stray = _packed(("WORKER00000009", "Sad", "Amused"))
    write(root / "Labels" / "labels.txt", "\r\n\r\n".join(blocks) + f"\r\n\r\nnothing\r\n{stray}\r\n")
    made.lost[NO_BLOCK] = 2
    made.notes += ("2 lines hold no rating that can be read", "labels.txt:")
    return made


def msp_improv(root: Path) -> Release:
    made, blocks = Release(root, tables=("Evalution.txt",)), []
    for i in range(12):
        session = 1 + i // 4
        part = f"S{i % 2 + 1:02d}{'AHNS'[i % 4]}-{'FM'[i % 2]}{session:02d}-{'PRST'[i % 4]}-FM{i:02d}"
        word = ("Angry", "Happy", "Neutral", "Sad")[i % 4]
        d = "NaN" if i == 3 else "3.0"
        lines = [
            f"UTD-IMPROV-{part}.avi; {word[0]}; A:2.500000; V:3.000000; D:{d} ; N:4.000000;",
            f"WORKER-1_p; {word}; {word},Excited,Surprised; A:2.0; V:3.0; D:{d}; N:4.0;",
            "worker2; Other; Frustrated; A:2.0; V:3.0; D:3.0; N:4.0;",
            f"worker3; {word}; ; A:2.0; V:3.0; D:3.0; N:4.0;",
            f"WORKER-1_p; {'Sad' if i == 1 else word}; {word},Excited,Surprised; A:2.0; V:3.0; D:{d}; N:4.0;",
        ]
        if i == 5:
            lines[0] = lines[0].replace(" ; N:4.000000;", ";")  # some lines lack the naturalness
        blocks.append("\n".join(lines))
        name = f"MSP-IMPROV-{part}"
        ratings = [("WORKER-1_p", word.lower(), "excited", "surprise"), ("worker2", "other", "frustrated")]
        ratings.append(("worker3", word.lower()))
        made.add(name, part.split("-")[1], f"session{session}", ratings)
        folder = root / f"session{session}" / part[:4] / part.split("-")[2]
        voices(folder, [name], i)
    blocks += [blocks[0], blocks[1].replace("S02H-", "S03H-"), "UTD-IMPROV-S01A-F01-P-FM77.avi N A:2.5", "a; Angry"]
    write(root / "Evalution.txt", "\n\n".join(blocks))
    voices(root / "session1", ["MSP-IMPROV-S20N-M01-S-MF05"], 30)
    made.listed = {
        ("MSP-IMPROV-S01A-F01-P-FM00", "duplicate_label"),
        ("MSP-IMPROV-S03H-M01-R-FM01", "label_without_audio"),
        ("Evalution.txt:85", "malformed_line"),
        ("MSP-IMPROV-S20N-M01-S-MF05", "audio_without_label"),
    }
    # Twelve blocks and the one without audio, each with a second answer; of two of them it has another word.
    made.lost = {SECOND_ANSWER: 13 * 3 + 2, "duplicate_label": 3 + 2 + 1 + 3, "label_without_audio": 3 + 2 + 1}
    made.notes = ("(the same answer)", "second one of an utterance (another answer)", "5 lines hold no rating")
    return made
