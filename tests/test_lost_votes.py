"""Every vote that label files tell is counted once, in a class or out for one reason; for every corpus."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from helpers import iemocap_tree
from helpers.crema_d_tree import CODES, csv_row, encode, tone, write_tree
from helpers.made_ratings import write_csv
from helpers.made_releases import RELEASES
from helpers.release_tree import Release

from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.data.corpora.simulated import generate
from hf_ambiser.data.corpus_rows import Prepared, prepare
from hf_ambiser.data.lost_votes import LostVotes
from hf_ambiser.data.ratings.own_corpus import read_own_corpus
from hf_ambiser.labels.policies import get_policy


WAV = encode(tone(0.2))
BROKEN = b"no audio"


@dataclass
class Made:
    """A release with faults of every kind.

    Args:
        root: Its folder.
        labels: How many labels its label files tell, counted while they were written.
        reasons: Reason -> labels that must be out for it; others may be there, too.
        prepared: Reads it under `multi_label` of a policy.
    """

    root: Path
    labels: int
    reasons: dict[str, int]
    prepared: Callable[..., Prepared]


def crema_d(root: Path, rng: random.Random) -> Made:
    rows, files, told, reasons = [], {}, 0, dict.fromkeys(_CREMA_D, 0)
    for n in range(40):
        name, votes = f"1{n:03d}_IEO_ANG_HI", [rng.randint(0, 5) for _ in CODES]
        votes[n % 6] += 1
        fault = [*_CREMA_D, "", ""][n % 7]
        row = csv_row(n, name, votes)
        if fault == "listed, malformed_line":
            row[8] += 1
        rows.append(row)
        told += sum(votes)
        if fault == "listed, duplicate_label":
            rows.append(csv_row(n, name, votes))
            told += sum(votes)
        if fault != "listed, label_without_audio":
            files[f"AudioWAV/{name}.wav"] = BROKEN if fault == "listed, unreadable_audio" else WAV
        if fault == "listed, lfs_stub":
            files[f"AudioWAV/{name}.wav"] = b"version https://git-lfs.github.com/spec/v1\n"
        reasons[fault] = reasons.get(fault, 0) + sum(votes)
    reasons.pop("")
    write_tree(root, rows, files)
    return Made(root, told, reasons, lambda **rules: prepare("crema_d", root, get_policy("crema-d-4", **rules)))


_CREMA_D = (
    "listed, malformed_line", "listed, duplicate_label", "listed, label_without_audio", "listed, unreadable_audio",
    "listed, lfs_stub",
)  # fmt: skip


def iemocap(root: Path, rng: random.Random) -> Made:
    words = ["Neutral", "Anger", "Sadness", "Happiness", "Fear", "Other", "bored"]
    told, reasons = 0, {"unknown label": 0, "second answer of a rater": 0, "before the first utterance of a file": 2}
    blocks, silent = [], []
    for n in range(40):
        name = f"Ses01F_impro01_{'FM'[n % 2]}{n:03d}"
        lines, fault = [], n % 8
        seen: set[str] = set()
        for rater in [*(f"E{k}" for k in range(1, 4)), f"{'FM'[n % 2]}1", *(["E1"] if fault == 1 else [])]:
            given = rng.sample(words, rng.randint(1, 2))
            lines.append(f"C-{rater}:\t{'; '.join(given)};\t()")
            told += len(given)
            if rater in seen:
                reasons["second answer of a rater"] += len(given)
            elif "bored" in given:
                reasons["unknown label"] += 1
            if set(given) - {"bored"}:
                seen.add(rater)
        text = iemocap_tree.block(name, "neu", *lines)
        if fault == 2:
            text = text.replace("[2.5000,", "[two,", 1)
        if fault == 3:
            text = text.replace(name, f"{name}9", 1)
        if fault == 4:
            blocks.append(text)
            told += sum(len([w for w in line.split("\t")[1].split(";") if w.strip()]) for line in lines)
            reasons["unknown label"] += sum("bored" in line for line in lines)
        if fault == 5:
            text = text.replace(f"C-{'FM'[n % 2]}1", f"C-{'MF'[n % 2]}1")
        if fault != 6:
            silent.append(name)
        blocks.append(text)
    head = "C-E1:\tNeutral; Anger;\t()\n\n"
    told += 2
    iemocap_tree.write_labels(root, "Ses01F_impro01", head + "\n\n".join(blocks))
    iemocap_tree.write_audio(root, silent)
    for name in silent[:3]:
        (root / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / f"{name}.wav").write_bytes(BROKEN)
    for name in silent[3:]:
        (root / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / f"{name}.wav").write_bytes(WAV)
    return Made(root, told, reasons, lambda **rules: prepare("iemocap", root, get_policy("iemocap-4", **rules)))


def simulated(root: Path, rng: random.Random) -> Made:
    generate(root, n_utterances=12, n_speakers=3, n_raters=6, votes_per_utterance=4, audio_format="flac")
    path = root / "votes.csv"
    with path.open(newline="") as lines:
        header, *rows = list(csv.reader(lines))
    rows[0][-1] += ";bored"
    rows[1][-1] = "bored"
    rows[8][3] = rows[9][3]
    rows.append(["stray", "s", "", "r", "anger;neutral"])
    told = sum(len(row[-1].split(";")) for row in rows)
    again = len(rows[9][-1].split(";"))
    with path.open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])
    names = sorted({row[0] for row in rows if row[0] != "stray"})
    gone, broken = (sum(len(r[-1].split(";")) for r in rows if r[0] == name) for name in names[-2:])
    for name, data in zip(names[-2:], (None, BROKEN), strict=True):
        (file,) = (root / "audio").glob(f"{name}.*")
        file.unlink() if data is None else file.write_bytes(data)
    reasons = {"unknown label": 2, "second answer of a rater": again, "listed, malformed_line": 2}
    reasons |= {"listed, label_without_audio": gone, "listed, unreadable_audio": broken}
    return Made(root, told, reasons, lambda **rules: prepare("simulated", root, get_policy("simulated-4", **rules)))


def own(root: Path, rng: random.Random) -> Made:
    rows, told = [], 0
    (root / "clips").mkdir(parents=True)
    for n in range(12):
        for rater in range(3):
            given = rng.sample(["anger", "calm", "fear"], rng.randint(1, 2))
            rows.append((f"u{n}", f"r{rater}", ";".join(given), f"s{n % 3}"))
            told += len(given)
        if n != 1:
            (root / "clips" / f"u{n}.wav").write_bytes(BROKEN if n == 2 else WAV)
    votes = [sum(len(row[2].split(";")) for row in rows if row[0] == f"u{n}") for n in range(3)]
    rows += [("u3", "r0", "fear", "s0"), ("u4", "r9", "calm;anger", "s9"), ("", "r0", "fear", "s0")]
    told += 4
    table = write_csv(root / "ratings.csv", rows)
    reasons = {"listed, rated_twice": 1, "listed, conflicting_row": 2, "listed, malformed_id": 1}
    reasons |= {"listed, label_without_audio": votes[1], "listed, unreadable_audio": votes[2]}

    def prepared(**rules) -> Prepared:
        read = read_own_corpus(table, root / "clips", **rules)
        return prepare(read.module, root / "clips", read.policy)

    return Made(root, told, reasons, prepared)


def as_released(name: str, make: Callable[[Path], Release]) -> Callable[[Path, random.Random], Made]:
    """A made release of `helpers/made_releases.py`, with one broken file and one that has two different copies."""

    def made(root: Path, rng: random.Random) -> Made:
        release, corpus = make(root), load_corpus(name)
        paths = {one.id: one.audio_path for one in corpus.scan(release.root).utterances}
        broken, unclear = rng.sample(sorted(paths), 2)
        paths[broken].write_bytes(BROKEN)
        for folder, sound in (("a", WAV), ("b", BROKEN)):
            copy = paths[unclear].parent / folder / paths[unclear].name
            copy.parent.mkdir()
            copy.write_bytes(sound)
        paths[unclear].unlink()
        reasons = LostVotes(Counter(release.lost)).by_reason("each")
        for one, why in ((broken, "listed, unreadable_audio"), (unclear, "listed, ambiguous_audio")):
            votes = sum(len(labels) for _, *labels in release.utterances[one][2])
            reasons[why] = reasons.get(why, 0) + votes
        read = partial(prepare, name, release.root)
        return Made(root, release.told(), reasons, lambda **rules: read(get_policy(corpus.POLICY, **rules)))

    return made


FAULTY = {"crema_d": crema_d, "iemocap": iemocap, "simulated": simulated, "a table of one's own": own}
RELEASED = {
    make.__name__: (name, make) for name, forms in RELEASES.items() if name not in FAULTY for make in forms
}  # fmt: skip
CORPORA = {**FAULTY, **{form: as_released(*of) for form, of in RELEASED.items()}}


def test_every_corpus_is_there():
    assert {*FAULTY} - {"a table of one's own"} | {name for name, _ in RELEASED.values()} == {*available_corpora()}


@pytest.mark.parametrize("corpus", CORPORA)
def test_votes_in_are_votes_counted_and_votes_out_by_reason(corpus, tmp_path):
    for seed in range(2 if corpus in FAULTY else 1):
        made = CORPORA[corpus](tmp_path / str(seed), random.Random(seed))
        for multi_label in ("each", "first"):
            prepared = made.prepared(multi_label=multi_label)
            out = prepared.votes_out
            assert prepared.table.votes.sum() + sum(out.values()) == made.labels, out
            assert {why: out.get(why, 0) for why in made.reasons} == made.reasons
        # Under `fractional` a rating is one vote, whatever labels it has.
        prepared = made.prepared(multi_label="fractional")
        ratings = sum(len(usable.utterance.ratings) for usable in prepared.utterances)
        in_all = float(prepared.table.votes.sum()) + sum(prepared.votes_out.values())
        assert in_all == pytest.approx(ratings + prepared.lost.ratings.total())


def test_votes_that_a_limit_leaves_out_are_counted(tmp_path):
    made = crema_d(tmp_path, random.Random(0))
    prepared = prepare("crema_d", made.root, "crema-d-4", limit=5)
    assert prepared.table.votes.sum() + sum(prepared.votes_out.values()) == made.labels
    assert prepared.votes_out["not looked at (limit)"] > 0
