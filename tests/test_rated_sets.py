"""Ratings from `datasets` sets: Parquet, `save_to_disk`, the Hub; lists, objects, counts; repeats and faults."""

from __future__ import annotations

import json
import unicodedata

import pytest
from helpers.made_ratings import sixty_rows
from helpers.made_sets import parquet, rated_rows, sound, write_sets

from hf_ambiser import build_from_ratings, preview_ratings, read_dataset_info
from hf_ambiser.cli import main
from hf_ambiser.data.ratings.own_corpus import read_own_corpus


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The rows of `rated_rows` in two splits, as `save_to_disk` writes them and as Parquet files."""
    place = tmp_path_factory.mktemp("saved")
    write_sets(place, rated_rows(place))
    return place


WANTED = sorted((name, rater, (label,)) for name, rater, label, _ in sixty_rows())


def votes(own):
    return sorted((one.id, r.rater, r.labels) for one in own.scan.utterances for r in one.ratings)


@pytest.mark.parametrize("kind", ["disk", "parquet"])
def test_the_same_votes_and_audio_from_every_form(saved, kind):
    own = read_own_corpus(saved / kind)
    assert votes(own) == WANTED
    assert {one.id: one.read_audio() for one in own.scan.utterances} == {
        row["file"][:-4]: row["audio"]["bytes"] for row in rated_rows(saved)
    }
    assert {one.speaker for one in own.scan.utterances} == {f"s{i}" for i in range(6)}
    c = own.scan.rows.counts
    assert (c["rows_in"], c["votes_used"], own.scan.listed) == (300, 300, [])


def test_one_file_and_one_split(saved):
    assert len(read_own_corpus(saved / "disk", subset="test").scan.utterances) == 20
    assert len(read_own_corpus(saved / "parquet" / "data" / "train-00000-of-00001.parquet").scan.utterances) == 40
    with pytest.raises(ValueError, match="--subset x came, and train-00000-of-00001.parquet is one file"):
        read_own_corpus(saved / "parquet" / "data" / "train-00000-of-00001.parquet", subset="x")
    with pytest.raises(ValueError, match=r"no split 'dev'; it has \['train', 'test'\]"):
        read_own_corpus(saved / "disk", subset="dev")


def test_a_build_needs_no_audio_and_is_the_one_of_the_table(saved, tmp_path, capsys):
    words = ["build", "--ratings", str(saved / "parquet"), "--no-progress"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "300 in = 300 used + 0 listed" in capsys.readouterr().out
    info = read_dataset_info(tmp_path / "out")
    assert info["counts"]["in"] == 60 and info["corpus"] == "parquet"
    assert main([*words, "--preview"]) == 0 and "60 utterances with audio, 300 votes" in capsys.readouterr().out
    assert main([*words, "--preview", "--audio", str(tmp_path)]) == 2
    assert "is a data set that holds its audio. Leave it out." in capsys.readouterr().err
    assert preview_ratings(saved / "disk").count("\n") > 20
    # A data set of this package has ratings, too: each utterance counts once, however many configs have it.
    build_from_ratings(saved / "disk", None, tmp_path / "two", configs=["slc-strict", "kfold3-strict"], progress=False)
    again = read_own_corpus(tmp_path / "two")
    assert votes(again) == WANTED and again.policy.fingerprint() == info["policy_fingerprint"]
    text = "\n".join(again.scan.notes)
    assert "rows repeat an utterance in another config" in text and "hidden wherever" not in text
    build_from_ratings(saved / "disk", None, tmp_path / "ipr", configs=["ipr-strict"], progress=False, min_per_class=1)
    hidden = read_own_corpus(tmp_path / "ipr")
    assert any(not one.ratings for one in hidden.scan.utterances)
    assert "utterances have their ratings hidden wherever they stand" in "\n".join(hidden.scan.notes)
    with pytest.raises(ValueError, match="--subset slc-strict: of a data set that hf-ambiser built every config"):
        read_own_corpus(tmp_path / "two", subset="slc-strict")


K, L, NOBODY = "k", "l", None
# The columns of two rows, and the votes in them.
FORMS = {
    "labels": (
        [{"labels": ["anger", "joy"]}, {"labels": ["joy"]}],
        [(NOBODY, "anger"), (NOBODY, "joy"), (NOBODY, "joy")],
    ),
    "labels and raters": (
        [{"labels": ["anger", "joy"], "annotators": ["k", "l"]}, {"labels": ["joy"], "annotators": ["k"]}],
        [(K, "anger"), (L, "joy"), (K, "joy")],
    ),
    "several labels": (
        [{"ratings": [["anger", "joy"], ["joy"]]}, {"ratings": [[], ["joy"]]}],
        [(NOBODY, "anger"), (NOBODY, "joy"), (NOBODY, "joy"), (NOBODY, "joy")],
    ),
    "counts": (
        [{"n_anger": 2, "n_joy": 1}, {"n_anger": 0, "n_joy": 1}],
        [(NOBODY, "anger"), (NOBODY, "anger"), (NOBODY, "joy"), (NOBODY, "joy")],
    ),
    "columns of raters": (
        [{"rater_1": "anger", "rater_2": "joy"}, {"rater_1": "joy", "rater_2": ""}],
        [("rater_1", "anger"), ("rater_2", "joy"), ("rater_1", "joy")],
    ),
    "objects": (
        [
            {"annotations": [{"worker_id": 1, "emotion": "anger", "time": 3}]},
            {"annotations": [{"worker_id": 2, "emotion": "joy", "time": 1}]},
        ],
        [("1", "anger"), ("2", "joy")],
    ),
    "an object of lists": (
        [{"ratings": {"rater": ["k", "l"], "label": ["anger", "joy"]}}, {"ratings": {"rater": [], "label": []}}],
        [(K, "anger"), (L, "joy")],
    ),
    "nobody's names": (
        [
            {"ratings": [{"rater": "anonymous:face", "labels": ["joy"]}] * 2},
            {"ratings": [{"rater": None, "labels": ["anger"]}]},
        ],
        [(NOBODY, "joy"), (NOBODY, "joy"), (NOBODY, "anger")],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_ratings(tmp_path, form):
    columns, wanted = FORMS[form]
    audio = {"bytes": sound(tmp_path), "path": None}
    rows = [{"id": f"u{i}", "audio": audio, **one} for i, one in enumerate(columns)]
    own = read_own_corpus(parquet(tmp_path / "a.parquet", rows), no_speakers=True)
    found = [(r.rater, label) for one in own.scan.utterances for r in one.ratings for label in r.labels]
    assert found == wanted and [one.id for one in own.scan.utterances] == ["u0", "u1"]


def test_names_in_two_byte_spellings_find_their_audio_and_are_one_speaker(tmp_path):
    names = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    audio = {"bytes": sound(tmp_path), "path": None}
    rows = [{"id": f"{name}{i}", "audio": audio, "speaker": name, "labels": ["joy", "fear"]}
            for i, name in enumerate(names)]  # fmt: skip
    own = read_own_corpus(parquet(tmp_path / "a.parquet", rows))
    assert [one.id for one in own.scan.utterances] == [f"{names[1]}1", f"{names[0]}0"]  # as the set has them
    assert {one.speaker for one in own.scan.utterances} == {names[0]} and not own.scan.listed
    assert "(Unicode NFC) in 4 cells" in own.scan.notes[0]


def test_the_raters_that_are_asked_for_come_before_the_usual_ones(tmp_path):
    about = {"id": "u", "audio": {"bytes": sound(tmp_path), "path": None}, "worker_id": "w", "judge_name": "j"}
    raters = {"annotators": ["k", "l"], "people": ["m", "n"]}
    objects = [{"emotion": "anger", "time": 1}, {"emotion": "joy", "time": 2}]
    plain = parquet(tmp_path / "a.parquet", [{**about, "labels": ["anger", "joy"]}])
    lists = parquet(tmp_path / "b.parquet", [{**about, **raters, "labels": ["anger", "joy"]}])
    of_objects = parquet(tmp_path / "c.parquet", [{**about, "ratings": objects}])
    for path, rater, found in [
        (plain, None, ["w"]),
        (plain, "judge_name", ["j"]),
        (lists, None, ["k", "l"]),
        (lists, "people", ["m", "n"]),
        (lists, "judge_name", ["j"]),
    ]:
        own = read_own_corpus(path, no_speakers=True, columns={"rater": rater} if rater else None)
        assert [r.rater for one in own.scan.utterances for r in one.ratings] == found, rater
    for path, rater, fault in [
        (plain, "gone", "no column 'gone'; its columns are"),
        (plain, "id", "column 'id' was named for two things"),
        (of_objects, "gone", "no column 'gone'"),
        (of_objects, "judge_name", r"the ratings in 'ratings' are objects with \['emotion', 'time'\].*Leave it out"),
    ]:
        with pytest.raises(ValueError, match=fault):
            read_own_corpus(path, no_speakers=True, columns={"rater": rater})


def test_one_rating_in_a_row_needs_the_same_audio_in_all_rows(tmp_path):
    one, two = ({"bytes": sound(tmp_path, label), "path": "x"} for label in (0, 1))
    said = [("u0", one, "k", "anger"), ("u0", one, "l", "joy"), ("u1", one, "k", "joy"), ("u1", two, "l", "joy")]
    rows = [dict(zip(("id", "audio", "rater", "label"), row, strict=True)) for row in said]
    own = read_own_corpus(parquet(tmp_path / "a.parquet", rows), no_speakers=True)
    assert votes(own) == [("u0", "k", ("anger",)), ("u0", "l", ("joy",))]
    ((item,),) = [own.scan.listed]
    assert (item.id, item.reason) == ("u1", "ambiguous_audio") and "a.parquet:3, a.parquet:4" in item.detail


def test_what_is_wrong_with_rows_is_listed_with_its_place(tmp_path):
    audio = {"bytes": sound(tmp_path), "path": None}
    ratings = [
        {"rater": "k", "label": "joy", "self_report": False},
        {"rater": "l", "label": "anger", "self_report": False},
    ]
    own_rating = [{"rater": "s", "label": "joy", "self_report": True}]
    rows = [
        {"id": "good", "audio": audio, "ratings": [*ratings, *own_rating]},
        {"id": "../x", "audio": audio, "ratings": ratings},
        {"id": "twice", "audio": audio, "ratings": ratings},
        {"id": "twice", "audio": audio, "ratings": ratings},
        {"id": "empty", "audio": audio, "ratings": []},
        {"id": "silent", "audio": None, "ratings": ratings},
        {"id": "path", "audio": {"bytes": None, "path": "gone.wav"}, "ratings": ratings},
    ]
    path = parquet(tmp_path / "a.parquet", rows)
    own = read_own_corpus(path, no_speakers=True)
    assert {(item.source, item.reason) for item in (*own.scan.rows.listed, *own.scan.listed)} == {
        ("a.parquet:1", "malformed_line"),
        ("a.parquet:2", "malformed_id"),
        ("a.parquet:3", "ambiguous_audio"),
        ("a.parquet:4", "rated_twice"),
    }
    problems = {one.id: one.read_audio() for one in own.scan.utterances}
    assert problems["silent"].detail == "the row holds no audio"
    assert "No such file" in problems["path"].detail and str(tmp_path) not in problems["path"].detail
    assert own.scan.rows.counts["empty_cells"] == 1 and isinstance(problems["good"], bytes)


def test_subsets_come_from_the_card(saved, tmp_path):
    place = tmp_path / "set"
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
        (place / name / "train.parquet").write_bytes(
            (saved / "parquet" / "data" / "train-00000-of-00001.parquet").read_bytes()
        )
    configs = [{"config_name": name, "data_files": [{"split": "train", "path": f"{name}/*.parquet"}]} for name in "ab"]
    (place / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n# A set\n")
    with pytest.raises(ValueError, match=r"set has the subsets \['a', 'b'\].* Say which: --subset a"):
        read_own_corpus(place)
    assert len(read_own_corpus(place, subset="b").scan.utterances) == 40
    with pytest.raises(ValueError, match=r"no Parquet file of a subset 'c'; its card names \['a', 'b'\]"):
        read_own_corpus(place, subset="c")


def test_what_is_no_set_with_ratings_is_one_line(tmp_path):
    audio = {"bytes": b"x", "path": None}
    (tmp_path / "empty").mkdir()
    cases = [
        (parquet(tmp_path / "a.parquet", [{"id": "u", "label": "joy"}]), {}, "has no column of audio"),
        (parquet(tmp_path / "b.parquet", [{"audio": audio, "x": 1}]), {}, "no column is named as the raters' label"),
        (
            parquet(tmp_path / "c.parquet", [{"audio": audio, "labels": ["a"], "votes": ["b"]}]),
            {},
            r"columns \['labels', 'votes'\] may each hold the ratings",
        ),
        (tmp_path / "c.parquet", {"columns": {"utterance": "z"}}, "no column 'z'"),
        (tmp_path / "c.parquet", {"columns": {"label": "votes", "start": "x", "end": "y"}}, "parts of recordings"),
        (tmp_path / "empty", {}, "is a folder without a TextGrid, an .eaf file or a data set"),
        (tmp_path / "t.csv", {}, "--audio is missing"),
        (tmp_path / "t.csv", {"subset": "x", "audio": tmp_path}, "--subset x came, and t.csv is no data set"),
        ("hf://datasets/me", {}, "is no address of a data set"),
        ("hf://datasets/me/none", {}, "HF_HUB_OFFLINE is set"),
    ]
    cases.append((tmp_path / "gone.parquet", {}, "does not exist"))
    (tmp_path / "d.parquet").write_bytes(b"PAR1 no")
    cases.append((tmp_path / "d.parquet", {}, "is not a whole Parquet file"))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{")
    cases.append((tmp_path / "saved", {}, "cannot be loaded by `datasets`"))
    for ratings, arguments, fault in cases:
        with pytest.raises((ValueError, OSError), match=fault) as error:
            read_own_corpus(ratings, **arguments)
        assert "\n" not in str(error.value)
