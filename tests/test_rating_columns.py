"""Which column is what, which cell names which file, which label is which class."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

import pytest
import yaml
from helpers.made_ratings import tones

from hf_ambiser.data.ratings.audio_files import AudioFolder, NoAudio, name_without_place
from hf_ambiser.data.ratings.cells import MOST_VOTES, count_of, find_separator, labels_of
from hf_ambiser.data.ratings.class_map import alike_labels, checked_class_map, own_policy, read_class_map
from hf_ambiser.data.ratings.columns import (
    EMOTION_WORDS,
    USUAL_NAMES,
    find_columns,
    label_of_column,
)
from hf_ambiser.files.read import FileError
from hf_ambiser.labels.policies import available_policies, get_policy


def counts(**labels: int) -> dict[str, Counter[str]]:
    return {label.lower(): Counter({label: n}) for label, n in labels.items()}


# ---- columns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", USUAL_NAMES)
def test_a_column_is_found_by_each_usual_name(role):
    others = {"utterance": "utt", "label": "emo"}
    for names in USUAL_NAMES[role]:
        for name in names:
            for written in (name, name.upper(), name.replace("_", " ").title(), f" {name}-"):
                header = [written, *(other for of, other in others.items() if of != role), "comment"]
                found = find_columns(header)
                assert found.roles[role] == written and found.unused == ("comment",) and not found.wide


def test_a_strong_name_wins_over_a_weak_one_and_what_is_not_used_is_said():
    found = find_columns(["id", "clip", "label", "intensity"])
    assert found.roles == {"utterance": "clip", "label": "label"} and found.unused == ("id", "intensity")
    assert found.said() == "columns (long): utterance = 'clip', label = 'label'; not used: 'id', 'intensity'"


def test_a_summary_beside_the_votes_is_used_only_if_somebody_says_so():
    names = ["clip", "emotion", "rater_1", "rater_2"]
    assert find_columns(names, {"label": "emotion"}).unused == ("rater_1", "rater_2")
    assert find_columns(names, rater_columns=names[2:]).unused == ("emotion",)
    assert find_columns(names[:3]).roles["label"] == "emotion"  # one column alone is nobody's votes
    # Where each row is one rater's, columns of classes are how strong he heard them.
    found = find_columns(["clip", "rater", "emotion", "anger", "sadness"])
    assert found.roles["label"] == "emotion" and found.unused == ("anger", "sadness")
    with pytest.raises(ValueError, match="--class-columns anger sadness or --columns label=emotion"):
        find_columns(["clip", "emotion", "anger", "sadness"])


@pytest.mark.parametrize("label", [*USUAL_NAMES["label"][0], *USUAL_NAMES["label"][1]])
def test_each_usual_name_of_labels_is_asked_about_beside_the_votes(label):
    for votes, option in ((["rater_1", "rater_2"], "--rater-columns"), (["anger", "joy"], "--class-columns")):
        with pytest.raises(ValueError, match=f"{option} {' '.join(votes)} or --columns label={label}$"):
            find_columns(["clip", label, *votes])


@pytest.mark.parametrize("policy", available_policies())
def test_a_column_of_counts_is_found_by_each_label_of_each_policy(policy):
    labels = tuple(get_policy(policy).class_map)
    names = tuple(f"votes_{label}" for label in labels)
    assert find_columns(["clip", *names]).class_columns == names
    assert tuple(map(label_of_column, names)) == labels


def test_what_somebody_is_counts_no_votes():
    assert find_columns(["clip", "anger", "joy", "depressed", "confused"]).unused == ("depressed", "confused")


def test_two_summaries_beside_the_votes_do_not_hide_the_votes():
    for names in (["rating", "value"], ["emotion", "vote"]):
        wanted = f"--rater-columns rater_1 rater_2 or --columns label={names[0]} or --columns label={names[1]}$"
        with pytest.raises(ValueError, match=wanted):
            find_columns(["clip", *names, "rater_1", "rater_2"])
    names = ["clip", "rating", "value", "rater", "anger", "joy"]  # intensities of one rater are no votes
    with pytest.raises(ValueError, match="may each be the label. Say which one is: --columns label=rating$"):
        find_columns(names)


def test_columns_are_named_by_the_user():
    found = find_columns(["label", "what they said", "x"], {"label": "what they said", "utterance": "x"})
    assert found.roles == {"utterance": "x", "label": "what they said"} and found.unused == ("label",)


def test_a_wide_table_is_found_by_raters_or_by_words_for_emotions():
    raters = find_columns(["clip", "rater_1", "Rater 2", "annotatorB", "rater_comment", "speaker"])
    assert raters.rater_columns == ("rater_1", "Rater 2", "annotatorB") and raters.wide
    assert raters.unused == ("rater_comment",) and raters.roles == {"utterance": "clip", "speaker": "speaker"}
    classes = find_columns(["clip", "n_anger", "Happy", "votes sad", "duration_ms"])
    assert classes.class_columns == ("n_anger", "Happy", "votes sad") and classes.unused == ("duration_ms",)
    assert [label_of_column(name) for name in classes.class_columns] == ["anger", "happy", "sad"]
    assert "counts of a class: 'n_anger', 'Happy'" in classes.said()
    asked = find_columns(["clip", "A", "B", "rater"], class_columns=["A", "B"])
    assert asked.class_columns == ("A", "B") and asked.unused == ("rater",)
    assert "A" not in EMOTION_WORDS and label_of_column("A") == "A"


@pytest.mark.parametrize(
    ("names", "asked", "message"),
    [
        (["clip", "file", "label"], {}, r"\['clip', 'file'\] may each be the utterance.*--columns utterance=clip"),
        (["clip", "emotion", "vote"], {}, "may each be the label.*--columns label=emotion"),
        (
            ["clip", "emotion", "rater_1", "rater 2"],
            {},
            "column 'emotion' may .*so may.*--rater-columns rater_1 'rater 2' or --c",
        ),
        (["clip", "emotion", "n_anger", "joy"], {}, "'emotion' may hold.*--class-columns n_anger joy or --columns l"),
        (["clip", "label", "worker id", "rater"], {}, "may each be the rater.*--columns rater='worker id'"),
        (["a", "label"], {}, "no column is named as the utterance's; there are .'a', 'label'.*--columns utterance="),
        (["clip", "b"], {}, "no column is named as the raters' label.*--columns label=.*--rater-columns"),
        (["clip", "label"], {"labels": "label"}, "--columns labels=...: a column may be one of .'utterance'"),
        (["clip", "label"], {"label": "emo"}, "no column 'emo'; its columns are .'clip', 'label'"),
        (["clip", "label"], {"label": "clip", "utterance": "clip"}, "'clip' was named for two things"),
        (["clip", "label", "i"], {"intensity": "i"}, "--columns intensity=i: every vote counts the same"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_option_to_give(names, asked, message):
    with pytest.raises(ValueError, match=message) as caught:
        find_columns(names, asked)
    assert "\n" not in str(caught.value)


def test_options_that_contradict_each_other_are_refused():
    names = ["clip", "label", "rater", "a", "b"]
    with pytest.raises(ValueError, match="came together"):
        find_columns(names, {}, ["a"], ["b"])
    with pytest.raises(ValueError, match="label=label came with columns of classes"):
        find_columns(names, {"label": "label"}, ["a", "b"])
    with pytest.raises(ValueError, match="rater=rater belongs to a table of one rating a row"):
        find_columns(names, {"rater": "rater"}, [], ["a", "b"])


# ---- cells ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [";", "|", ","])
def test_several_labels_in_a_cell(mark):
    cells = [f"anger{mark} joy {mark}", "fear", ""]
    found, said = find_separator(cells, None)
    assert found == mark and "1 cells hold several labels" in said and repr(mark) in said
    assert [labels_of(cell, found) for cell in cells] == [("anger", "joy"), ("fear",), ()]
    assert find_separator(cells, "none") == ("", "") and labels_of(cells[0], "") == (f"anger{mark} joy {mark}",)


def test_lists_are_several_labels_and_spaces_are_taken_off():
    assert labels_of(("anger", " very  sad ", ""), ";") == ("anger", "very sad") and labels_of((), "") == ()
    with pytest.raises(ValueError, match="--separator '-' is not one of"):
        find_separator([], "-")
    with pytest.raises(ValueError, match="--separator ';' came, and the labels are lists already"):
        find_separator([("anger",), "", ()], ";")
    assert find_separator([("anger",), "joy"], ";")[0] == ";" and find_separator([("anger",)], "none")[0] == ""


@pytest.mark.parametrize(
    ("cell", "n"),
    [("", 0), (" ", 0), ("3", 3), ("3.0", 3), (" 7 ", 7), ("-1", None), ("2.5", None), ("x", None), ("٣", None),
     (("1",), None), (str(MOST_VOTES), MOST_VOTES), (str(MOST_VOTES + 1), None), ("9" * 5000, None)],
)  # fmt: skip
def test_counts(cell, n):
    assert count_of(cell) == n


# ---- audio ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    names = [
        "a.wav", "b.c.flac", "x/d.wav", "y/d.wav", "x/e f's \"g\".WAV", "both.wav", "both.flac", "deep/down/h.wav",
        unicodedata.normalize("NFD", "möwe.wav"), "._a.wav", "notes.txt", ".wav", "twin.wav", "twin.wav.flac", "d.ogg",
    ]  # fmt: skip
    return AudioFolder(tones(tmp_path_factory.mktemp("audio"), names))


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("a.wav", "a"), ("a", "a"), ("a.flac", "a"), ("b.c", "b.c"), ("b.c.flac", "b.c"), ("x/d", "x/d"), ("d", "d"),
        ("y\\d.wav", "y/d"), ("clips/y/d.wav", "y/d"), ("/home/me/clips/x/d.wav", "x/d"), ("C:\\data\\a.wav", "a"),
        ("e f's \"g\".WAV", "x/e f's \"g\""), ("both.wav", "both.wav"), ("both.flac", "both.flac"), ("d.ogg", "d"),
        ("h", "deep/down/h"), ("down/h", "deep/down/h"), ("möwe", unicodedata.normalize("NFD", "möwe")),
        ("twin.wav", None),
    ],
)  # fmt: skip
def test_a_cell_names_a_file_with_or_without_ending_and_folders(folder, cell, found):
    file = folder.find(cell)
    assert (None if isinstance(file, NoAudio) else file.id) == found


@pytest.mark.parametrize(
    ("cell", "reason", "detail"),
    [
        ("d.wav", "ambiguous_audio", "2 files have that name: x/d.wav, y/d.wav"),
        ("both", "ambiguous_audio", "2 files"),
        ("z/d.wav", "label_without_audio", "no audio file"),
        ("gone", "label_without_audio", "no audio file"),
        ("../audio/a.wav", "malformed_id", "leads out"),
        ("x/../a.wav", "malformed_id", "leads out"),
        ("..", "malformed_id", "leads out"),
        ("a\n.wav", "malformed_id", "control"),
        ("x" * 300, "malformed_id", "255"),
        ("\ud800", "malformed_id", "half a character"),
        ("", "malformed_id", "empty"),
        ("._a", "label_without_audio", "no audio file"),
    ],
)
def test_a_cell_that_names_no_file_or_several_says_so(folder, cell, reason, detail):
    found = folder.find(cell)
    assert isinstance(found, NoAudio) and found.reason == reason and detail in found.detail


def test_ids_are_unique_and_links_upwards_end(folder, tmp_path):
    ids = [file.id for file in folder.files]
    assert len(set(ids)) == len(ids) == 12
    tones(tmp_path, ["in/a.wav"])
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    assert [file.id for file in AudioFolder(tmp_path).files] == ["in/a"]


def test_a_folder_that_is_missing_or_holds_no_audio_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, why in (
        (tmp_path / "gone", "is not there"),
        (tmp_path / "file", "is no folder"),
        (tmp_path, "no audio"),
    ):
        with pytest.raises(FileNotFoundError, match=why):
            AudioFolder(path)


def test_lists_do_not_tell_where_somebody_keeps_files():
    assert [name_without_place(n) for n in ("/home/me/a.wav", "C:\\me\\a.wav", "~/a.wav", "x/a.wav", "a")] == [
        "a.wav", "a.wav", "a.wav", "x/a.wav", "a",
    ]  # fmt: skip


# ---- classes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (("anger", "angry", "joy"), [["anger", "angry"]]),
        (("happy", "happiness", "sad", "sadness"), [["happiness", "happy"], ["sad", "sadness"]]),
        (("neutral", "neutrl", "neu"), [["neu", "neutral", "neutrl"]]),
        (("frustrated", "frustration", "fear", "fearful"), [["fear", "fearful"], ["frustrated", "frustration"]]),
        (("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "excited", "other"), []),
        (("calm", "bored", "contempt", "anxiety", "joy"), []),
        (("a", "an", "1", "10", "100"), []),
    ],
)
def test_labels_that_look_like_spellings_of_one_word(labels, groups):
    assert alike_labels(counts(**dict.fromkeys(labels, 1))) == groups


def test_alike_labels_end_with_a_line_that_shows_them_and_the_yaml_to_write():
    labels = counts(Anger=2, angry=5, joy=4)
    with pytest.raises(ValueError, match="look like spellings of one another: 'angry' 5, 'Anger' 2.") as caught:
        own_policy("p", labels, None)
    text = str(caught.value)
    assert "\n" not in text and "--as-found" in text
    lines = text.split("its own:  ")[1].split("  -- ")[0].split(", ")
    written = checked_class_map(yaml.safe_load("\n".join(lines)), "x")
    assert written == {"anger": "angry", "angry": "angry", "joy": "joy"}
    assert own_policy("p", labels, written).classes == ("angry", "joy")
    assert own_policy("p", labels, None, as_found=True).classes == ("anger", "angry", "joy")


@pytest.mark.parametrize("label", ["NA", "n/a", "NaN", "null", "None", "-", "---", "?", "<NA>", "#N/A"])
def test_a_label_that_looks_like_no_answer_is_no_class_unless_somebody_says_so(label):
    labels = counts(**{"anger": 5, "joy": 4, label: 3})
    with pytest.raises(ValueError, match=f"these labels look like no answer: '{re.escape(label)}' 3. Give") as caught:
        own_policy("p", labels, None)
    lines = str(caught.value).split("its own:  ")[1].split("  -- ")[0].split(", ")
    written = checked_class_map(yaml.safe_load("\n".join(lines)), "x")
    assert own_policy("p", labels, written).classes == ("anger", "joy")
    assert label.lower() in own_policy("p", labels, None, as_found=True).classes


def test_spellings_and_no_answers_are_said_together():
    with pytest.raises(ValueError, match="'angry' 5, 'anger' 2, and these look like no answer: 'na' 1. Give"):
        own_policy("p", counts(anger=2, angry=5, joy=4, na=1), None)


def test_a_class_map_from_a_file(tmp_path):
    (tmp_path / "map.yaml").write_text('Anger : anger\n" joy":  happiness\nother: null\n1: sadness\n')
    classes = read_class_map(tmp_path / "map.yaml")
    assert classes == {"anger": "anger", "joy": "happiness", "other": None, "1": "sadness"}
    policy = own_policy("p", counts(anger=1, joy=1, other=1), classes, rule="majority")
    assert policy.classes == ("anger", "happiness", "sadness") and policy.rule == "majority"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([1], "must map labels to classes"),
        ({True: "x"}, "takes for yes or no"),
        ({"x": False}, "takes for yes or no"),
        ({"x": ["a"]}, "maps 'x' to"),
        ({None: "a"}, "maps None to 'a'"),
        ({"x": " "}, "maps 'x' to ' '"),
        ({"x": "a", "X ": "b"}, "names the label 'x' twice"),
    ],
)
def test_a_class_map_that_cannot_be_used_is_refused(content, why):
    with pytest.raises(FileError, match=why):
        checked_class_map(content, "map.yaml")


@pytest.mark.parametrize(
    ("labels", "classes", "why"),
    [
        ({}, None, "there is no vote"),
        ({"joy": 3}, None, "for 1 class only .'joy' 3.; a classifier needs two"),
        ({"joy": 3, "fear": 1}, {"joy": "a", "fear": "a"}, "for 1 class only"),
        ({"joy": 3, "fear": 1}, {"joy": None, "fear": None}, "for 0 classes only"),
        ({"joy": 3, "fear": 1}, {"joy": "a"}, "does not name 1 of the labels: 'fear' 1.*fear: null"),
        ({"1": 3, "2.5": 1}, None, "the labels are numbers .'1' 3, '2.5' 1.*--classes"),
        ({f"word{i:02d}x": 1 for i in range(60)}, None, "60 different labels .*more than the 50"),
    ],
)
def test_labels_that_make_no_classes_are_refused_with_what_to_do(labels, classes, why):
    with pytest.raises(ValueError, match=why) as caught:
        own_policy("p", counts(**labels), classes)
    assert "\n" not in str(caught.value)


def test_labels_made_of_other_labels_are_asked_about():
    labels = {"angry": Counter(angry=3), "sad": Counter(sad=2), "angry/sad": Counter({"angry/sad": 1})}
    with pytest.raises(ValueError, match="made of others of the table: 'angry/sad' 1. .*--separator '/'"):
        own_policy("own", labels, None)
    assert own_policy("own", labels, None, as_found=True).classes == ("angry", "angry/sad", "sad")
    assert find_separator(["angry/sad"], "/")[0] == "/" and find_separator(["angry/sad"], None)[0] == ""
