"""Small trees in the form of each corpus' release, with its quirks, and what a reader must make of them.

`RELEASES` has one entry a corpus: functions that write a tree and return a `Release`. `tests/test_corpora.py` puts all
of them through the same tests, so a new corpus is one more function here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from helpers.crema_d_tree import csv_row, write_tree
from helpers.iemocap_tree import block, write_dialog
from helpers.made_msp_releases import (
    msp_improv,
    msp_podcast,
    msp_podcast_json,
    msp_podcast_packed,
    msp_podcast_text,
)
from helpers.release_tree import Release, sound, table, voices, write


# ---- corpora with raters -------------------------------------------------------------------------------------------


def crema_d(root: Path) -> Release:
    votes = {"1001_IEO_NEU_XX": [0, 1, 0, 0, 3, 0], "1002_DFA_ANG_HI": [4, 0, 0, 0, 0, 0]}
    votes |= {f"{1003 + i}_DFA_SAD_HI": [2, 0, 0, 0, 0, 2 + i % 2] for i in range(4)}
    rows = [csv_row(i, name, counts) for i, (name, counts) in enumerate(votes.items())]
    write_tree(root, [*rows, csv_row(9, "1008_TIE_SAD_HI", [0, 0, 0, 0, 0, 4]), csv_row(10, "nobody", [1] * 6)], {})
    voices(root / "AudioWAV", [*votes, "1009_TIE_SAD_HI"])
    made = Release(root, tables=("processedResults/tabulatedVotes.csv",), header="processedResults/tabulatedVotes.csv")
    words = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    for name, counts in votes.items():
        ratings = [(None, word) for word, n in zip(words, counts, strict=True) for _ in range(n)]
        made.add(name, name[:4], "", ratings)
    made.listed = {
        ("1008_TIE_SAD_HI", "label_without_audio"),
        ("processedResults/tabulatedVotes.csv:9", "malformed_line"),
        ("1009_TIE_SAD_HI", "audio_without_label"),
    }
    made.lost = {"label_without_audio": 4, "malformed_line": 6}
    return made


def iemocap(root: Path) -> Release:
    made = Release(root, tables=tuple(f"Session{n}/dialog/EmoEvaluation" for n in (1, 2, 3)))
    for n in (1, 2, 3):
        dialogue = f"Ses0{n}F_impro01"
        names = [f"{dialogue}_{who}{i:03d}" for i in range(2) for who in "FM"]
        lines = ("C-E2:\tAnger;\t()", "C-E3:\tAnger; Sadness;\t(a; b: c)")
        blocks = {name: block(name, "ang", *lines, f"C-{name[-4]}1:\tNeutral;\t()") for name in names}
        write_dialog(root, dialogue, blocks, audio=False)
        voices(root / f"Session{n}" / "sentences" / "wav" / dialogue, names, 10 * n)
        for name in names:
            ratings = [("E2", "anger"), ("E3", "anger", "sadness"), (f"{name[-4]}1", "neutral")]
            made.add(name, f"Ses0{n}{name[-4]}", f"Ses0{n}", ratings)
    voices(root / "Session1" / "sentences" / "wav" / "Ses01F_impro01", ["Ses01F_impro01_F009"])
    made.listed = {("Ses01F_impro01_F009", "audio_without_label")}
    return made


# ---- corpora with shares of votes ----------------------------------------------------------------------------------


def emo_db(root: Path) -> Release:
    """The makers' archive: Latin-1, decimal commas, no-break spaces."""
    made = Release(root, tables=("erkennung.txt",), header="erkennung.txt")
    words = dict(W="anger", L="boredom", E="disgust", A="fear", F="happiness", T="sadness", N="neutral")
    lines = ["Satz\terkannt\tnat\xfcrlich"]
    for i, actor in enumerate(("03", "08", "09", "10", "11", "12")):
        for j, code in enumerate("WLEAFTN"):
            name, votes = f"{actor}a0{1 + i % 2}{code}{'abc'[j % 3]}", 20 - (i + j) % 4
            blank = "" if j % 2 else "\xa0"
            lines.append(f"{name}.wav \t{votes * 5},00{blank}\t 80,00")
            made.add(name, actor, "", [(None, words[code])] * votes + [(None, "other")] * (20 - votes))
            voices(root / "wav", [name], i * 7 + j)
    lines += [
        "03a04Wc.wav\t95,24\t1",
        "03a05Fa.wav\t90,00\t1",
        "03a07Nb.wav\tviel\t1",
        "03a01Wa.wav\t90,00\t1",
        "x.wav\t90,00\t1",
    ]
    voices(root / "wav", ["03a04Wc", "16b10Wa"], 60)
    made.add("03a04Wc", "03", "", [(None, "anger")] * 19 + [(None, "other")])
    write(root / "erkennung.txt", "\r\n".join(lines).encode("latin-1"))
    write(root / "lablaut" / "03a01Wa.lablaut", "0 .")
    made.listed = {
        ("03a05Fa", "label_without_audio"),
        ("03a07Nb", "malformed_line"),
        ("03a01Wa", "duplicate_label"),
        ("x", "malformed_id"),
        ("16b10Wa", "audio_without_label"),
    }
    made.lost = {"label_without_audio": 20, "duplicate_label": 20, "malformed_id": 20}
    made.notes = ("1 shares are not a whole number of 20 votes",)
    return made


