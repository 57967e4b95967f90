"""No vote is invented and none is lost, whatever is done to a table; agreement is what its pairs say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from helpers.made_ratings import csv_text, tones
from helpers.votes_by_hand import count_by_hand, kappa_and_alpha_by_hand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_ambiser.data.ratings.audio_files import AudioFile, AudioFolder
from hf_ambiser.data.ratings.columns import find_columns
from hf_ambiser.data.ratings.long_or_wide import rated_table
from hf_ambiser.data.schema import REASONS
from hf_ambiser.files.tables import read_table_file
from hf_ambiser.labels.votes import fleiss_kappa, krippendorff_alpha


# Name in a table -> the id of its file. Other names have no audio.
FILES = {"a": "a", "a.wav": "a", "x/b": "x/b", "b": "x/b", "é ö.wav": "é ö", 'q"u': 'q"u', "semi;colon": "semi;colon"}
NAMES = [*FILES, "gone", "../a.wav", "", " ", "a ", "twin", "x/../a", "new\nline"]
SPEAKERS = ["s1", "s2", " s1 ", ""]
RATERS = ["r1", "r2", "r 3", "ж", "", " r1"]
WORDS = ["anger", "Anger ", "happy", "sad|ness", "naïve, very", "two\nlines", " ", "", "joy;anger", "x;;y", "'; drop"]
WIDE = ("anger", "joy", "fear")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutated")
    names = ["a.wav", "x/b.wav", "é ö.wav", 'q"u.wav', "semi;colon.flac", "twin.wav", "twin.flac"]
    return folder, AudioFolder(tones(folder / "audio", names))


@st.composite
def tables(draw):
    """(kind, rows, delimiter, line end, encoding): a table, then some of what people do to tables."""
    kind = draw(st.sampled_from(["long", "raters", "classes"]))
    name, speaker, rater = st.sampled_from(NAMES), st.sampled_from(SPEAKERS), st.sampled_from(RATERS)
    cell = {
        "long": st.sampled_from(WORDS),
        "raters": st.sampled_from(WORDS),
        "classes": st.sampled_from(["0", "1", "3", "", " 2", "x", "-1", "1e"]),
    }[kind]
    shape = st.tuples(name, speaker, rater, cell) if kind == "long" else st.tuples(name, speaker, *[cell] * len(WIDE))
    rows = [list(row) for row in draw(st.lists(shape, min_size=1, max_size=12))]
    for change in draw(st.lists(st.sampled_from(["twice", "cut", "more", "blank", "swap"]), max_size=4)):
        row = draw(st.integers(0, len(rows) - 1))
        if change == "twice":
            rows.insert(row, list(rows[row]))
        elif change == "cut":
            rows[row] = rows[row][: draw(st.integers(1, 3))]
        elif change == "more":
            rows[row] = [*rows[row], draw(st.sampled_from(["", "extra"]))]
        elif change == "blank":
            rows.insert(row, [""] * draw(st.integers(1, 5)))
        else:
            rows.append(rows.pop(row))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return kind, rows, delimiter, end, encoding


def check_votes(place, table):
    kind, rows, delimiter, end, encoding = table
    folder, audio = place
    header = ["utterance", "speaker", *(("rater", "label") if kind == "long" else WIDE)]
    path = folder / "table.csv"
    # Enough plain rows that the delimiter is no riddle; nobody has voted in them.
    plain = [[f"plain{i}", "s9", *[""] * (len(header) - 2)] for i in range(30)]
    path.write_bytes(csv_text([header, *plain, *rows], delimiter, end).encode(encoding))
    columns = find_columns(
        header,
        class_columns=WIDE if kind == "classes" else (),
        rater_columns=WIDE if kind == "raters" else (),
    )
    rated = rated_table(read_table_file(path), columns, audio, None if kind == "classes" else ";")
    by_hand = count_by_hand([*plain, *rows], FILES, ";", kind, WIDE)

    votes: Counter[tuple[str, str, str]] = Counter()
    lost = 0
    for one in rated.utterances:
        key = one.audio.id if isinstance(one.audio, AudioFile) else f"no audio: {one.name}"
        lost += 0 if isinstance(one.audio, AudioFile) else sum(len(rating.labels) for rating in one.ratings)
        votes.update((key, rating.rater or "", label) for rating in one.ratings for label in rating.labels)
    assert votes == by_hand.votes
    assert Counter(item.reason for item in rated.listed) == by_hand.reasons and set(by_hand.reasons) <= set(REASONS)
    counts = rated.rows(lost).counts  # raises if the sums do not hold
    assert counts["rows_in"] == by_hand.rows
    assert counts["votes_in"] == by_hand.votes.total() + by_hand.votes_in_listed_rows
    assert counts["empty_cells"] == by_hand.empty
    assert sum(n.total() for n in rated.labels.values()) == by_hand.votes.total()
    places = [int(item.source.rpartition(":")[2]) for item in rated.listed]
    assert len(set(places)) == len(places)


FAST = settings(max_examples=200, deadline=None, database=None, derandomize=True)
LONG = settings(max_examples=10_000, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@FAST
@given(table=tables())
def test_no_vote_is_invented_or_lost(place, table):
    check_votes(place, table)


@pytest.mark.slow
@LONG
@given(table=tables())
def test_no_vote_is_invented_or_lost_in_ten_thousand_tables(place, table):
    check_votes(place, table)


def test_a_lost_vote_is_seen(place, monkeypatch):
    """The property can fail: with a reader that forgets a rating, it does."""
    import hf_ambiser.data.ratings.long_or_wide as module

    rows = [["a", "s1", "r1", "anger"], ["a", "s1", "r2", "anger"]]
    table = ("long", rows, ",", "\n", "utf-8")
    check_votes(place, table)
    monkeypatch.setattr(module, "labels_of", lambda cell, mark: () if cell == "anger" else (cell,) if cell else ())
    with pytest.raises(AssertionError):
        check_votes(place, table)


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_what_every_pair_of_votes_says(seed):
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(1, [0.5, 0.3, 0.2], size=(20, int(rng.integers(2, 6)))).sum(axis=1)
    votes[0] = [1, 0, 0]  # a single vote has no pair
    votes[1] = 0
    votes[2] = [0, 7, 2]
    kappa, alpha = kappa_and_alpha_by_hand(votes.tolist())
    assert fleiss_kappa(votes) == pytest.approx(kappa) and krippendorff_alpha(votes) == pytest.approx(alpha)


def test_alpha_of_krippendorffs_own_example():
    """His nominal example with missing values (2011, section C): 12 units, 4 observers, alpha 0.743."""
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."
    ]  # fmt: skip
    units = zip(*(line.split() for line in observers), strict=True)
    votes = np.array([[unit.count(str(value)) for value in range(1, 6)] for unit in units])
    assert krippendorff_alpha(votes) == pytest.approx(0.743, abs=5e-4)


def test_alpha_at_its_ends():
    assert krippendorff_alpha(np.array([[3, 0], [0, 2]])) == 1.0 and krippendorff_alpha(np.array([[2, 0]])) == 1.0
    with pytest.raises(ValueError, match="at least one utterance with two votes"):
        krippendorff_alpha(np.array([[1, 0], [0, 0]]))


def test_marks_beside_a_rater_are_that_raters_rating(place):
    """One row a rating, one column a class: the same ratings as with the labels in one cell."""
    folder, audio = place
    marks = [
        ["clip", "annotator", *WIDE],
        ["a", "r1", "1", "0", ""],
        ["a", "r2", "1", "0", "1"],
        ["b", "r1", "", "0", ""],
    ]
    long = [["clip", "annotator", "label"], ["a", "r1", "anger"], ["a", "r2", "anger;fear"], ["b", "r1", ""]]
    found = []
    for rows in (marks, long):
        path = folder / "marks.csv"
        path.write_text(csv_text(rows), encoding="utf-8")
        table = read_table_file(path)
        columns = find_columns(list(table.columns))
        assert not columns.wide
        rated = rated_table(table, columns, audio)
        found.append(([(one.name, one.ratings) for one in rated.utterances], dict(rated.counts), rated.listed))
    assert found[0] == found[1] and found[0][1]["votes_used"] == 3 and found[0][1]["empty_cells"] == 1

    marks[2][4] = "2"
    path.write_text(csv_text(marks), encoding="utf-8")
    table = read_table_file(path)
    (listed,) = rated_table(table, find_columns(list(table.columns)), audio).listed
    assert "fear is '2', and beside the raters in 'annotator' a class is marked by 1 or 0" in listed.detail
