"""From a user's own table to a built data set: faults, counts, facts, previews, options, refusals."""

from __future__ import annotations

import csv
import json
import re
import shutil
import unicodedata
from collections import Counter
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from helpers.made_ratings import HEADER, LABELS, csv_text, sixty, sixty_rows, tones, write_csv

from hf_ambiser import build_from_ratings, load_split, preview_ratings, push_dataset, read_dataset_info
from hf_ambiser.cli import main
from hf_ambiser.data.ratings.corpus_facts import FACTS, corpus_module, known_corpus
from hf_ambiser.data.ratings.own_corpus import read_own_corpus
from hf_ambiser.data.splits import SplitOptions
from hf_ambiser.files.read import FileError
from hf_ambiser.hub.push import PushError, PushOptions
from hf_ambiser.labels.policies import LabelPolicy
from hf_ambiser.labels.votes import tally


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A table of sixty utterances and its audio: (table, folder)."""
    return sixty(tmp_path_factory.mktemp("mine"))


@pytest.fixture
def table(mine, tmp_path):
    """Write a table in a folder of its own, beside the audio of `mine`: table(rows) -> (table, folder)."""

    def call(rows=None, header=HEADER, name="ratings.csv"):
        return write_csv(tmp_path / "in" / name, sixty_rows() if rows is None else rows, header), mine[1]

    return call


def listed_of(out):
    with (out / "listed.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stored_ratings(out):
    """Every rating of a built data set: (utterance, rater, labels)."""
    rows = {row["id"]: row for file in out.rglob("*.parquet") for row in pq.read_table(file).to_pylist()}
    return Counter((i, r["rater"], tuple(r["labels"])) for i, row in rows.items() for r in row["ratings"]), rows


# ---- a build -------------------------------------------------------------------------------------------------------


def test_a_build_keeps_every_vote_and_says_what_it_read(mine, tmp_path):
    out = tmp_path / "out"
    report = build_from_ratings(*mine, out, progress=False)
    ratings, rows = stored_ratings(out)
    assert ratings == Counter((u, r, (label,)) for u, r, label, _ in sixty_rows())
    for name, row in rows.items():
        labels = [label for u, _, label, _ in sixty_rows() if u == name]
        assert (
            row["votes"] == [labels.count(c) for c in sorted(LABELS)]
            and row["speaker"] == f"s{int(name[-2:]) // 4 % 6}"
        )
    c = report.content
    assert c["classes"] == sorted(LABELS) and c["corpus"] == "ratings" and c["counts"]["in"] == 60
    assert c["rows"] == {
        "rows_in": 300, "rows_used": 300, "rows_listed": 0, "votes_in": 300, "votes_in_listed_rows": 0,
        "empty_cells": 0, "votes_used": 300, "votes_of_listed_utterances": 0, "listed_by_reason": {},
    }  # fmt: skip
    text = report.summary()
    assert "encoding UTF-8, delimiter comma" in text and "utterance = 'utterance', label = 'label'" in text
    assert "rows: 300 in = 300 used + 0 listed" in text and "'anger' " in text
    without = c["counts"]["listed_by_reason"]["no_consensus"]
    assert f"  listed, no_consensus: {without} (no consensus label, so listed; the splits that take such" in text
    assert text.splitlines()[-1] == f"60 in = {c['counts']['kept']} kept + {c['counts']['listed']} listed"
    assert load_split(out, "slc-strict", "clear").features["label"].names == sorted(LABELS)
    speakers = {s: set(load_split(out, "slc-strict", s)["speaker"]) for s in ("clear", "validation", "test")}
    assert not (speakers["clear"] & speakers["test"] or speakers["clear"] & speakers["validation"])


def test_the_same_table_in_another_form_gives_the_same_votes(mine, tmp_path):
    """Long CSV, JSONL, JSON, Parquet, XLSX, wide by rater: the same ratings. Wide by class: the same votes."""
    import pyarrow as pa
    from openpyxl import Workbook

    rows = sixty_rows()
    long = [dict(zip(HEADER, row, strict=True)) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in long))
    (tmp_path / "a.json").write_text(json.dumps(long))  # as pandas writes to_json(orient="records")
    pq.write_table(pa.Table.from_pylist(long), tmp_path / "b.parquet")
    book = Workbook()
    for row in [HEADER, *rows]:
        book.active.append(row)
    book.save(tmp_path / "c.xlsx")
    (tmp_path / "d.csv").write_bytes(csv_text([HEADER, *rows], ";", "\r\n").encode("utf-8-sig"))
    by_name: dict[str, list] = {}
    for row in rows:
        by_name.setdefault(row[0], []).append(row)
    raters = [(u, *(one[2] for one in of), of[0][3]) for u, of in by_name.items()]
    write_csv(tmp_path / "e.csv", raters, ["file", *(f"rater_{i}" for i in range(5)), "speaker"])
    counts = [(u, *(sum(x[2] == c for x in of) for c in LABELS), of[0][3]) for u, of in by_name.items()]
    write_csv(tmp_path / "f.csv", counts, ["file", *LABELS, "speaker"])
    tables = [
        mine[0],
        *(tmp_path / f"{name}" for name in ("a.jsonl", "a.json", "b.parquet", "c.xlsx", "d.csv", "e.csv", "f.csv")),
    ]
    owns = [read_own_corpus(path, mine[1]) for path in tables]
    votes = [tally(own.policy, own.scan.ratings()).votes for own in owns]
    assert all(np.array_equal(votes[0], other) for other in votes[1:]) and votes[0].sum() == 300
    assert len({own.policy.fingerprint() for own in owns}) == 1
    first = [sorted(map(str, u.ratings)) for u in owns[0].scan.utterances]
    assert all([sorted(map(str, u.ratings)) for u in own.scan.utterances] == first for own in owns[1:6])
    assert {r.rater for u in owns[6].scan.utterances for r in u.ratings} == {f"rater_{i}" for i in range(5)}
    assert {r.rater for u in owns[7].scan.utterances for r in u.ratings} == {None}


FAULTS = [
    ("clip_00.wav", "r9", "anger", "s0"),  # one more rater, by the name with its ending
    ("clip_00", "r0", "sadness", "s0"),  # r0 a second time
    ("gone", "r0", "anger", "s0"),
    ("clip_01", "r9", "anger", "s5"),  # another speaker
    ("", "r0", "anger", "s0"),
    ("../clip_01", "r0", "anger", "s0"),
    ("clip_02", "r9", "", "s0"),  # did not answer
    ("clip_03", "r9"),
]


def test_bad_rows_are_listed_with_their_lines_and_do_not_stop_a_build(table, mine, tmp_path):
    path, audio = table([*sixty_rows(59), *FAULTS])
    out = tmp_path / "out"
    report = build_from_ratings(path, audio, out, progress=False)
    first = 2 + 59 * 5
    found = {(row["source"], row["reason"]) for row in listed_of(out) if row["reason"] != "no_consensus"}
    assert found == {
        (f"ratings.csv:{first + 1}", "rated_twice"),
        (f"ratings.csv:{first + 2}", "label_without_audio"),
        (f"ratings.csv:{first + 3}", "conflicting_row"),
        (f"ratings.csv:{first + 4}", "malformed_id"),
        (f"ratings.csv:{first + 5}", "malformed_id"),
        (f"ratings.csv:{first + 7}", "malformed_line"),
        ("clip_59.wav", "audio_without_label"),
    }
    rows = report.content["rows"]
    assert rows["rows_in"] == 303 and rows["rows_listed"] == 4 and rows["empty_cells"] == 1
    assert (rows["votes_in"], rows["votes_in_listed_rows"], rows["votes_of_listed_utterances"]) == (301, 3, 2)
    assert (
        report.content["counts"]["in"] == 62 == report.content["counts"]["kept"] + report.content["counts"]["listed"]
    )
    assert stored_ratings(out)[0]["clip_00", "r9", ("anger",)] == 1
    assert "1 cells for a label are empty; they are no votes" in report.summary()
    card = (out / "README.md").read_text()
    assert "rows listed, rated_twice (the rater has rated the utterance in an earlier row, which counts): 1" in card


def test_an_utterance_that_nobody_voted_for_is_listed(table, tmp_path):
    path, audio = table([*sixty_rows(59), ("clip_59", "r0", " ", "s2"), ("clip_59", "r1", "", "s2")])
    build_from_ratings(path, audio, tmp_path / "out", progress=False)
    (row,) = [row for row in listed_of(tmp_path / "out") if row["id"] == "clip_59"]
    assert row["reason"] == "no_votes"


def test_names_with_spaces_quotes_slashes_dots_and_other_letters(tmp_path):
    names = [
        f"{name} {i}" for i, name in enumerate(["a b", "c'd", 'e"f', "g/h", "ö漢", "i;j", "=k", "l..m", "#n"] * 4)
    ]
    audio = tones(tmp_path / "audio", [f"{name}.wav" for name in names])
    rows = [(name, r, LABELS[i % 3], f"s{i % 4}") for i, name in enumerate(names) for r in ('"r\n1"', "é, 2")]
    path = write_csv(tmp_path / "my table (1).csv", rows)
    out = tmp_path / "out"
    report = build_from_ratings(path, audio, out, progress=False)
    ratings, stored = stored_ratings(out)
    assert set(stored) == set(names) and ratings.total() == len(rows)
    assert {rater for _, rater, _ in ratings} == {'"r\n1"', "é, 2"}
    assert report.content["corpus"] == "my_table_1_" and len(load_split(out, "slc-strict", "clear")) > 0


def test_a_thousand_raters(table):
    rows = [(u, f"rater {i}", label, s) for i, (u, _, label, s) in enumerate(sixty_rows(60, 20)[:1000])]
    own = read_own_corpus(*table(rows))
    assert len({r.rater for u in own.scan.utterances for r in u.ratings}) == 1000
    raters = [f"rater{i}" for i in range(1000)]
    own = read_own_corpus(*table([(f"clip_{i:02d}", "s1", *LABELS * 250) for i in range(3)], ["clip", "spk", *raters]))
    assert [len(u.ratings) for u in own.scan.utterances] == [1000] * 3
    assert "... (1000)" in own.columns.said()


# ---- columns that are taken along ----------------------------------------------------------------------------------


def test_sessions_sex_age_and_language_are_taken_along(table, tmp_path):
    said = {
        "s0": ("f", "31"),
        "s1": ("Male", "40"),
        "s2": ("w", "x"),
        "s3": ("", ""),
        "s4": ("m", "50"),
        "s5": ("f", "2"),
    }
    rows = [(*row, f"dlg{row[3]}", *said[row[3]], "de", "strong") for row in sixty_rows()]
    rows[219] = (*rows[219][:6], "51", *rows[219][7:])  # one row of s4 contradicts the others on an age
    path, audio = table(rows, [*HEADER, "session", "sex", "age", "lang", "intensity"])
    (path.parent / "corpus.yaml").write_text("group: session\n")
    out = tmp_path / "out"
    report = build_from_ratings(path, audio, out, progress=False)
    with (out / "speakers.csv").open() as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("s0", "female", "31"), ("s1", "male", "40"), ("s2", "female", ""), ("s4", "male", ""),
            ("s5", "female", "2"),
        ]  # fmt: skip
    notes = "\n".join(report.content["notes"])
    assert "not used: 'intensity'" in notes
    assert "age of speaker 's2' is not used, for it is not in whole years: 'x' in line" in notes
    assert re.search("age of speaker 's4' is not used: '50' in line \\d+, '51' in line 221", notes)
    assert report.content["group"] == "session" and report.content[FACTS]["language"] == "de"
    assert "language:\n- de\n" in (out / "README.md").read_text()
    assert set(load_split(out, "slc-strict", "clear")["session"]) <= {f"dlgs{i}" for i in range(6)}


def test_two_languages_are_said_and_not_recorded(table):
    own = read_own_corpus(
        *table([(*row, "de" if i % 2 else "fr") for i, row in enumerate(sixty_rows())], [*HEADER, "lang"])
    )
    assert own.module.LANGUAGE == "" and "language of the rows: 'fr' 150, 'de' 150" in "\n".join(own.scan.notes)


def test_votes_of_audio_that_cannot_be_used_are_those_of_a_listed_utterance(table, tmp_path):
    path, audio = table()
    shutil.copytree(audio, tmp_path / "clips")
    (tmp_path / "clips" / "clip_00.wav").write_text("no audio")
    report = build_from_ratings(path, tmp_path / "clips", tmp_path / "out", progress=False)
    said = "votes in the rows: 300 = 295 of utterances with audio + 0 in listed rows + 5 of listed utterances"
    assert said in report.summary() and "votes: 300 in = 295 counted + 5 out" in report.summary()
    assert "excluded, listed, unreadable_audio: 5" in report.summary()
    assert listed_of(tmp_path / "out")[0]["detail"] == "libsndfile cannot read it (Format not recognised)"


def test_rows_without_a_speaker_are_listed(table, tmp_path):
    rows = [row if row[0] != "clip_07" else (*row[:3], "") for row in sixty_rows()]
    own = read_own_corpus(*table(rows))
    assert [(x.id, x.reason) for x in own.scan.listed] == [("clip_07", "no_speaker")]
    assert own.scan.rows.counts["votes_of_listed_utterances"] == 5


@pytest.mark.parametrize("said", ["NA", "nan", "-"])
def test_a_name_for_no_speaker_is_no_common_speaker_of_many_utterances(said, table):
    rows = [row if row[0] not in ("clip_07", "clip_30") else (*row[:3], said) for row in sixty_rows()]
    own = read_own_corpus(*table(rows))
    detail = f"no speaker in its rows, but {said!r}"
    assert [(x.id, x.reason, x.detail) for x in own.scan.listed] == [
        ("clip_07", "no_speaker", detail), ("clip_30", "no_speaker", detail)
    ]  # fmt: skip
    assert said not in {one.speaker for one in own.scan.utterances}


def test_speakers_and_raters_that_differ_in_case_or_white_space_are_said(table):
    rows = [row if row[0] != "clip_00" else (row[0], "A  B" if row[1] == "r0" else "a b", row[2], "S0")
            for row in sixty_rows() if row[:2] not in [("clip_00", f"r{i}") for i in (2, 3, 4)]]  # fmt: skip
    notes = read_own_corpus(*table(rows)).scan.notes
    one = "differ in case or white space alone and count as different ones; if they are one, write them alike:"
    assert f"these names of speakers {one} [['S0', 's0']]" in notes
    assert f"these names of raters {one} [['A  B', 'a b']]" in notes


def test_two_byte_spellings_of_one_name_are_one_name(tmp_path):
    """ "é" as one character and as two, in names of audio, raters, labels, speakers and columns."""
    spelt = [unicodedata.normalize(form, "é {}") for form in ("NFC", "NFD")]
    audio = tones(tmp_path / "audio", [f"{spelt[i % 2].format(i)}.wav" for i in range(6)])
    rows = [(name.format(i), name.format(r), name.format("joy" if r else "fear"), name.format(i % 3))
            for i in range(6) for r in range(2) for name in [spelt[(i + r) % 2]]]  # fmt: skip
    path = write_csv(tmp_path / "t.csv", rows, ["utterance", "rater", spelt[1].format("label"), "speaker"])
    maps = ({name.format(word): word for word in ("joy", "fear")} for name in spelt)
    owns = [
        read_own_corpus(path, audio, columns={"label": name.format("label")}, classes=classes)
        for name, classes in zip(spelt, maps, strict=True)
    ]
    for own in owns:
        assert {one.speaker for one in own.scan.utterances} == {spelt[0].format(i) for i in range(3)}
        assert {r.rater for one in own.scan.utterances for r in one.ratings} == {spelt[0].format(i) for i in range(2)}
        assert own.scan.rows.counts["votes_used"] == 12 and not own.scan.listed and not own.scan.rows.listed
        assert own.policy.classes == ("joy", "fear")
        assert "were written as one character (Unicode NFC) in 24 cells" in own.scan.notes[0]
    (tmp_path / "plain.csv").write_text(unicodedata.normalize("NFC", path.read_text()))
    plain = read_own_corpus(tmp_path / "plain.csv", audio, columns={"label": spelt[0].format("label")})
    assert not any("NFC" in note for note in plain.scan.notes)


def test_without_speakers_utterances_are_divided_only_if_asked_and_cards_say_so(table, tmp_path, capsys):
    path, audio = table([row[:3] for row in sixty_rows()], HEADER[:3])
    with pytest.raises(ValueError, match="no column is named as the speaker's.*--columns speaker=NAME.*--no-speakers"):
        build_from_ratings(path, audio, tmp_path / "out", progress=False)
    out = tmp_path / "out"
    report = build_from_ratings(path, audio, out, no_speakers=True, progress=False)
    assert {part["speakers"] for part in report.content["configs"]["slc-strict"]["splits"].values()} == {0}
    card = (out / "README.md").read_text()
    assert "**Speakers are not known.**" in card and "the same voice may be on both sides" in card
    assert "speakers: unknown" in preview_ratings(path, audio, no_speakers=True)
    with pytest.raises(ValueError, match="--no-speakers came, but the table has a column of speakers, 'speaker'"):
        read_own_corpus(*table(name="other.csv"), no_speakers=True)
    rows, header = [(*row[:3], "f") for row in sixty_rows()], [*HEADER[:3], "sex"]
    with pytest.raises(ValueError, match="--columns sex=sex came with --no-speakers; sex and age are stored for each"):
        read_own_corpus(*table(rows, header), no_speakers=True, columns={"sex": "sex"})
    assert "so what rows say of speakers is not used: ['sex']" in preview_ratings(
        *table(rows, header), no_speakers=True
    )


# ---- labels --------------------------------------------------------------------------------------------------------


def test_spellings_end_the_build_and_its_yaml_mends_them(table, tmp_path, capsys):
    rows = [(u, r, {"r0": "angry", "r1": "Anger "}.get(r, x) if x == "anger" else x, s) for u, r, x, s in sixty_rows()]
    path, audio = table(rows)
    asked = ["build", "--ratings", str(path), "--audio", str(audio), "--out", str(tmp_path / "out"), "--no-progress"]
    assert main(asked) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "look like spellings of one another" in text and not (tmp_path / "out").exists()
    lines = text.split("its own:  ")[1].split("  -- ")[0].split(", ")
    (tmp_path / "map.yaml").write_text("\n".join(lines))
    assert main([*asked, "--classes", str(tmp_path / "map.yaml")]) == 0
    said = capsys.readouterr().out
    assert "white space before, after or twice within labels was taken off in" in said
    assert "'anger' is written in several ways, which are one label: 'anger'" in said
    assert read_dataset_info(tmp_path / "out")["classes"] == ["anger", "happiness", "neutral", "sadness"]
    assert main([*asked, "--as-found", "--overwrite"]) == 0
    assert read_dataset_info(tmp_path / "out")["classes"] == ["anger", "angry", "happiness", "neutral", "sadness"]


def test_a_class_map_merges_and_leaves_out(table, tmp_path):
    classes = {"anger": "negative", "sadness": "negative", "happiness": "positive", "neutral": None}
    report = build_from_ratings(*table(), tmp_path / "out", classes=classes, progress=False)
    c = report.content
    assert c["classes"] == ["negative", "positive"]
    n = sum(label == "neutral" for _, _, label, _ in sixty_rows())
    assert c["votes"]["excluded"] == {"outside the classes: neutral": n} and c["votes"]["counted"] == 300 - n
    assert c["counts"]["listed_by_reason"]["outside_classes"] > 5


def test_several_labels_in_a_cell_count_as_the_rules_say(table, tmp_path):
    rows = [(u, r, f"{label}; neutral" if label != "neutral" else label, s) for u, r, label, s in sixty_rows()]
    n = sum(label != "neutral" for _, _, label, _ in sixty_rows())
    path, audio = table(rows)
    first = build_from_ratings(path, audio, tmp_path / "first", progress=False).content
    assert first["votes"]["in"] == 300 + n and first["votes"]["excluded"] == {"second label of a rater": n}
    assert "hold several labels, with ';' between them" in "\n".join(first["notes"])
    rules = {"multi_label": "each"}
    each = build_from_ratings(path, audio, tmp_path / "each", rules=rules, progress=False).content
    assert each["votes"]["counted"] == 300 + n and each["policy_fingerprint"] != first["policy_fingerprint"]
    none = read_own_corpus(path, audio, separator="none", as_found=True)
    assert "anger; neutral" in none.policy.classes
    counts = table([("clip_00", 3, 1, "s0"), ("clip_01", 0, 2, "s1")], ["utterance", "anger", "joy", "speaker"])
    with pytest.raises(ValueError, match=r"--separator ';' came, and the columns \['anger', 'joy'\] hold numbers"):
        read_own_corpus(*counts, separator=";")


# ---- facts ---------------------------------------------------------------------------------------------------------

FACTS_FILE = """
name: tones-2026
licence: CC BY 4.0
licence_id: cc-by-4.0
terms: Name its makers.
citation: |
  @misc{tones, title = {Tones}}
