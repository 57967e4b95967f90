"""Ratings from Praat, ELAN and Label Studio: the rows of a table, parts of recordings, faults with their places."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from helpers.made_annotations import choice, eaf, recording, task, textgrid, write_json

from hf_ambiser.data.audio import AudioProblem
from hf_ambiser.data.ratings.audio_parts import Part
from hf_ambiser.data.ratings.own_corpus import read_own_corpus
from hf_ambiser.data.ratings.sources import open_ratings
from hf_ambiser.files.elan import read_elan
from hf_ambiser.files.read import FileError
from hf_ambiser.files.textgrid import read_textgrid
from hf_ambiser.files.tiers import TierFault


MARKS = {"Kim": [(0.5, 1.5, "anger"), (2.0, 3.0, "joy")], "Lee": [(0.5, 1.5, "joy"), (2.0, 3.0, "joy")]}
WANTED = {
    ("rec", 500, 1500): {("Kim", "anger"), ("Lee", "joy")},
    ("rec", 2000, 3000): {("Kim", "joy"), ("Lee", "joy")},
}


@pytest.fixture
def place(tmp_path):
    """A folder with the recording `rec.wav` of four seconds."""
    recording(tmp_path / "audio" / "rec.wav")
    return tmp_path


def votes(own):
    """(recording, start, end) -> (rater, label) of each vote."""
    found = {}
    for one in own.scan.utterances:
        name, start, end = one.id.rsplit("_", 2)
        found[name, int(start), int(end)] = {(r.rater, label) for r in one.ratings for label in r.labels}
    return found


def listed(own):
    return {(item.source, item.reason) for item in (*own.scan.rows.listed, *own.scan.listed)}


def test_a_part_of_a_recording_has_its_samples_bit_for_bit(tmp_path):
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT"):
        wave = recording(tmp_path / f"{subtype}.wav", rate=22050, subtype=subtype)
        data = Part(tmp_path / f"{subtype}.wav", 0.5, 1.25).read()
        (tmp_path / "part").write_bytes(data)
        samples, rate = soundfile.read(tmp_path / "part", dtype="float32")
        assert rate == 22050 and np.array_equal(samples, wave[11025 : round(1.25 * 22050)])
    broken = Part(tmp_path / "gone.wav", 0, 1).read()
    assert isinstance(broken, AudioProblem) and str(tmp_path) not in broken.detail
    short = Part(tmp_path / "FLOAT.wav", 3.5, 9).read()
    assert isinstance(short, AudioProblem) and "of 121275 samples of the part, 11025 are there" in short.detail


# ---- Praat ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_a_textgrid_in_each_form(tmp_path, short, encoding):
    path = tmp_path / "a.TextGrid"
    tiers = {'say "é"': [(0.25, 1.5, 'a ""quote"" and\nü')], "empty": [], "words": [(0, 4, "x = 3 <exists>")]}
    path.write_bytes(textgrid(tiers, points=["bell"], short=short).encode(encoding))
    found = read_textgrid(path).tiers
    said = {tier.name: [(one.start, one.end, one.text) for one in tier.intervals] for tier in found}
    assert said == {**tiers, "bell": []} and [tier.points for tier in found] == [0, 0, 0, 1]
    lines = textgrid(tiers, short=short).splitlines()
    assert lines[found[0].intervals[0].line - 1].split()[-1] == "0.25"


def test_a_tier_for_each_rater(place):
    (place / "rec.TextGrid").write_text(textgrid({**MARKS, "words": [(0, 1, "well")]}))
    own = read_own_corpus(place / "rec.TextGrid", place / "audio", rater_columns=["Kim", "Lee"], no_speakers=True)
    assert votes(own) == WANTED and listed(own) == set()
    text = "\n".join(own.scan.notes)
    assert "4 labels of 2 intervals in 1 files, tiers ['Kim', 'Lee']" in text
    assert "tiers that are not used: ['words']" in text
    assert own.scan.rows.counts["rows_in"] == 4 and own.scan.utterances[0].read_audio is not None


@pytest.mark.parametrize(
    ("columns", "raters", "fault"),
    [
        (
            {"start": "x", "end": "y"},
            (),
            "start=x end=y came, and in rec.TextGrid each interval has its start",
        ),
        ({"end": "y"}, (), "--columns end=y came.*Leave end out"),
        ({"rater": "folder"}, ("Kim", "Lee"), "--columns rater=folder came with --rater-columns.*Leave one"),
    ],
)
def test_what_intervals_and_tiers_say_themselves_is_named_by_no_column(place, columns, raters, fault):
    (place / "rec.TextGrid").write_text(textgrid(MARKS))
    with pytest.raises(ValueError, match=fault):
        read_own_corpus(
            place / "rec.TextGrid", place / "audio", columns=columns, rater_columns=raters, no_speakers=True
        )


def test_a_folder_for_each_rater_and_a_speaker_for_each_recording(place):
    recording(place / "audio" / "other.wav")
    for rater, marks in MARKS.items():
        for name in ("rec", "other"):
            (place / "grids" / rater).mkdir(parents=True, exist_ok=True)
            (place / "grids" / rater / f"{name}.TextGrid").write_text(textgrid({"emotion": marks}))
    own = read_own_corpus(place / "grids", place / "audio", columns={"rater": "folder", "speaker": "recording"})
    assert votes(own) == {(name, *key[1:]): said for key, said in WANTED.items() for name in ("rec", "other")}
    assert {one.speaker for one in own.scan.utterances} == {"rec", "other"}


def test_a_tier_of_labels_beside_tiers_of_raters_is_asked_about(place):
    tiers = {"emotion": MARKS["Kim"], "rater_1": MARKS["Kim"], "rater_2": MARKS["Lee"]}
    (place / "rec.TextGrid").write_text(textgrid(tiers))
    with pytest.raises(ValueError, match="--rater-columns rater_1 rater_2 or --columns label=emotion"):
        read_own_corpus(place / "rec.TextGrid", place / "audio", no_speakers=True)


def test_what_another_tier_says_of_an_interval(place):
    tiers = {"rater_1": MARKS["Kim"], "rater_2": MARKS["Lee"], "speaker": [(0, 1.9, "s1"), (1.9, 4, "s2")]}
    (place / "rec.TextGrid").write_text(textgrid(tiers))
    own = read_own_corpus(place, place / "audio")
    assert [(one.speaker, len(one.ratings)) for one in own.scan.utterances] == [("s1", 2), ("s2", 2)]


def test_parts_that_no_recording_has_are_listed_with_file_and_line(place):
    grids = place / "grids"
    grids.mkdir()
    marks = [(0.5, 1.5, "joy"), (2, 1, "joy"), (3, 9, "joy"), (3.5, 4.01, "anger")]
    lines = ['"ooTextFile"', '"TextGrid"', "0", "9", "<exists>", "1", '"IntervalTier"', '"emotion"', "0", "9", "4"]
    (grids / "rec.TextGrid").write_text(
        "\n".join([*lines, *(f'{start} {end} "{text}"' for start, end, text in marks)])
    )
    (grids / "gone.TextGrid").write_text(textgrid({"emotion": [(0, 1, "joy")]}))
    (grids / "cut.TextGrid").write_text(textgrid({"emotion": [(0, 1, "joy")]})[:200])
    (grids / "bin.TextGrid").write_bytes(b"ooBinaryFile\x08TextGrid")
    own = read_own_corpus(grids, place / "audio", no_speakers=True)
    assert votes(own) == {("rec", 500, 1500): {(None, "joy")}, ("rec", 3500, 4000): {(None, "anger")}}
    assert listed(own) == {
        ("grids/rec.TextGrid:13", "no_such_part"),
        ("grids/rec.TextGrid:14", "no_such_part"),
        ("grids/gone.TextGrid:16", "label_without_audio"),
        ("grids/cut.TextGrid", "malformed_line"),
        ("grids/bin.TextGrid:1", "malformed_line"),
    }
    assert own.scan.count_in == 2 + 3 and own.scan.rows.counts["rows_in"] == 5 + 2


HOSTILE_GRIDS = {
    "": "the file ends where the kind of file must stand",
    '"ooTextFile" "Sound"': "holds a 'Sound'",
    '"ooTextFile" "TextGrid" 0 1 <exists> 1 "OtherTier" "x" 0 1 0': "class 'OtherTier'",
    '"ooTextFile" "TextGrid" 0 1 <exists> 1e8': "the file ends where the class of a tier",
    '"ooTextFile" "TextGrid" 0 1 <exists> -1': "-1 is no number of things",
    '"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "x" 0 1 1 0 1 "never closed': "never closed",
    '"ooTextFile" "TextGrid" 0 1 "here" 1': "'\"here' where whether",
    '"Praat chronological TextGrid text file"': "does not begin",
}


@pytest.mark.parametrize("text", HOSTILE_GRIDS)
def test_a_broken_textgrid_is_one_line_that_names_it(place, text):
    path = place / "x.TextGrid"
    path.write_text(text)
    with pytest.raises(FileError, match=HOSTILE_GRIDS[text]) as error:
        read_own_corpus(path, place / "audio")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_long_broken_textgrid_takes_no_long_time(place):
    path = place / "x.TextGrid"
    path.write_text('"ooTextFile" "TextGrid" 0 1 <exists> 1 ' + '"" "' * 300_000)
    with pytest.raises(TierFault):
        read_textgrid(path)


# ---- ELAN ----------------------------------------------------------------------------------------------------------

DIALOGUE = {
    "turns-A": {"kind": "turn", "speaker": "Ann", "marks": [(0.5, 1.5, "hello"), (2, 3, "you & <me>")]},
    "emo-Kim": {
        "kind": "emotion", "speaker": "Ann", "rater": "Kim",
        "marks": [("turns-A", 0, "anger"), ("turns-A", 1, "joy")],
    },
    "emo-Lee": {
        "kind": "emotion", "speaker": "Ann", "rater": "Lee",
        "marks": [("turns-A", 0, "joy"), ("turns-A", 1, "joy")],
    },
}  # fmt: skip


def test_an_elan_document_names_recording_raters_and_speakers(place):
    media = [
        {"MEDIA_URL": "file:///C:/x/film.mp4", "MIME_TYPE": "video/mp4", "TIME_ORIGIN": "40"},
        {"MEDIA_URL": "file:///C:/x/rec.wav", "RELATIVE_MEDIA_URL": "./my%20/rec.wav", "MIME_TYPE": "audio/x-wav"},
    ]
    (place / "session 1.eaf").write_text(eaf(DIALOGUE, media))
    own = read_own_corpus(place / "session 1.eaf", place / "audio")
    assert votes(own) == WANTED and {one.speaker for one in own.scan.utterances} == {"Ann"}
    assert "label = 'label', rater = 'rater', speaker = 'participant'" in own.columns.said()


def test_tiers_by_name_or_type_and_two_labels_on_one_turn(place):
    tiers = DIALOGUE | {"emo-Kim": DIALOGUE["emo-Kim"] | {"kind": "x"}, "emo-Lee": DIALOGUE["emo-Lee"] | {"kind": "x"}}
    tiers["emo-Kim"]["marks"] = [*DIALOGUE["emo-Kim"]["marks"], ("turns-A", 1, "fear")]
    (place / "rec.eaf").write_text(eaf(tiers))
    with pytest.raises(
        ValueError, match=r"no tier is named as the raters' labels; .*'emo-Lee'.*of the types \['turn'"
    ):
        read_own_corpus(place / "rec.eaf", place / "audio")
    own = read_own_corpus(place / "rec.eaf", place / "audio", columns={"label": "x"})
    assert votes(own)["rec", 2000, 3000] == {("Kim", "joy"), ("Kim", "fear"), ("Lee", "joy")}
    own = read_own_corpus(place / "rec.eaf", place / "audio", columns={"label": "emo-Kim"})
    assert votes(own)["rec", 500, 1500] == {("Kim", "anger")}


def test_annotations_without_a_time_are_listed(place):
    circle = {
        "marks": [("a", 1, "joy"), ("a", 0, "joy"), ("gone", 7, "joy"), (0.5, None, "joy"), (1, 2, "joy"), (3, 4, "x")]
    }
    (place / "rec.eaf").write_text(eaf({"a": circle}))
    own = read_own_corpus(place / "rec.eaf", place / "audio", columns={"label": "a"}, no_speakers=True)
    assert set(votes(own)) == {("rec", 1000, 2000), ("rec", 3000, 4000)}
    reasons = [item.detail for item in own.scan.rows.listed]
    assert reasons == [f"annotation 'a{i}' has no time" for i in range(4)]


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
HOSTILE_XML = {
    "a bomb": (eaf(DIALOGUE, before=BOMB).encode(), "declares a document type"),
    "a bomb in UTF-16": (eaf(DIALOGUE, before=BOMB).replace("UTF-8", "UTF-16").encode("utf-16"), "a document type"),
    "another file": (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "declares a document type"),
    "an entity": (b"<ANNOTATION_DOCUMENT>&x;</ANNOTATION_DOCUMENT>", "line 1: it is not XML"),
    "cut off": (eaf(DIALOGUE).encode()[:400], "it is not XML"),
    "no XML": (b"\0\1\2", "it is not XML"),
    "another document": (b"<svg/>", "holds <svg>, not an ANNOTATION_DOCUMENT"),
    "frames": (eaf(DIALOGUE, units="PAL-frames").encode(), "counts time in 'PAL-frames'"),
    "an origin": (eaf(DIALOGUE, [{"MEDIA_URL": "a.wav", "TIME_ORIGIN": "1200"}]).encode(), "TIME_ORIGIN '1200'"),
    "an encoding": (b'<?xml version="1.0" encoding="klingon"?><a/>', "it is not XML"),
}


@pytest.mark.parametrize("kind", HOSTILE_XML)
def test_a_broken_document_is_one_line_that_names_it(place, kind):
    content, fault = HOSTILE_XML[kind]
    path = place / "x.eaf"
    path.write_bytes(content)
    with pytest.raises(TierFault, match=fault):
        read_elan(path)
    with pytest.raises(FileError, match=fault) as error:
        read_own_corpus(path, place / "audio")
    assert str(error.value).startswith(f"{path} cannot be used: ") and "\n" not in str(error.value)


# ---- Label Studio --------------------------------------------------------------------------------------------------


def label_studio(place, tasks, **arguments):
    path = write_json(place / "export.json", tasks)
    return read_own_corpus(path, place / "audio", **{"no_speakers": True, **arguments})


def plain_votes(own):
    return {one.id: {(r.rater, r.labels) for r in one.ratings} for one in own.scan.utterances}


def test_whole_recordings_in_label_studio(place):
    for name in ("0a1b2c3d-kept", "second", "third"):
        recording(place / "audio" / f"{name}.wav", 0.5)
    both = ((1, [choice("anger"), choice("male", "sex")]), ({"id": 2, "email": "a@b.c"}, [choice(["joy", "anger"])]))
    tasks = [
        task(7, "/data/upload/3/89abcdef-rec.wav", *both, speaker="s1"),
        task(8, "/data/upload/3/0a1b2c3d-kept.wav", (1, [choice("joy")]), (3, None), speaker="s2"),
        task(9, "/data/local-files/?d=x%20y/second.wav", (1, [choice("joy")]), speaker="s2"),
        task(10, "https://example.org/a/third.wav?token=1", speaker="s2"),
        task(11, "s3://bucket/gone.wav", (1, [choice("joy")]), speaker="s2"),
        {"id": 12, "data": 3},
    ]
    tasks[0]["predictions"] = [{"result": [choice("fear")]}]
    own = label_studio(place, tasks, no_speakers=False)
    assert plain_votes(own) == {
        "rec": {("1", ("anger",)), ("2", ("joy", "anger"))},
        "0a1b2c3d-kept": {("1", ("joy",))},
        "second": {("1", ("joy",))},
        "third": set(),
    }
    assert listed(own) == {
        ("export.json:task 11, annotation 1", "label_without_audio"),
        ("export.json:task 12", "malformed_line"),
    }
    text = "\n".join(own.scan.notes)
    assert "1 annotations were skipped by their raters" in text and "predictions of a model in 1 tasks" in text
    assert own.scan.rows.counts["empty_cells"] == 2 and "a@b.c" not in repr(own.scan)


def test_marked_regions_in_label_studio(place):
    kim = [choice("anger", start=0.5, end=1.5), choice("joy", start=2.0, end=3.0)]
    lee = [choice("joy", start=0.5, end=1.5), choice("joy", start=2.0, end=3.0)]
    tasks = [task(1, "rec.wav", ("Kim", kim), ("Lee", lee))]
    assert votes(label_studio(place, tasks)) == WANTED
    for one in [*kim, *lee]:
        one["value"]["labels"] = one["value"].pop("choices")
    assert votes(label_studio(place, tasks)) == WANTED


def test_json_min_gives_the_same_votes(place):
    recording(place / "audio" / "b.wav", 0.5)
    rows = [
        {"audio": "/data/upload/1/01234567-rec.wav", "id": 1, "emotion": "anger", "annotator": 1, "lead_time": 1.5},
        {
            "audio": "/data/upload/1/01234567-rec.wav",
            "id": 1,
            "emotion": {"choices": ["joy", "anger"]},
            "annotator": 2,
        },
        {"audio": "b.wav", "id": 2, "emotion": "joy", "annotator": 1},
        {"audio": "b.wav", "id": 2, "annotator": 2},
        {"audio": "b.wav", "id": 2, "emotion": ["joy", "anger"], "annotator": 3},
    ]
    own = label_studio(place, rows)
    assert plain_votes(own) == {"rec": {("1", ("anger",)), ("2", ("joy", "anger"))}, "b": {("1", ("joy",))}}
    assert listed(own) == {("export.json:object 5", "malformed_line")}
    regions = [{"start": 0.5, "end": 1.5, "labels": ["anger"]}, {"start": 2.0, "end": 3.0, "labels": ["joy"]}]
    own = label_studio(place, [{"audio": "rec.wav", "label": regions, "annotator": "Kim"}])
    assert votes(own) == {key: {vote for vote in said if vote[0] == "Kim"} for key, said in WANTED.items()}


def test_json_without_label_studios_marks_is_a_table(place):
    rows = [
        {"audio": "rec.wav", "labels_of": who, "rater": who, "emotion": said}
        for who, said in (("Kim", "joy"), ("Lee", "anger"))
    ]
    own = label_studio(place, rows)
    assert plain_votes(own) == {"rec": {("Kim", ("joy",)), ("Lee", ("anger",))}}
    wide = [{"audio": "rec.wav", "Kim": "joy", "Lee": "anger", "id": 1}]
    assert plain_votes(label_studio(place, wide, rater_columns=["Kim", "Lee"])) == plain_votes(own)
    for more in (
        {"lead_time": 3.2},
        {"annotation_id": 7},
        {"meta": {"choices": 3}},
    ):  # a rater's name is no mark of it
        assert plain_votes(label_studio(place, [row | more for row in rows])) == plain_votes(own)
    with pytest.raises(ValueError, match="no column is named as the utterance's"):
        label_studio(place, [{"x": "rec.wav", "emotion": "joy"}])


def test_json_is_read_in_any_encoding_of_a_table_and_a_value_that_is_no_row_is_listed(place):
    text = json.dumps([{"audio": "rec.wav", "rater": "Zoë", "emotion": "joy"}, 2], ensure_ascii=False)
    for encoding in ("utf-8", "utf-16", "latin-1"):
        (place / "export.json").write_bytes(text.encode(encoding))
        source = open_ratings(place / "export.json", place / "audio")
        assert source.table.columns["rater"] == ["Zoë"]
        assert source.table.broken == [("export.json:object 2", "holds a number, not an object with named values")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.parametrize("stray", [None, 7, "x", []])
def test_an_export_with_a_value_that_is_no_object_stays_an_export(place, encoding, stray):
    whole = [stray, task(1, "rec.wav", (1, [choice("Ärger")]), (2, [choice("joy")]))]
    flat = [{"audio": "rec.wav", "annotator": 1, "lead_time": 2, "emotion": {"choices": ["Ärger"]}}, stray]
    flat.append({**flat[0], "annotator": 2, "emotion": "joy"})
    for tasks, where in ((whole, "task 1"), (flat, "object 2")):
        path = place / "export.json"
        path.write_bytes(json.dumps(tasks, ensure_ascii=False).encode(encoding))
        own = read_own_corpus(path, place / "audio", no_speakers=True)
        assert plain_votes(own) == {"rec": {("1", ("Ärger",)), ("2", ("joy",))}}
        assert listed(own) == {(f"export.json:{where}", "malformed_line")} and own.scan.rows.counts["rows_in"] == 3
        assert f"encoding {encoding.replace('latin', 'Latin').replace('utf', 'UTF')}" in own.scan.notes[0]


REFUSED = [
    ([], {}, "holds an empty list.*export of Label Studio"),
    ([3], {}, "holds no object with named values.*export of Label Studio"),
    ({"a": 1}, {}, "must hold a list of objects.*export of Label Studio"),
    ([task(1, "rec.wav", (1, [choice("a", "x"), choice("b", "y")]))], {}, r"cannot be told .* \['x', 'y'\]"),
    ([task(1, "rec.wav", (1, [{"from_name": "t", "value": {"text": ["hm"]}}]))], {}, "no choice or marked region"),
    ([task(1, "rec.wav", (1, [choice("a")]))], {"columns": {"label": "z"}}, r"no control 'z' .*\['emotion'\]"),
    ([task(1, "rec", (1, [choice("a")]))], {"columns": {"utterance": "z"}}, "which field names the audio"),
    ([task(1, "rec.wav", (1, [choice("a")]))], {"rater_columns": ["z"]}, "--rater-columns 'z' came"),
    ([task(1, "rec.wav", (1, [choice("a")]))], {"class_columns": ["z"]}, "--class-columns 'z' came"),
]


@pytest.mark.parametrize(("content", "arguments", "fault"), REFUSED)
def test_what_is_no_export_is_one_line(place, content, arguments, fault):
    with pytest.raises(ValueError, match=fault) as error:
        label_studio(place, content, **arguments)
    assert "\n" not in str(error.value) and "export.json" in str(error.value)


# ---- any of them ---------------------------------------------------------------------------------------------------


def test_a_table_may_name_parts_of_recordings_too(place):
    rows = ["file,from,to,rater,label"]
    rows += [f"rec.wav,{a},{b},{who},{label}" for who, marks in MARKS.items() for a, b, label in marks]
    rows += ["rec.wav,1,,Kim,joy", "rec.wav,nan,2,Kim,joy", "rec.wav,0,4,Kim,joy"]
    (place / "t.csv").write_text("\n".join(rows))
    columns = {"start": "from", "end": "to"}
    own = read_own_corpus(place / "t.csv", place / "audio", columns=columns, no_speakers=True)
    whole = [one for one in own.scan.utterances if one.id == "rec"]
    assert len(whole) == 1 and whole[0].read_audio is None
    own.scan.utterances.remove(whole[0])
    assert votes(own) == WANTED
    assert listed(own) == {("t.csv:6", "no_such_part"), ("t.csv:7", "no_such_part")}
    with pytest.raises(ValueError, match="names the start of a part of a recording alone"):
        read_own_corpus(place / "t.csv", place / "audio", columns={"start": "from"})


def test_a_folder_of_both_programs_is_asked_about(place):
    (place / "rec.eaf").write_text(eaf(DIALOGUE))
    (place / "rec.TextGrid").write_text(textgrid(MARKS))
    with pytest.raises(FileError, match=r"holds files of \.eaf and \.textgrid"):
        read_own_corpus(place, place / "audio")


def test_a_build_cuts_the_parts_and_lists_what_cannot_be_used(tmp_path):
    from hf_ambiser import build_from_ratings, load_split

    rng, waves = np.random.default_rng(0), {}
    for speaker in range(4):
        waves[f"s{speaker}"] = recording(tmp_path / "audio" / f"s{speaker}.wav", 8.0)
        times = [(0.5 * i, 0.5 * i + 0.4) for i in range(16)]
        marks = {
            f"rater_{r}": [
                (a, b, "anger" if rng.random() < 0.2 + 0.6 * (i % 2) else "joy") for i, (a, b) in enumerate(times)
            ]
            for r in range(3)
        }
        (tmp_path / "audio" / f"s{speaker}.TextGrid").write_text(textgrid(marks, 8.0))
    out = tmp_path / "out"
    report = build_from_ratings(
        tmp_path / "audio", tmp_path / "audio", out, columns={"speaker": "recording"}, progress=False
    )
    assert report.content["counts"]["in"] == 64 and report.content["rows"]["votes_used"] == 192
    assert json.loads((out / "build_report.json").read_text()) == report.content
    rows = load_split(out, "slc-strict", "clear")
    for row in rows:
        name, start, _ = row["id"].rsplit("_", 2)
        (tmp_path / "row").write_bytes(row["audio"]["bytes"])
        samples, _ = soundfile.read(tmp_path / "row", dtype="float32")
        first = int(start) * 16
        assert np.array_equal(samples, waves[name][first : first + 6400])
    assert len(rows) > 10
