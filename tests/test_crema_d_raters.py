"""CREMA-D's single answers: who voted, by the release's own rule, and what works once raters have names."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.crema_d_tree import CODES, csv_row, encode, made_corpus, tone, write_responses, write_tree

from hf_ambiser.data.build import build
from hf_ambiser.data.corpora import crema_d
from hf_ambiser.data.intensities import INTENSITIES, read_intensities
from hf_ambiser.data.push import dataset_publication
from hf_ambiser.files.read import FileError
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.labels.votes import tally


WAV = encode(tone())
NAMES = ["1001_IEO_NEU_XX", "1002_DFA_ANG_HI", "1003_TIE_SAD_XX"]
VOTES = [[0, 1, 0, 2, 3, 0], [6, 0, 0, 0, 0, 1], [1, 0, 0, 0, 2, 5]]
ROWS = [
    csv_row(n, name, votes, kind)
    for kind in (1, 2)
    for n, (name, votes) in enumerate(zip(NAMES, VOTES, strict=True), 1)
]


@pytest.fixture
def release(tmp_path) -> Path:
    write_tree(tmp_path, ROWS, {f"AudioWAV/{name}.wav": WAV for name in NAMES})
    write_responses(tmp_path, ROWS)
    return tmp_path


def change(file: Path, edit) -> None:
    with file.open(newline="") as lines:
        header, *rows = list(csv.reader(lines))
    rows = [row for row in (edit(dict(zip(header, row, strict=True))) for row in rows) if row is not None]
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([header, *([row[name] for name in header] for row in rows)])


def by_the_release(root: Path) -> dict[int, Counter]:
    """The release's own rule, step by step: row id -> letter -> answers."""
    with (root / "finishedEmoResponses.csv").open(newline="") as lines:
        clicks = list(csv.DictReader(lines))
    with (root / "finishedResponses.csv").open(newline="") as lines:
        answers = list(csv.DictReader(lines))
    distracted = []
    for click in clicks:
        if float(click["ttr"]) > 10000:
            distracted.append(
                int(click["sessionNums"]) * 1000 + int(click["queryType"]) * 100 + int(click["questNum"])
            )
    table: dict[int, Counter] = {}
    for answer in answers:
        number = int(answer["sessionNums"]) * 1000 + int(answer["queryType"]) * 100 + int(answer["questNum"])
        if number not in distracted:
            clip = 100000 * int(answer["queryType"]) + int(answer["clipNum"])
            table.setdefault(clip, Counter())[answer["respEmo"]] += 1
    return table


def test_the_votes_of_the_table_are_reproduced_with_their_raters(release):
    literal = by_the_release(release)
    assert {row[0]: row[1:7] for row in ROWS} == {
        str(number): [counts[code] for code in CODES] for number, counts in literal.items()
    }
    scan = crema_d.scan(release)
    for n, utterance in enumerate(scan.utterances, start=1):
        raters = [rating.rater for rating in utterance.ratings]
        assert None not in raters and len(set(raters)) == len(raters) == sum(VOTES[n - 1])
        counts = Counter(rating.labels[0] for rating in utterance.ratings)
        assert [counts[label] for label in crema_d.CODES.values()] == VOTES[n - 1]
        assert all(20 <= rating.intensity <= 100 for rating in utterance.ratings)
    told = [note for note in scan.notes if note.startswith("finishedResponses.csv")]
    assert told == [
        "finishedResponses.csv: 48 answers = 42 counted, by 12 raters, + 6 whose first click took more than 10 s,"
        " which the release leaves out, + 0 that cannot be read"
    ]


def test_with_several_kinds_a_stored_rater_says_the_kind(release):
    scan = crema_d.scan(release, ratings=("voice", "face"))
    stored = [rating.stored_rater for rating in scan.utterances[0].ratings]
    assert {name.split(":")[1] for name in stored} == {"voice", "face"} and all(name[0] == "r" for name in stored)