homepage: https://example.org/tones
language: en
speech: made tones that nobody spoke
redistributable: true
group: speaker
classes:
  anger: anger
  happiness: happiness
  neutral: neutral
  sadness: sadness
"""


def test_facts_stand_on_the_card_and_decide_who_may_see_a_push(table, tmp_path):
    path, audio = table()
    (path.parent / "corpus.yaml").write_text(FACTS_FILE)
    out = tmp_path / "out"
    content = build_from_ratings(path, audio, out, progress=False).content
    assert content["corpus"] == "tones-2026" and content["policy"]["name"] == "tones-2026"
    card = (out / "README.md").read_text()
    for text in ("license: cc-by-4.0", "language:\n- en", "[tones-2026](https://example.org/tones): made tones",
                 "CC BY 4.0. Name its makers.", "@misc{tones"):  # fmt: skip
        assert text in card
    pushed = push_dataset(out, "me/tones", PushOptions(dry_run=True))
    assert "listed.csv" in str(pushed)
    other = path.with_name("elsewhere.yaml")
    other.write_text("name: mine\n")
    out = tmp_path / "private"
    build_from_ratings(path, audio, out, corpus=other, progress=False)
    card = (out / "README.md").read_text()
    assert "license: unknown" in card and "Licence not given. What it forbids is not recorded" in card
    with pytest.raises(PushError, match="private"):
        push_dataset(out, "me/tones", PushOptions(dry_run=True))
    push_dataset(out, "me/tones", PushOptions(dry_run=True, private=True))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nme: x\n", "has the field 'nme', which there is not. Its fields, all optional, are: name"),
        ("name: a b\n", "name: 'a b'; allowed is letters, digits"),
        ("name: ../x\n", "name: '../x'"),
        ("language: no\n", "language: False, and it must be a text"),
        ("language: English please\n", "allowed is the ISO code"),
        ("homepage: javascript:x\n", "allowed is an address"),
        ("redistributable: maybe\n", "must be true or false"),
        ("group: country\n", "allowed is speaker or session"),
        ("group: session\n", "no column is named as the session's.*--columns session=NAME; or write group: speaker"),
        ("name: crema_d\n", "called 'crema_d', as a corpus of this package"),
        ("classes: [a]\n", "must map labels to classes"),
        ("- x\n", "must hold `field: value` lines"),
        ("", "is empty"),
    ],
)
def test_facts_that_cannot_be_used_are_refused_in_one_line(table, tmp_path, text, why):
    path, audio = table()
    (path.parent / "corpus.yaml").write_text(text)
    with pytest.raises(ValueError, match=why) as caught:
        read_own_corpus(path, audio)
    assert "\n" not in str(caught.value)


def test_classes_in_two_places_are_refused(table):
    path, audio = table()
    (path.parent / "corpus.yaml").write_text(FACTS_FILE)
    with pytest.raises(ValueError, match="--classes came, and .*corpus.yaml has classes"):
        read_own_corpus(path, audio, classes={"anger": "x"})
    with pytest.raises(ValueError, match="--as-found came with classes: in .*corpus.yaml, which says.*Leave one"):
        read_own_corpus(path, audio, as_found=True)
    (path.parent / "corpus.yaml").unlink()
    with pytest.raises(ValueError, match="--as-found came with --classes, which says"):
        read_own_corpus(path, audio, as_found=True, classes={label: label for label in LABELS})


def test_facts_of_somebody_else_have_no_effect_on_a_card():
    facts = yaml.safe_load(FACTS_FILE) | {
        "name": "<b>x</b>", "terms": "[click](http://evil)\n# Title", "citation": "@misc{x}\n```\n# Title",
        "homepage": "https://x) [y](http://evil", "language": "en\nlicense: mit", "licence_id": "mit\nx: y",
        "redistributable": "yes", "group": "id",
    }  # fmt: skip
    corpus = corpus_module(facts)
    assert corpus.NAME == "&lt;b>x&lt;/b>" and "\n" not in corpus.TERMS and "\\](http" in corpus.TERMS
    assert "```" not in corpus.CITATION and corpus.HOMEPAGE == corpus.LANGUAGE == "" and corpus.LICENSE_ID == "other"
    assert corpus.REDISTRIBUTABLE is False and corpus.GROUP == "speaker"
    assert known_corpus({"corpus": "nobody's"}) is None and known_corpus({"corpus": "crema_d"}).NAME == "crema_d"


# ---- previews and the command line ---------------------------------------------------------------------------------


def test_a_preview_says_what_would_be_built_and_writes_nothing(table, mine, capsys, tmp_path):
    path, audio = table([*sixty_rows(59), *FAULTS])
    before = sorted(p.name for p in tmp_path.rglob("*"))
    assert main(["build", "--ratings", str(path), "--audio", str(audio), "--preview"]) == 0
    text = capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    own = read_own_corpus(path, audio)
    votes = tally(own.policy, own.scan.ratings()).votes
    for part in (
        "ratings: 59 utterances with audio, 296 votes, raters: 6, speakers: 6",
        "rows: 303 in = 299 used + 4 listed",
        "votes in the rows: 301 = 296 of utterances with audio + 3 in listed rows + 2 of listed utterances",
        "votes an utterance: 5 to 6, median 5",
        "Fleiss' kappa 0.", "Krippendorff's alpha 0.", "1 x rated_twice: the rater has rated",
        f"ratings.csv:{2 + 59 * 5 + 1}: rated_twice, 'clip_00': rater 'r0'",
        f"ratings.csv:{2 + 59 * 5 + 7}: malformed_line",
        "Nothing was written",
    ):  # fmt: skip
        assert part in text, part
    bars = {
        line.split()[0]: int(re.search(r"# +(\d+) votes", line)[1])
        for line in text.splitlines()
        if "votes, con" in line
    }
    assert list(bars.values()) == votes.sum(axis=0).tolist()
    tiers = [
        int(line.split()[-1])
        for line in text.splitlines()
        if re.match(r"  (clear|moderate|ambig\w+|no_con\w+) ", line)
    ]
    bits = [int(line.split()[-1]) for line in text.splitlines() if re.match(r"  \d\.\d\d ", line)]
    assert sum(tiers) == sum(bits) == 59


def test_a_preview_says_which_splits_there_would_be_and_why_not(table, tmp_path):
    path, audio = table()
    splits = build_from_ratings(path, audio, tmp_path / "out", seed=4, progress=False).content["configs"]["slc-strict"]
    shown = ", ".join(f"{name} {part['rows']}" for name, part in splits["splits"].items())
    options = SplitOptions(seed=4)
    assert f"  slc-strict: {shown}\n" in preview_ratings(path, audio, options=options)
    two = [(u, r, x, f"s{int(s[1]) % 2}") for u, r, x, s in sixty_rows()]
    text = preview_ratings(*table(two), configs=["slc-strict", "kfold2-paper"])
    assert "cannot be made: slc-strict: a strict split needs at least 3 speakers" in text
    assert "kfold2-paper-0: " in preview_ratings(*table(two), configs=["kfold2-paper"])


def test_a_preview_says_whose_labels_a_build_has_and_why_it_cannot_make_them(table, monkeypatch):
    path, audio = table()
    assert "\nlabels" not in preview_ratings(path, audio)
    said = "\nlabels: a build's are by mace; the consensus and shares shown here are those of the votes\n"
    text = preview_ratings(path, audio, aggregation="mace")
    assert said in text and "cannot be made" not in text
    nobody = table([(u, x, s) for u, _, x, s in sixty_rows()], ["utterance", "label", "speaker"], "nobody.csv")
    text = preview_ratings(*nobody, aggregation="mace")
    assert said in text and "\nlabels cannot be made: label policy 'nobody': aggregation='mace' models each" in text
    text = preview_ratings(path, audio, self_reports=True)
    assert "labels cannot be made: label policy 'ratings': self_reports=True (--self-reports) changes nothing" in text
    monkeypatch.setattr("hf_ambiser.labels.aggregation.metadata.version", _not_installed)
    assert "labels cannot be made: modelling raters" in preview_ratings(path, audio, aggregation="mace")


def _not_installed(name):
    raise PackageNotFoundError(name)


def test_a_preview_of_one_vote_each_says_that_nobody_can_agree(table):
    text = preview_ratings(*table(sixty_rows(60, 1)))
    assert "no utterance has two votes" in text and "nothing is wrong with any row" in text


def test_a_preview_shows_no_control_characters(table):
    assert "\x1b" not in preview_ratings(*table([*sixty_rows(), ("clip\x1b[2J", "\x1b", "anger", "s0")]))


def test_the_command_and_the_function_build_the_same(mine, tmp_path, capsys):
    build_from_ratings(
        *mine, tmp_path / "python", columns={"speaker": "speaker"}, rules={"rule": "majority"}, seed=3,
        configs=["kfold3-strict"], progress=False,
    )  # fmt: skip
    options = ["--columns", "speaker=speaker", "--rule", "majority", "--seed", "3", "--configs", "kfold3-strict"]
    place = ["--ratings", str(mine[0]), "--audio", str(mine[1]), "--out", str(tmp_path / "command"), "--no-progress"]
    assert main(["build", *place, *options]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("60 in = ")
    files = [{p.name: p.read_bytes() for p in (tmp_path / w).rglob("*.*")} for w in ("python", "command")]
    assert files[0] == files[1] and "build_report.json" in files[0]


def test_help_and_mistakes_of_the_command(mine, tmp_path, capsys):
    for words, text in (
        (["--ratings", "--help"], "--class-columns"),
        (["--help"], "--ratings TABLE --audio FOLDER"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["build", *words])
        assert caught.value.code == 0 and text in capsys.readouterr().out
    place = ["build", "--ratings", str(mine[0]), "--audio", str(mine[1])]
    for more, text in (
        ([], "one of --out FOLDER and --preview"),
        (["--preview", "--out", "x"], "one of --out FOLDER and --preview"),
        (["--preview", "--limit", "3"], "--preview writes nothing and looks at all rows"),
        (["--preview", "--columns", "label"], "not WHAT=NAME"),
        (["--preview", "--columns", "label=a", "label=b"], "names one thing twice"),
    ):
        with pytest.raises(SystemExit) as caught:
            main([*place, *more])
        assert caught.value.code == 2 and text in capsys.readouterr().err
    (tmp_path / "empty.csv").write_text("clip,label,speaker\n")
    for table, audio, text in (
        (mine[0], tmp_path / "gone", "--audio"),
        (tmp_path / "gone.csv", mine[1], "does not exist"),
        (tmp_path / "empty.csv", mine[1], "has column names and no row"),
    ):
        assert main(["build", "--ratings", str(table), "--audio", str(audio), "--preview"]) == 2
        said = capsys.readouterr().err
        assert text in said and said.count("\n") == 1


def test_a_table_without_votes_or_without_audio_says_what_to_look_at(table, tmp_path):
    path, audio = table([(f"clip_{i:02d}", "0", "0", "s1") for i in range(9)] + [("clip_10", "x", "1", "s1")],
                        ["clip", "anger", "joy", "spk"])  # fmt: skip
    why = "no vote that can be used: 10 rows, 1 of them listed.*ratings.csv:11, malformed_line, anger is 'x'"
    with pytest.raises(ValueError, match=why):
        preview_ratings(path, audio)
    path, audio = table([(f"klip{row[0]}", *row[1:]) for row in sixty_rows()])
    assert "60 x label_without_audio" in preview_ratings(path, audio)
    with pytest.raises(ValueError, match="no utterance of ratings.csv can be used; 120 are listed.*check --audio"):
        build_from_ratings(path, audio, tmp_path / "out", progress=False)


def test_answers_of_several_raters_in_one_cell_stop_the_build(table):
    rows = [(f"clip_{i:02d}", "joy;fear" if i < 3 else "joy;fear; Joy", f"s{i % 4}") for i in range(12)]
    why = r"ratings.csv: the cell 'joy;fear; Joy' in line 5 holds 'Joy' twice, and 8 more cells.*a row of his own"
    with pytest.raises(ValueError, match=why):
        read_own_corpus(*table(rows, ["clip", "label", "speaker"]))
    assert len(read_own_corpus(*table(rows[:3], ["clip", "label", "speaker"])).scan.utterances) == 3
    path, audio = table([])
    for rater, refused in ((None, True), ("r1", False)):  # a list without a rater's name is several raters'
        lists = [{"clip": row[0], "rater": rater, "label": ["joy", "fear", "joy"], "speaker": row[2]} for row in rows]
        path.with_suffix(".json").write_text(json.dumps(lists))
        with pytest.raises(ValueError, match="holds 'joy' twice") if refused else nullcontext():
            read_own_corpus(path.with_suffix(".json"), audio)


def test_shares_in_columns_of_counts_stop_the_build_and_percentages_are_noted(table):
    header = ["clip", "anger", "joy", "speaker"]

    def read(*counts):
        return read_own_corpus(*table([(f"clip_{i:02d}", *c, f"s{i % 4}") for i, c in enumerate(counts)], header))

    for share in ((0.667, 0.333), ("66,7", "33,3"), ("67%", "33%")):
        with pytest.raises(ValueError, match=f"anger is '{share[0]}' in line 4, and 1 of 3 rows.*Give the counts"):
            read((1, 0), (0, 1), share)
    with pytest.raises(ValueError, match="joy is '0.5' in line 2, and 2 of 3 rows have fractions or percentages"):
        read((2, 0.5), (2.5, 1), (1, 1))
    slip = read((2, 1), (2.5, 1), (1, 1))
    assert [item.source for item in slip.scan.rows.listed] == ["ratings.csv:3"]
    assert not any("percentages" in note for note in slip.scan.notes)
    note = "the counts of 3 of 3 rows sum to 99, 100 or 101; if they are percentages"
    assert any(note in one for one in read((67, 33), (100, 0), (50, 49)).scan.notes)


def test_a_preview_shows_each_reason_before_further_examples(table, mine):
    path, audio = table([*[("gone", f"r{i}", "", "s0") for i in range(40)], *[("", "r0", "joy", "s0")] * 30,
                         *sixty_rows(59), *FAULTS])  # fmt: skip
    lines = preview_ratings(path, audio, as_found=True).split("\nlisted:\n")[1].splitlines()
    reasons = {line.split(" x ")[1].split(":")[0] for line in lines if " x " in line}
    examples = [line.split(": ")[1].split(",")[0] for line in lines if line.startswith("    ") and ": " in line]
    assert set(examples) == reasons and len(examples) == 20 and len(reasons) > 4
    assert not any("release" in line for line in lines)


def test_cells_that_hold_objects_are_refused(mine, tmp_path):
    (tmp_path / "t.jsonl").write_text(
        '{"clip": "clip_00", "speaker": "s", "label": [{"rater": "a", "label": "joy"}]}\n'
    )
    with pytest.raises(ValueError, match="t.jsonl: the cells of labels hold objects, and a table has one rating in a"):
        read_own_corpus(tmp_path / "t.jsonl", mine[1])


def test_one_class_only_and_a_folder_that_is_taken_are_refused(table, tmp_path):
    path, audio = table([(u, r, "anger", s) for u, r, _, s in sixty_rows()])
    with pytest.raises(ValueError, match="for 1 class only"):
        build_from_ratings(path, audio, tmp_path / "out", progress=False)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("x")
    with pytest.raises(FileExistsError, match="not a built data set"):
        build_from_ratings(path, audio, tmp_path / "taken", progress=False)


def test_a_field_that_no_policy_has_is_refused(table):
    with pytest.raises(TypeError, match="rul"):
        read_own_corpus(*table(), rul="majority")
    assert read_own_corpus(*table(), rule="majority").policy == LabelPolicy(
        "ratings", tuple(sorted(LABELS)), {label: label for label in sorted(LABELS)}, rule="majority"
    )


def test_rows_that_do_not_add_up_are_a_bug_that_is_seen():
    from hf_ambiser.data.schema import TableRows

    names = ("rows_in", "rows_used", "rows_listed", "votes_in", "votes_used", "votes_in_listed_rows")
    counts = dict.fromkeys((*names, "votes_of_listed_utterances", "empty_cells"), 0)
    TableRows(counts, [])
    for name in names:
        with pytest.raises(ValueError, match="do not add up"):
            TableRows({**counts, name: 1}, [])


def test_a_spoilt_table_is_a_file_error(mine, tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(FileError, match=r"t.parquet is not a whole Parquet file.*Save the table as UTF-8 CSV"):
        read_own_corpus(tmp_path / "t.parquet", mine[1])
