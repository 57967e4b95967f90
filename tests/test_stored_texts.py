"""What a build stores in lists and notes: nothing of this machine, nothing that differs between equal builds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.crema_d_tree import csv_row, encode, tone, write_tree

from hf_ambiser.data.build import LISTED, build
from hf_ambiser.data.notes import MOST_NOTES, stored_notes
from hf_ambiser.data.place import REPORT
from hf_ambiser.data.schema import Listed
from hf_ambiser.untrusted.places import shortened, without_places


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<_io.BytesIO object at 0x7f0f1c2b3a40>: no", "<_io.BytesIO object at 0x...>: no"),
        ("[Errno 13] Permission denied: '/home/me/a b/c.wav'", "[Errno 13] Permission denied: '/home/me/a b/c.wav'"),
        ("[Errno 13] Permission denied: '/home/me/corpus/c.wav'", "[Errno 13] Permission denied: 'c.wav'"),
        (r"C:\Users\me\c.wav is not there", "c.wav is not there"),
        ("~/corpus/c.wav", "c.wav"),
        ("AudioWAV/c.wav and neutral/calm", "AudioWAV/c.wav and neutral/calm"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("1/2 or 0x1f", "1/2 or 0x1f"),
    ],
)
def test_places_of_this_machine_are_taken_out(text, shown):
    if " b/" in text:  # a folder with a blank ends the path that is seen; its beginning goes in any case
        assert "/home/me" not in without_places(text)
    else:
        assert without_places(text) == shown


def test_a_listed_detail_says_no_place_and_is_not_long():
    item = Listed("a", "malformed_line", f"{OSError(13, 'denied', '/home/me/c.wav')} {'x' * 10_000}", "votes.csv:3")
    assert "/home" not in item.detail and len(item.detail) < 600 and "letters in all" in item.detail
    assert shortened("abc", 3) == "abc" and shortened("abcd", 3) == "abc... (4 letters in all)"


def test_notes_are_bounded_and_what_is_left_out_is_counted():
    notes = stored_notes([f"note {n}\nof two lines" for n in range(MOST_NOTES + 7)])
    assert len(notes) == MOST_NOTES + 1 and notes[-1] == "7 more remarks like these are left out"
    assert notes[0] == "note 0 of two lines" and len(stored_notes(["x" * 10**6])[0]) < 5000


def faulty(root: Path) -> Path:
    """A release with audio of every fault that a decoder words."""
    rows = [csv_row(n, f"10{n:02d}_IEO_ANG_HI", [5 * (n % 2), 1, 0, 0, 0, 5 * (1 - n % 2)]) for n in range(1, 16)]
    files = {f"AudioWAV/{row[7]}.wav": encode(tone(0.2, seed=n)) for n, row in enumerate(rows)}
    names = list(files)
    files[names[0]] = b"no audio at all"
    files[names[1]] = files[names[1]][:100]
    files[names[2]] = b""
    files[names[3]] = b"RIFF" + b"\xff" * 60
    files[names[4]] = b"fLaC" + b"\0" * 60
    write_tree(root, rows, files)
    if os.geteuid():
        (root / names[5]).chmod(0)
    (root / names[6]).unlink()
    (root / names[6]).mkdir()
    return root


def test_equal_builds_are_byte_equal_wherever_they_stand(tmp_path):
    made = {}
    for place in ("here", "there/deeper"):
        out = tmp_path / place / "out"
        build("crema_d", faulty(tmp_path / place / "release"), out, configs=["slc-strict"],
              progress=False)  # fmt: skip
        made[place] = {name: (out / name).read_bytes() for name in (LISTED, REPORT, "README.md")}
    assert made["here"] == made["there/deeper"]
    text = made["here"][LISTED].decode()
    assert text.count("\n") >= 6 and "0x" not in text and str(tmp_path) not in text