def test_answers_that_differ_from_the_table_leave_that_row_anonymous_and_are_said(release):
    def other(row):
        first = row["clipNum"] == "2" and row["queryType"] == "1" and row["respEmo"] == "S"
        return {**row, "respEmo": "D"} if first else row

    change(release / "finishedResponses.csv", other)
    scan = crema_d.scan(release)
    named = {utterance.id: utterance.ratings[0].rater is not None for utterance in scan.utterances}
    assert named == {NAMES[0]: True, NAMES[1]: False, NAMES[2]: True}
    assert tally(get_policy("crema-d-6"), scan.ratings()).votes.tolist() == VOTES  # as the table has them
    (note,) = [note for note in scan.notes if "gives other votes" in note]
    assert "than 1 of the rows" in note and "tabulatedVotes.csv:3 (D 1 for 0, S 0 for 1)" in note


def test_without_the_first_clicks_the_slow_answers_are_seen_as_a_difference(release):
    (release / "finishedEmoResponses.csv").unlink()
    scan = crema_d.scan(release)
    assert all(rating.rater is None for utterance in scan.utterances for rating in utterance.ratings)
    assert any("no finishedEmoResponses.csv" in note for note in scan.notes)
    assert any("gives other votes than 3 of the rows" in note for note in scan.notes)


def test_without_the_file_a_build_says_so(release):
    (release / "finishedResponses.csv").unlink()
    scan = crema_d.scan(release)
    assert all(rating.rater is None and rating.intensity is None for u in scan.utterances for rating in u.ratings)
    assert any("no finishedResponses.csv: the raters are anonymous" in note for note in scan.notes)


@pytest.mark.parametrize("field", ["localid", "respEmo", "clipNum", "questNum", "sessionNums", "queryType"])
@pytest.mark.parametrize("value", ["", "\u0664", "9" * 5000, "x"])
def test_lines_that_cannot_be_read_are_counted(field, value, release):
    if field == "localid" and value:
        value = " "  # any text is a name
    change(release / "finishedResponses.csv", lambda row: {**row, field: value} if row["X"] == "1" else row)
    scan = crema_d.scan(release)
    assert any("1 lines cannot be read: 2" in note for note in scan.notes)
    assert any("+ 1 that cannot be read" in note for note in scan.notes)
    assert scan.utterances[0].ratings[0].rater is None  # the row of that answer; its votes are the table's
    assert sum(len(utterance.ratings) for utterance in scan.utterances) == int(np.sum(VOTES))


def test_a_file_of_answers_that_is_something_else_is_refused_in_one_line(release):
    (release / "finishedResponses.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="finishedResponses.csv lacks the column"):
        crema_d.scan(release)


# ---- what works with names -----------------------------------------------------------------------------------------


def test_models_of_raters_and_intensities_work_on_a_built_data_set(tmp_path):
    root = made_corpus(tmp_path / "release", per_class=2)
    with (root / crema_d.VOTES).open(newline="") as lines:
        rows = [[row[0], *map(int, row[1:7]), *row[7:]] for row in list(csv.reader(lines))[1:]]
    counted = write_responses(root, rows, n_raters=20)
    policy = get_policy("crema-d-6", aggregation="dawid_skene")
    report = build(
        "crema_d", root, tmp_path / "out", policy, ["slc-strict"], progress=False
    ).content  # fmt: skip
    assert any("by dawid_skene" in note and "and 20 raters" in note for note in report["notes"])

    found = read_intensities(tmp_path / "out")
    by_hand = Counter((rater, crema_d.CODES[letter]) for row_id, rater, letter in counted if row_id[0] == "1")
    assert Counter((one.rater, one.label) for one in found) == by_hand
    assert {one.intensity for one in found} <= set(range(20, 101, 5))
    assert INTENSITIES in dataset_publication(tmp_path / "out").files
    (tmp_path / "out" / INTENSITIES).write_text("id,rater\n")
    with pytest.raises(FileError, match="does not have the columns id, rater, label, intensity"):
        read_intensities(tmp_path / "out")
    (tmp_path / "out" / INTENSITIES).write_text("id,rater,label,intensity\na,b,c,\u0664\n")
    with pytest.raises(FileError, match="no answer with an intensity"):
        read_intensities(tmp_path / "out")
    (tmp_path / "out" / INTENSITIES).unlink()
    assert read_intensities(tmp_path / "out") == []