def emo_db_2(root: Path) -> Release:
    """Release 2.0, where a folder has the larynx of each recording."""
    made = Release(root, tables=("db.emotion.csv",), header="db.emotion.csv")
    rows = [("file", "emotion", "emotion.confidence", "emotion.naturalness")]
    for i, actor in enumerate(("03", "08", "09")):
        name = f"{actor}b01Fa"
        rows.append((f"wav/{name}.wav", "happiness", (0.4, 0.95, 1.0)[i], 0.5))
        votes = (8, 19, 20)[i]
        made.add(name, actor, "", [(None, "happiness")] * votes + [(None, "other")] * (20 - votes))
        voices(root / "wav", [name], i)
        voices(root / "laryngo", [name], 20 + i)
    write(root / "db.emotion.csv", table(rows))
    return made


def smoothed(counts: Sequence[int], digits: int = 6) -> list[float]:
    """Shares as EMO-SUPERB prints them: 0.05 of the mass of each vote goes to the other classes in equal parts."""
    n, rest = sum(counts), 0.05 / (len(counts) - 1)
    return [round(sum([0.95] * k + [rest] * (n - k)) / n, digits) for k in counts]


def write_shares(root: Path, names: dict[str, tuple[str, str, list[int]]], classes: Sequence[str], first: str) -> None:
    about = ("EmoAct", "EmoVal", "SpkrID", "Gender", "Split_Set")
    rows: list[Sequence[object]] = [(first, *classes, *about)]
    rows += [
        (f"{name}.wav", *smoothed(counts), 2.5, 3, who, sex, "Train") for name, (who, sex, counts) in names.items()
    ]
    wrong = (*["0.3"] * len(classes), 1, 1, "01", "Female", "Train")
    rows += [
        ("what.wav", *smoothed([1] * len(classes)), 1, 1, "01", "Female", "Train"),
        (f"{[*names][0]}9.wav", *wrong),
    ]
    write(root / "labels_consensus_1.csv", table(rows))
    write(root / "labels_consensus_2.csv", table(rows[:2]))
    voices(root.parent / "Audios", names)


