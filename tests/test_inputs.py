"""What `predict` takes: paths, folders, bytes, file objects, arrays and lists of them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import soundfile
from helpers.made_sound import RATE, problem, tone

from hf_ambiser.inference.inputs import SUFFIXES, recordings_of
from hf_ambiser.inference.recordings import Recording


def names(found: list[Recording]) -> list[str]:
    return [recording.name for recording in found]


def test_a_folder_is_searched_in_the_order_of_names_and_links_are_followed_once(tmp_path):
    inside, elsewhere = tmp_path / "inside", tmp_path / "elsewhere"
    for path in (inside / "b" / "2.WAV", inside / "1.flac", inside / "b" / "note.txt", inside / ".hidden" / "3.wav",
                 inside / "._1.wav", elsewhere / "4.mp3"):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (inside / "up").symlink_to(inside)
    (inside / "link").symlink_to(elsewhere)
    (inside / "again").symlink_to(elsewhere)
    assert [Path(name).relative_to(inside).as_posix() for name in names(recordings_of(inside))] == [
        "1.flac", "again/4.mp3", "b/2.WAV"
    ]  # fmt: skip
    linked = tmp_path / "linked"
    linked.symlink_to(inside)
    assert len(recordings_of(linked)) == 3


def test_a_folder_without_audio_is_a_row(tmp_path):
    (tmp_path / "note.txt").touch()
    (row,) = recordings_of(tmp_path)
    assert row.name == str(tmp_path) and "the folder holds no audio" in problem(row).reason


def test_a_folder_that_cannot_be_read_is_a_row_beside_the_others(tmp_path, monkeypatch):
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", tone(), RATE)
    plain = os.scandir

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read everything
    row, recording = recordings_of(tmp_path)
    assert row.name == str(tmp_path / "closed")
    assert problem(row).reason == "the folder cannot be read (Permission denied)"
    assert recording.name == str(tmp_path / "open" / "a.wav")


def test_a_file_below_a_closed_folder_and_a_name_that_is_too_long_are_rows(monkeypatch):
    plain = os.stat

    def stat(path, **options):
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    closed, long, void = recordings_of(["closed/a.wav", "a" * 300 + ".wav", "a\0.wav"])
    assert problem(closed).status == problem(long).status == problem(void).status == "unreadable"


def test_inputs_of_all_kinds_in_one_list_keep_their_order(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), RATE)
    given = [tone(), str(path), path.read_bytes(), path.open("rb"), {"array": tone(), "sampling_rate": 8000}, tmp_path]
    found = recordings_of(given, sampling_rate=RATE)
    assert names(found) == ["array 0", str(path), "bytes 2", str(path), "array 4", str(path)]
    assert found[4].sampling_rate == 8000
    assert names(recordings_of(iter(given), sampling_rate=RATE)) == names(found)


def test_an_address_is_not_fetched():
    (row,) = recordings_of("https://example.org/a.wav")
    assert "it is an address, and nothing is fetched" in problem(row).reason


def test_a_name_that_is_no_utf_8_can_be_shown(tmp_path):
    name = os.fsdecode(b"\xff\xfe.wav")
    (row,) = recordings_of(tmp_path / name)
    row.name.encode("utf-8")
    assert row.name.endswith("\ufffd\ufffd.wav")


@pytest.mark.parametrize(
    ("given", "rate", "words"),
    [
        (tone(), None, "input 0 is an array and has no sampling rate"),
        (tone(), 0, "sampling_rate is 0; allowed: a whole number of Hz"),
        (tone(), 16000.5, "sampling_rate is 16000.5"),
        (tone(), float("nan"), "sampling_rate is nan; allowed: a whole number of Hz"),
        (tone(), "16000", "sampling_rate is '16000'"),
        (list(tone()), 16000, "input 0 is one number; give samples as an array"),
        ("a.wav", 16000, "sampling_rate is 16000, and no input is an array"),
        ([0.1, 0.2], 16000, "no input is an array"),
        ([0.1, 0.2], None, "input 0 is of type float; allowed: a path"),
        (3, None, "input 0 is of type int; allowed: a path"),
        ({"path": "a.wav"}, None, "input 0 has the keys \\['path'\\]"),
        (io.StringIO("a"), None, "open it in binary mode"),
    ],
)
def test_a_wrong_kind_of_input_is_an_error_that_says_what_is_allowed(given, rate, words):
    with pytest.raises(ValueError, match=words):
        recordings_of(given, sampling_rate=rate)


def test_a_list_of_other_files_is_no_recording_of_a_folder():
    assert not {".m3u", ".m3u8", ".txt", ".csv", ".json"} & set(SUFFIXES)
