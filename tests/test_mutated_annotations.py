"""Whatever happens to a file of annotations, no vote is invented or lost, and a fault is one of the package's own."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from helpers.made_annotations import choice, eaf, recording, task, textgrid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_ambiser.data.ratings.audio_files import AudioFolder
from hf_ambiser.data.ratings.columns import find_columns
from hf_ambiser.data.ratings.label_studio import is_label_studio, label_studio_table
from hf_ambiser.data.ratings.long_or_wide import rated_table
from hf_ambiser.data.ratings.tiers import annotated_files, tiers_table
from hf_ambiser.files.read import FileError
from hf_ambiser.files.tables import read_json_list, table_of_json
from hf_ambiser.files.tiers import TierFault


FAST = settings(max_examples=200, deadline=None, database=None, derandomize=True)
LONG = settings(max_examples=10_000, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
SECONDS = 4.0
TIMES = st.sampled_from([0.0, 0.5, 1.0, 1.0004, 2.25, 3.999, 4.0, 4.03, 5.0])
WORDS = st.sampled_from(["anger", "joy", 'a "b"', "", " ", "x < y & z", "ж"])
MARKS = st.lists(st.tuples(TIMES, TIMES, WORDS), max_size=5)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutated")
    recording(folder / "audio" / "rec.wav", SECONDS)
    return folder, AudioFolder(folder / "audio")


def by_hand(raters: dict[str, list[tuple[float, float, str]]]) -> tuple[Counter, int]:
    """The votes of the parts that the recording has, (start, end in ms, rater, label) each, and how many others."""
    votes: Counter = Counter()
    said: set[tuple[int, int, str]] = set()
    others = 0
    for rater, marks in raters.items():
        cells: dict[tuple[float, float], list[str]] = {}
        for start, end, text in marks:
            if text.strip():
                cells.setdefault((start, end), []).append(text.strip())
        for (start, end), labels in cells.items():
            end = min(end, SECONDS) if end <= SECONDS + 0.05 else end
            whole = start == 0 and end >= SECONDS - 1e-3
            part = (0, round(SECONDS * 1000)) if whole else (round(start * 1000), round(end * 1000))
            if start >= end or end > SECONDS or (*part, rater) in said:
                others += len(labels)
            else:
                said.add((*part, rater))
                votes.update((*part, rater, label) for label in labels)
    return votes, others


def check_votes(place, raters, program):
    folder, audio = place
    if program == "Praat":
        tiers = {rater: [(0.0, 0.0, ""), *marks] for rater, marks in raters.items()}
        path = folder / "rec.TextGrid"
        path.write_text(textgrid(tiers, SECONDS), encoding="utf-8")
    else:
        path = folder / "rec.eaf"
        path.write_text(eaf({rater: {"marks": marks} for rater, marks in raters.items()}), encoding="utf-8")
        raters = {r: [(round(a * 1000) / 1000, round(b * 1000) / 1000, t) for a, b, t in m] for r, m in raters.items()}
    table, roles = tiers_table(path, annotated_files(path), {}, list(raters))
    rated = rated_table(table, find_columns(list(table.columns), roles), audio, "none")
    votes: Counter = Counter()
    lost = 0
    for one in rated.utterances:
        if hasattr(one.audio, "reason"):
            assert one.audio.reason == "no_such_part"
            lost += one.votes
            continue
        start, end = one.audio.id.split("_")[1:] if "_" in one.audio.id else (0, SECONDS * 1000)
        votes.update((int(start), int(end), r.rater, label) for r in one.ratings for label in r.labels)
    wanted, others = by_hand(raters)
    assert votes == wanted
    counts = rated.rows(lost).counts
    assert counts["votes_of_listed_utterances"] + counts["votes_in_listed_rows"] == others
    assert counts["votes_in"] == wanted.total() + others and counts["rows_in"] == len(table.lines)


RATERS = st.dictionaries(st.sampled_from(["Kim", "Lee", "Sam"]), MARKS, min_size=1)
PROGRAMS = st.sampled_from(["Praat", "ELAN"])


@FAST
@given(raters=RATERS, program=PROGRAMS)
def test_no_vote_is_invented_or_lost(place, raters, program):
    check_votes(place, raters, program)


@pytest.mark.slow
@LONG
@given(raters=RATERS, program=PROGRAMS)
def test_no_vote_is_invented_or_lost_in_ten_thousand_files(place, raters, program):
    check_votes(place, raters, program)


SOUND = {
    "a.TextGrid": textgrid(
        {"emotion": [(0, 1, "joy"), (1.5, 2, 'a "b"')], "speaker": [(0, 4, "s1")]}, points=["bell"]
    ),
    "a.eaf": eaf(
        {"t": {"marks": [(0, 1, "joy")]}, "e": {"kind": "emotion", "rater": "k", "marks": [("t", 0, "joy")]}}
    ),
    "a.json": json.dumps([task(1, "rec.wav", (1, [choice("joy", start=0.5, end=1)]), (2, None), speaker="s")]),
    "min.json": json.dumps([{"audio": "rec.wav", "emotion": {"choices": ["joy"]}, "annotator": 1, "n": [1.5, None]}]),
}
PIECES = [
    b"",
    b'"',
    b"<",
    b">",
    b"&x;",
    b"\0",
    b"\xff",
    b"[",
    b"{",
    b"null",
    b"1e999",
    b"-1",
    b"true",
    b"</TIER>",
    b"!\n",
]


@st.composite
def spoilt(draw):
    """(name, bytes): a file, of which a few pieces are taken out, put twice or replaced."""
    name = draw(st.sampled_from(sorted(SOUND)))
    data = SOUND[name].encode()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.sampled_from([0, 1, 2, 5, 40, 10_000])))
        data = data[:at] + draw(st.sampled_from([*PIECES, data[at:until] * 2])) + data[until:]
    return name, data


def check_spoilt(place, name, data):
    folder, audio = place
    path = folder / f"spoilt_{name}"
    path.write_bytes(data)
    try:
        if name.endswith(".json"):
            values, said = read_json_list(path)
            export = is_label_studio(values)  # what has lost all its marks is a table
            table, roles = (
                label_studio_table(path, values, {}, lambda audio_name: False)
                if export
                else (table_of_json(path, values, said), {})
            )
        else:
            table, roles = tiers_table(path, [path], {})
        rated = rated_table(table, find_columns(list(table.columns), roles), audio, "none")
    except (FileError, TierFault, ValueError) as error:
        assert type(error) in (FileError, ValueError) and "\n" not in str(error)
        assert type(error) is not FileError or str(error).startswith(str(path))
        return
    lost = sum(one.votes for one in rated.utterances)
    counts = rated.rows(lost).counts
    assert counts["rows_in"] == len(table.lines) + len(table.broken)
    assert all(item.source.startswith(path.name) and str(folder) not in item.detail for item in rated.listed)


@FAST
@given(file=spoilt())
def test_a_spoilt_file_is_rows_or_one_line(place, file):
    check_spoilt(place, *file)


@pytest.mark.slow
@LONG
@given(file=spoilt())
def test_ten_thousand_spoilt_files_are_rows_or_one_line(place, file):
    check_spoilt(place, *file)