def emo_superb(root: Path) -> Release:
    """MSP-IMPROV in EMO-SUPERB: the two actors of a pair share a number."""
    folder, classes = root / "data" / "IMPROV" / "Primary", ("angry", "sad", "neutral", "happy")
    names = {
        f"MSP-IMPROV-S01A-{sex[0]}{pair:02d}-S-FM0{i}": (
            f"{pair:02d}",
            sex,
            ([3, 2, 0, 0], [1, 0, 5, 0], [0, 0, 0, 7])[i],
        )
        for pair in (1, 2, 3)
        for sex in ("Female", "Male")
        for i in range(3)
    }
    made = Release(
        folder, tables=("labels_consensus_1.csv", "labels_consensus_2.csv"), header="labels_consensus_1.csv"
    )
    for name, (pair, sex, counts) in names.items():
        given = [0, 0, 0, 1] if sum(counts) == 7 else counts  # seven votes of one word look like one
        words = [(None, word) for word, n in zip(classes, given, strict=True) for _ in range(n)]
        made.add(name, pair + sex[0], pair, words)
    write_shares(folder, names, classes, "FileName")
    made.listed = {("what", "malformed_id"), (f"{[*names][0]}9", "malformed_line")}
    made.lost = {"malformed_id": len(classes)}
    made.notes = ("1 files of other folds left aside",)
    return made


def nnime(root: Path) -> Release:
    """One file of the release has a first column without a name; an actor of pair 2 plays in pair 4, too."""
    folder = root / "data" / "NNIME" / "Secondary"
    classes = "angry frustrated disappointed sad fear neutral surprise excited happy relax joy".split()
    names = {}
    for pair in (1, 2, 3, 4):
        for i, who in enumerate("AB"):
            speaker = "3" if (pair, who) == (4, "A") else str(2 * pair - 1 + i)
            for j in range(2):
                counts = [0] * 11
                counts[(pair + j) % 11], counts[8] = 3, 1 + i
                names[f"happy_{pair:02d}_{who}_{j:03d}"] = (speaker, ("Female", "Male")[i], counts)
    made = Release(
        folder, tables=("labels_consensus_1.csv", "labels_consensus_2.csv"), header="labels_consensus_1.csv"
    )
    for name, (speaker, sex, counts) in names.items():
        pair = name.split("_")[1]
        words = [(None, word) for word, n in zip(classes, counts, strict=True) for _ in range(n)]
        made.add(name, speaker + sex[0], {"02": "02+04", "04": "02+04"}.get(pair, pair), words)
    write_shares(folder, names, classes, "")
    made.listed = {("what", "malformed_id"), (f"{[*names][0]}9", "malformed_id")}
    made.lost = {"malformed_id": len(classes)}
    return made


# ---- corpora with one label an utterance ---------------------------------------------------------------------------


def ravdess(root: Path) -> Release:
    """The archive on Kaggle has everything twice; songs may lie beside the speech."""
    made, words = Release(root), ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    names = []
    for actor in (1, 2, 3, 24):
        for i, word in enumerate(words, start=1):
            names.append(f"03-01-{i:02d}-01-0{1 + i % 2}-01-{actor:02d}")
            made.add(names[-1], f"{actor:02d}", "", [(None, word)])
    for folder in (root, root / "audio_speech_actors_01-24"):
        for seed, name in enumerate(names):
            write(folder / f"Actor_{name[-2:]}" / f"{name}.wav", sound(seed))
    voices(root / "Actor_01", ["03-02-01-01-01-01-01", "03-01-09-01-01-01-01", "speech"], 50)
    made.listed = {("03-01-09-01-01-01-01", "malformed_id"), ("speech", "malformed_id")}
    made.notes = ("32 audio files are second copies", "1 songs left aside")
    return made


def nemo(root: Path) -> Release:
    """The release's speaker ids begin with blanks."""
    made, rows = Release(root, tables=("data.tsv",), header="data.tsv"), []
    words = ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
    for speaker, sex in (("WR0", "male"), ("EB0", "female"), ("KS0", "male")):
        for i, word in enumerate(words):
            name = f"{speaker}_{word}_{i}"
            rows.append((f"{name}.wav", word, f"Zdanie {i}ą.", f"zdanie {i}ą", f"        {speaker}", sex, 23))
            made.add(name, speaker, "", [(None, word)])
    voices(root / "samples", [*made.utterances, "WR0_anger_77"])
    first = rows[0]
    rows += [
        first,
        ("WR0_anger_78.wav", *first[1:]),
        ("WR0_anger_79.wav", "fear", *first[2:]),
        ("a.wav", *first[1:]),
        first[:4],
    ]
    header = ("file_id", "emotion", "raw_text", "normalized_text", "speaker_id", "gender", "age")
    write(root / "data.tsv", table([header, *rows], "\t"))
    made.listed = {
        ("WR0_anger_0", "duplicate_label"),
        ("WR0_anger_78", "label_without_audio"),
        ("WR0_anger_79", "malformed_line"),
        ("a", "malformed_id"),
        ("data.tsv:24", "malformed_line"),
        ("WR0_anger_77", "audio_without_label"),
    }
    made.lost = dict(duplicate_label=1, label_without_audio=1, malformed_line=1, malformed_id=1)
    return made


