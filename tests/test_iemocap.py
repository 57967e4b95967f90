"""The IEMOCAP parser on made-up trees in the release's form, every known trap included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import iemocap_tree as tree

from hf_ambiser.data.corpora import available_corpora, iemocap, load_corpus
from hf_ambiser.data.corpora.iemocap.blocks import UTTERANCE_ID
from hf_ambiser.data.schema import REASONS, CorpusScan
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.labels.votes import tally


F0, M0 = "Ses01F_impro01_F000", "Ses01F_impro01_M003"


def scan_one(root: Path, *lines: str, code: str = "neu", name: str = F0) -> tuple[CorpusScan, list[tuple]]:
    """Scan a tree of one utterance with these rating lines; also its ratings as plain tuples."""
    tree.write_dialog(root, name.rpartition("_")[0], {name: tree.block(name, code, *lines)})
    found = iemocap.scan(root)
    assert len(found.utterances) == 1 and found.count_in == 1
    return found, [(r.rater, r.labels, r.self_report) for r in found.utterances[0].ratings]


def reasons(found: CorpusScan) -> list[tuple[str, str]]:
    assert found.count_in == len(found.utterances) + len(found.listed)
    assert all(item.reason in REASONS and item.source for item in found.listed)
    return sorted((item.id, item.reason) for item in found.listed)


# ---- the release's form ----


def test_a_dialogue_as_released(tmp_path: Path) -> None:
    lines = [
        "C-E2:\tNeutral;\t()",
        "C-E3:\tAnger; Frustration;\t(tense; not sad: just Happiness lost)",
        "C-E4:\tneutral STATE;\t()",
        "C-F1:\tSadness;\t()",
        "A-E3:\tval 3; act 2; dom  3;\t()",
        "A-E4:\tval 2; act 4; dom  ;\t(mild aggravation)",
        "A-F1:\tval 3; act 2; dom  1;\t()",
    ]
    tree.write_dialog(
        tmp_path,
        "Ses01F_impro01",
        {F0: tree.block(F0, "neu", *lines), M0: tree.block(M0, "xxx", "C-M1:\tAnger;\t()")},
    )
    folder = tmp_path / "Session1" / "dialog" / "transcriptions"
    folder.mkdir()
    (folder / "Ses01F_impro01.txt").write_text(
        f"{F0} [006.2901-008.2357]: Excuse me: is [this] it?\n"
        "M: not a turn\n"
        "Ses01F_impro01_MXX0 [007.0000-008.0000]: no evaluation.\n"
    )
    found = iemocap.scan(tmp_path)
    assert reasons(found) == []
    first, second = found.utterances
    assert [(r.rater, r.labels, r.self_report) for r in first.ratings] == [
        ("E2", ("neutral",), False),
        ("E3", ("anger", "frustration"), False),
        ("E4", ("neutral",), False),
        ("F1", ("sadness",), True),
    ]
    assert (first.id, first.speaker, first.session, first.corpus) == (F0, "Ses01F", "Ses01", "iemocap")
    # The first letter says who wore the markers, the last field who speaks.
    assert second.speaker == "Ses01M"
    assert second.ratings[0].self_report and second.ratings[0].rater == "M1"
    assert first.audio_path == tmp_path / "Session1/sentences/wav/Ses01F_impro01" / f"{F0}.wav"
    assert first.audio_path.read_bytes()[:4] == b"RIFF"
    assert first.extra == {
        "release_label": "neu",
        "dialogue": "Ses01F_impro01",
        "dialog_type": "impro",
        "start": 6.2901,
        "end": 8.2357,
        "valence": 2.5,
        "activation": 2.5,
        "dominance": 2.5,
        "attributes": {
            "E3": {"valence": 3.0, "activation": 2.0, "dominance": 3.0},
            "E4": {"valence": 2.0, "activation": 4.0, "dominance": None},
            "F1": {"valence": 3.0, "activation": 2.0, "dominance": 1.0},
        },
        "transcript": "Excuse me: is [this] it?",
    }
    assert "transcript" not in second.extra and second.extra["release_label"] == "xxx"
    assert found.notes == [
        "1 attribute rating(s) lack a value; it is kept as None.",
        "1 utterance(s) have no transcript.",
    ]


@pytest.mark.parametrize(
    ("name", "speaker", "kind"),
    [
        ("Ses02F_script01_1_M012", "Ses02M", "script"),
        ("Ses05M_script01_1b_F001", "Ses05F", "script"),
        ("Ses03M_impro05a_MXX1", "Ses03M", "impro"),
        ("Ses03F_impro08_F021", "Ses03F", "impro"),
    ],
)
def test_speaker_session_and_type_come_from_the_id(tmp_path: Path, name: str, speaker: str, kind: str) -> None:
    found, _ = scan_one(tmp_path, name=name)
    utterance = found.utterances[0]
    assert (utterance.speaker, utterance.session) == (speaker, speaker[:5])
    assert (utterance.extra["dialog_type"], utterance.extra["dialogue"]) == (kind, name.rpartition("_")[0])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("C-E1:\tANGER;\t()", ("anger",)),
        ("C-E1:\tNeutral state;\t()", ("neutral",)),
        ("C-E1:\tAnger;Sadness;\t(a:b;Happiness; [x])", ("anger", "sadness")),
        ("C-E1:\tOther;\t(Fear; Fear;)\tDisgust;", ("other",)),
        ("C-E1: Anger; (no tab: Sadness;)", ("anger",)),
        ("C-E12:\tSurprise;\t", ("surprise",)),
        ("C-E1:\tFear;\t(\u0085 \x0c next)", ("fear",)),
    ],
)
def test_only_the_answer_is_a_vote(tmp_path: Path, line: str, expected: tuple[str, ...]) -> None:
    found, ratings = scan_one(tmp_path, line)
    assert [labels for _, labels, _ in ratings] == [expected]
    assert not any("rater" in note or "line" in note for note in found.notes)


def test_windows_line_ends_byte_order_mark_and_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    text = "\n\n".join([tree.LEGEND, tree.block(F0, "ang", "C-E1:\tAnger;\t(na\u00efve)")]).replace("\n", "\r\n")
    tree.write_audio(tmp_path, [F0])
    tree.write_labels(tmp_path, "Ses01F_impro01", b"\xef\xbb\xbf" + text.encode("latin-1"))
    found = iemocap.scan(tmp_path)
    assert found.utterances[0].ratings[0].labels == ("anger",)
    assert "1 byte(s) are not UTF-8" in found.notes[0]


def test_subfolders_and_hidden_files_are_not_read(tmp_path: Path) -> None:
    path = tree.write_dialog(tmp_path, "Ses01F_impro01", {F0: tree.block(F0)})
    (path.parent / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\xff" + tree.block(M0).encode())
    for sub in ("Categorical", "Attribute", "Self-evaluation"):
        (path.parent / sub).mkdir()
        (path.parent / sub / "Ses01F_impro01_e2_cat.txt").write_text(tree.block(M0))
    wavs = tmp_path / "Session1/sentences/wav/Ses01F_impro01"
    (wavs / f"._{F0}.wav").write_bytes(b"\x00")
    (wavs.parent / "._Ses01F_impro01").write_bytes(b"\x00")
    found = iemocap.scan(tmp_path)
    assert [u.id for u in found.utterances] == [F0] and found.count_in == 1
    assert found.notes == ["1 utterance(s) have no transcript."]


# ---- odd items ----


def test_what_cannot_be_kept_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    ids = {n: f"Ses01F_impro01_F00{n}" for n in range(6)}
    body = [
        tree.LEGEND,
        tree.block(ids[0], "ang", *tree.votes("Anger")),
        f"[1.0 - 2.0]\t{ids[1]}\tang\nC-E1:\tSadness;\t()",  # no means
        tree.block("Ses09F_impro01_F000"),
        tree.block("Ses02F_impro01_F000"),
        tree.block(ids[0], "sad", *tree.votes("Sadness")),
        tree.block(ids[2]),
        "C-E1:\tFear;\t()\nC-E2:\tFear;\t()",  # ratings without a header
        tree.block(ids[3]) + "\n" + tree.block(ids[4]),  # no blank line between
    ]
    tree.write_labels(tmp_path, "Ses01F_impro01", "\n\n".join(body))
    tree.write_audio(tmp_path, [ids[0], ids[1], ids[3], ids[4], ids[5]])
    found = iemocap.scan(tmp_path)
    assert [u.id for u in found.utterances] == [ids[0], ids[3], ids[4]]
    assert found.utterances[0].ratings[0].labels == ("anger",)
    listed = dict(reasons(found))
    orphan = next(name for name in listed if ":" in name)
    assert listed == {
        ids[0]: "duplicate_label",
        ids[1]: "malformed_line",
        "Ses09F_impro01_F000": "malformed_id",
        "Ses02F_impro01_F000": "malformed_id",
        ids[2]: "label_without_audio",
        ids[5]: "audio_without_label",
        orphan: "malformed_line",
    }
    assert found.count_in == 3 + 7
    by_id = {item.id: item for item in found.listed}
    lines = (tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt").read_text().splitlines()
    number = int(by_id[ids[1]].source.rpartition(":")[2])
    assert ids[1] in lines[number - 1]
    assert "1 line(s) below" in by_id[ids[1]].detail
    assert by_id[ids[2]].detail.endswith(f"Session1/sentences/wav/Ses01F_impro01/{ids[2]}.wav")
    without = iemocap.scan(tmp_path, require_audio=False)
    assert [u.id for u in without.utterances] == [ids[0], ids[2], ids[3], ids[4]]
    assert without.utterances[1].audio_path is None


def test_a_good_block_after_a_broken_one_of_the_same_id_is_kept(tmp_path: Path) -> None:
    tree.write_audio(tmp_path, [F0])
    tree.write_labels(tmp_path, "Ses01F_impro01", f"[oops]\t{F0}\tang\n\n{tree.block(F0, 'sad')}")
    found = iemocap.scan(tmp_path)
    assert [u.extra["release_label"] for u in found.utterances] == ["sad"]
    assert reasons(found) == [(F0, "malformed_line")]


def test_a_second_label_in_another_file_and_a_wav_in_another_folder(tmp_path: Path) -> None:
    tree.write_dialog(tmp_path, "Ses01F_impro01", {F0: tree.block(F0)})
    tree.write_dialog(tmp_path, "Ses01F_impro02", {F0: tree.block(F0)}, audio=False)
    stray = tmp_path / "Session1/sentences/wav/Ses01F_impro02" / f"{F0}.wav"
    stray.parent.mkdir()
    stray.write_bytes(tree.wav_bytes())
    found = iemocap.scan(tmp_path)
    assert reasons(found) == [(F0, "audio_without_label"), (F0, "duplicate_label")]
    assert found.utterances[0].audio_path.parent.name == "Ses01F_impro01"


@pytest.mark.parametrize(
    ("line", "kept", "said"),
    [
        ("C-E1:\tBored; Anger;\t()", [("E1", ("anger",), False)], "'bored'"),
        ("C-E1:\tBored;\t()", [], "'bored'"),
        ("C-E1:\t\t(Anger;)", [], "no label"),
        ("C-E1:\t;\t()", [], "no label"),
        ("C-X1:\tAnger;\t()", [], "not a rating line"),
        ("Anger;", [], "not a rating line"),
        ("C-E1 Anger;", [], "not a rating line"),
        ("A-E1:\tval three; act 2; dom  3;\t()", [], "'val three'"),
        ("A-E1:\tmood 3;\t()", [], "'mood 3'"),
        ("A-E1:\tval nan;\t()", [], "'val nan'"),
    ],
)
def test_an_unreadable_rating_is_noted(tmp_path: Path, line: str, kept: list[tuple], said: str) -> None:
    good = "C-E9:\tFear;\t()"
    found, ratings = scan_one(tmp_path, line, good)
    assert ratings == [*kept, ("E9", ("fear",), False)]
    notes = [note for note in found.notes if said in note]
    assert len(notes) == 1 and "Ses01F_impro01.txt:4" in notes[0] and F0 in notes[0]


def test_second_answer_unknown_code_preamble_and_foreign_file_are_noted(tmp_path: Path) -> None:
    text = "hello\n" + tree.block(M0, "zzz", "C-E1:\tAnger;\t()", "C-E1:\tSadness;\t()")
    tree.write_labels(tmp_path, "Ses01F_impro02", text)
    tree.write_labels(tmp_path, "Ses01F_impro03", tree.LEGEND)
    tree.write_audio(tmp_path, [M0])
    found = iemocap.scan(tmp_path)
    assert [r.labels for r in found.utterances[0].ratings] == [("anger",)]
    said = "\n".join(found.notes)
    for part in ("second time", "'zzz'", "'hello'", "another dialogue", "holds no utterance"):
        assert part in said
    assert any("'zzz': 1" in line for line in iemocap.compare(found))


def test_an_utterance_without_ratings_stays_and_is_counted(tmp_path: Path) -> None:
    found, ratings = scan_one(tmp_path, "A-E3:\tval 3; act 2; dom;\t()")
    assert ratings == []
    assert "1 utterance(s) have no categorical rating." in found.notes
    assert not tally(get_policy("iemocap-4"), found.ratings()).kept.any()


# ---- the root ----


def test_a_wrong_root_is_refused_with_the_right_one(tmp_path: Path) -> None:
    root = tmp_path / "data" / "IEMOCAP_full_release"
    tree.write_dialog(root, "Ses01F_impro01", {F0: tree.block(F0)})
    for inside in ("Session1", "Session1/dialog", "Session1/dialog/EmoEvaluation"):
        with pytest.raises(FileNotFoundError, match="inside a release: pass " + re.escape(str(root))):
            iemocap.scan(root / inside)
    with pytest.raises(FileNotFoundError, match="one level below: pass " + re.escape(str(root))):
        iemocap.scan(root.parent)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        iemocap.scan(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="is a file"):
        iemocap.scan(root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="it holds: nothing"):
        iemocap.scan(tmp_path / "empty")
    (tmp_path / "audio_only/Session2").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no dialog/EmoEvaluation in Session2"):
        iemocap.scan(tmp_path / "audio_only")
    (root / "Session1").rename(tmp_path / "first")
    with pytest.raises(FileNotFoundError, match="a single session"):
        iemocap.scan(tmp_path / "first")


def test_a_session_without_labels_is_noted(tmp_path: Path) -> None:
    tree.write_dialog(tmp_path, "Ses01F_impro01", {F0: tree.block(F0)})
    tree.write_audio(tmp_path, ["Ses02F_impro01_F000"])
    found = iemocap.scan(tmp_path)
    assert "Session2: nothing in dialog/EmoEvaluation." in found.notes
    assert reasons(found) == [("Ses02F_impro01_F000", "audio_without_label")]


def test_module_contract() -> None:
    assert "iemocap" in available_corpora() and not any(name.startswith("_") for name in available_corpora())
    module = load_corpus("iemocap")
    assert (module.NAME, module.GROUP) == ("iemocap", "session")
    assert "redistribution is forbidden" in module.LICENSE and "2008" in module.CITATION
    assert get_policy(module.POLICY).classes == ("anger", "happiness", "sadness", "neutral")


@pytest.mark.parametrize(
    "name", ["Ses06F_impro01_F000", "Ses01X_impro01_F000", "Ses01F_impro01_F00", "x" + F0, F0 + "1"]
)
def test_ids_not_in_the_release_form(tmp_path: Path, name: str) -> None:
    assert UTTERANCE_ID.fullmatch(name) is None
    tree.write_labels(tmp_path, "Ses01F_impro01", tree.block(name))
    assert reasons(iemocap.scan(tmp_path, require_audio=False)) == [(name, "malformed_id")]


# ---- lines and headers that were lost ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("()\n\n[", "()["),  # before a header, behind a comment
        ("()\n\n[", "() \t["),
        ("2.5000]\nC-E1", "2.5000]C-E1"),  # behind a header
        ("()\nC-E2", "()C-E2"),  # between two ratings
    ],
)
def test_a_lost_line_break_changes_no_vote_and_is_noted(tmp_path: Path, old: str, new: str) -> None:
    blocks = {
        F0: tree.block(F0, "neu", *tree.votes("Neutral", "Anger")),
        M0: tree.block(M0, "sad", *tree.votes("Sadness")),
    }
    path = tree.write_dialog(tmp_path, "Ses01F_impro01", blocks)
    before = iemocap.scan(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = iemocap.scan(tmp_path)
    assert [u.ratings for u in found.utterances] == [u.ratings for u in before.utterances] and not found.listed
    assert sum("without a line break; it is read as a line of its own" in note for note in found.notes) >= 1
    assert not before.notes or not any("line break" in note for note in before.notes)


@pytest.mark.parametrize(
    ("below", "why"),
    [
        (["C-E3:\tFear;\t()", "C-M1:\tAnger;\t()"], "a self-report by M1 below an utterance of F"),
        (["C-E3:\tFear;\t()", "A-M1:\tval 3; act 2; dom  1;\t()"], "a self-report by M1"),
        (["C-E1:\tFear;\t()", "C-E2:\tFear;\t()"], "second answers of E1, E2"),
        (["C-F1:\tFear;\t()"], "second answers of F1"),
    ],
)
def test_ratings_of_a_lost_header_are_nobodys(tmp_path: Path, below: list[str], why: str) -> None:
    own = [*tree.votes("Neutral", "Anger"), "C-F1:\tNeutral;\t()"]
    blocks = {F0: tree.block(F0, "neu", *own, *below), M0: tree.block(M0, "sad", *tree.votes("Sadness"))}
    tree.write_dialog(tmp_path, "Ses01F_impro01", blocks)
    found = iemocap.scan(tmp_path)
    assert [u.id for u in found.utterances] == [M0]
    (item,) = found.listed
    assert (item.id, item.reason) == (F0, "malformed_line") and why in item.detail
    assert found.lost.labels.total() == 3 + sum(line.startswith("C-") for line in below)


def test_a_binary_label_file_is_one_item_and_no_note_of_its_size(tmp_path: Path) -> None:
    tree.write_dialog(tmp_path, "Ses01F_impro01", {F0: tree.block(F0)})
    tree.write_labels(tmp_path, "Ses01F_impro02", bytes(range(256)) * 4096)
    tree.write_labels(tmp_path, "Ses01F_impro03", b"\xff" * 1_000_000)  # no zero byte
    tree.write_labels(tmp_path, "Ses01F_impro04", "[" + "9" * 1_000_000)
    found = iemocap.scan(tmp_path)
    listed = {item.source.rsplit("/", 1)[1]: item for item in found.listed}
    assert set(listed) == {"Ses01F_impro02.txt", "Ses01F_impro04.txt:1"}
    assert "zero bytes" in listed["Ses01F_impro02.txt"].detail
    assert max(map(len, [*found.notes, *(item.detail for item in found.listed)])) < 600


@pytest.mark.parametrize("number", ["\u0663", "9" * 5000])
def test_digits_of_other_alphabets_and_of_great_length_are_no_numbers(tmp_path: Path, number: str) -> None:
    lines = [f"C-E{number}:\tAnger;\t()", "C-E2:\tNeutral;\t()", f"A-E3:\tval {number}; act 2; dom  3;\t()"]
    found, ratings = scan_one(tmp_path, *lines)
    assert ratings == [("E2", ("neutral",), False)]
    assert found.utterances[0].extra["attributes"]["E3"]["valence"] is None and len(found.notes) >= 2