def meld(root: Path) -> Release:
    """Videos without sound taken out, a second file of some test utterances, choirs, and CRLF."""
    folders = dict(train="train_splits", dev="dev_splits_complete", test="output_repeated_splits_test")
    words = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    made = Release(root, tables=tuple(f"{part}_sent_emo.csv" for part in folders), header="train_sent_emo.csv")
    for k, (part, folder) in enumerate(folders.items()):
        rows: list[Sequence[object]] = [
            ("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "StartTime")
        ]
        for i, word in enumerate(words):
            speaker = ("Ross", "Rachel", "Joey", "Dr. Long")[(i + k) % 4]
            rows.append((i + 1, "It\x92s “me”, you know", speaker, word, "neutral", 5, i, "00:16:16,059"))
            made.add(f"{part}_dia5_utt{i}", speaker, "", [(None, word)])
        rows += [
            (8, "Hey!", "All", "joy", "positive", 5, 7, "0"),
            (9, "Hey!", "Ross and Joey", "joy", "positive", 5, 8, "0"),
            (10, "Gone.", "Ross", "joy", "positive", 5, 9, "0"),
            (11, "Again.", "Ross", "joy", "positive", 5, 0, "0"),
            (12, "What?", "Ross", "bored", "neutral", 6, 0, "0"),
            (13, "Short"),
        ]
        write(root / f"{part}_sent_emo.csv", table(rows))
        voices(root / folder, [f"dia5_utt{i}" for i in range(9)], 20 * k)
        voices(root / folder, ["dia99_utt0"], 20 * k + 19)
        write(root / folder / "dia5_utt9.mp4", b"a video")
        made.listed |= {
            (f"{part}_dia5_utt7", "no_speaker"),
            (f"{part}_dia5_utt8", "no_speaker"),
            (f"{part}_dia5_utt9", "label_without_audio"),
            (f"{part}_dia5_utt0", "duplicate_label"),
            (f"{part}_dia6_utt0", "malformed_line"),
            (f"{part}_sent_emo.csv:14", "malformed_line"),
            (f"{part}_dia99_utt0", "audio_without_label"),
        }
    test = root / folders["test"]
    write(test / "final_videos_testdia5_utt1.wav", sound(41))  # a copy of the plain one
    write(test / "final_videos_testdia5_utt2.wav", sound(90))  # another sound than the plain one
    (test / "dia5_utt3.wav").rename(test / "final_videos_testdia5_utt3.wav")
    del made.utterances["test_dia5_utt2"]
    made.listed.add(("test_dia5_utt2", "ambiguous_audio"))
    made.lost = dict(no_speaker=6, label_without_audio=3, duplicate_label=3, malformed_line=3, ambiguous_audio=1)
    return made


RELEASES: dict[str, list[Callable[[Path], Release]]] = {
    "crema_d": [crema_d],
    "emo_db": [emo_db, emo_db_2],
    "emo_superb": [emo_superb],
    "iemocap": [iemocap],
    "meld": [meld],
    "msp_improv": [msp_improv],
    "msp_podcast": [msp_podcast, msp_podcast_packed, msp_podcast_json, msp_podcast_text],
    "nemo": [nemo],
    "nnime": [nnime],
    "ravdess": [ravdess],
}
