"""CREMA-D's tables as users have them: saved again by a spreadsheet, spoilt, and without Git LFS."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pytest
from helpers.crema_d_tree import CODES, HEADER, csv_row, encode, tone, write_tree

from hf_ambiser.data.corpora import crema_d
from hf_ambiser.data.corpus_rows import prepare
from hf_ambiser.data.schema import CorpusScan
from hf_ambiser.files.read import FileError


WAV = encode(tone())
NAMES = [f"10{n:02d}_IEO_ANG_{level}" for n in range(1, 5) for level in ("HI", "LO")]
VOTES = [[3, 0, 0, 1, 4, 0], [0, 5, 0, 2, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 7, 2]] * 2
ROWS = [csv_row(n, name, votes) for n, (name, votes) in enumerate(zip(NAMES, VOTES, strict=True), start=1)]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 68544\n"


def scan_text(root: Path, text: str | bytes, clips: list[str] = NAMES) -> CorpusScan:
    write_tree(root, [], {f"AudioWAV/{clip}.wav": WAV for clip in clips})
    (root / crema_d.VOTES).write_bytes(text if isinstance(text, bytes) else text.encode())
    scan = crema_d.scan(root)
    assert scan.count_in == len(scan.utterances) + len(scan.listed)
    return scan


def text_of(
    rows: list[list], header: list[str] = HEADER, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL
) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows([header, *rows])
    return out.getvalue()


def votes_of(scan: CorpusScan) -> dict[str, list[int]]:
    letters = {label: code for code, label in crema_d.CODES.items()}
    found = {}
    for utterance in scan.utterances:
        counts = Counter(letters[rating.labels[0]] for rating in utterance.ratings)
        found[utterance.id] = [counts[code] for code in CODES]
    return found


EXPECTED = dict(zip(NAMES, VOTES, strict=True))


# ---- saved again ---------------------------------------------------------------------------------------------------


def with_index(rows: list[list]) -> str:
    return text_of([[n, *row] for n, row in enumerate(rows)], ["", "Unnamed: 0", *HEADER[1:]])


def in_another_order(rows: list[list]) -> str:
    order = [*range(5, len(HEADER)), 0, 1, 2, 3, 4]
    return text_of([[row[i] for i in order] for row in rows], [HEADER[i] for i in order])


SAVED = {
    "as released": text_of(ROWS, quoting=csv.QUOTE_NONNUMERIC),
    "semicolons": text_of(ROWS, delimiter=";"),
    "semicolons, said in a line": "sep=;\r\n" + text_of(ROWS, delimiter=";"),
    "tabs": text_of(ROWS, delimiter="\t"),
    "UTF-16": text_of(ROWS).encode("utf-16"),
    "a byte order mark": text_of(ROWS).encode("utf-8-sig"),
    "decimal counts": text_of(
        [[row[0], *(f"{n}.0" for n in row[1:7]), row[7], f"{row[8]}.0", *row[9:]] for row in ROWS]
    ),
    "decimal commas": text_of(
        [[row[0], *(f"{n},0" for n in row[1:7]), *row[7:9], str(row[9]).replace(".", ","), *row[10:]] for row in ROWS],
        delimiter=";",
    ),
    "blanks": text_of([[f"{cell} " for cell in row] for row in ROWS], [f" {name} " for name in HEADER]),
    "old line ends": text_of(ROWS).replace("\r\n", "\r"),
    "another order": in_another_order(ROWS),
    "an index before the ids": with_index(ROWS),
    "a named column of ids": text_of(ROWS, ["X", *HEADER[1:]]),
    "empty columns behind": text_of([[*row, "", ""] for row in ROWS], [*HEADER, "", ""]),
    "empty lines": text_of(ROWS).replace("\r\n", "\r\n\r\n"),
    "few columns": text_of([row[:9] for row in ROWS], HEADER[:9]),
}


@pytest.mark.parametrize("how", SAVED)
def test_a_table_that_a_spreadsheet_saved_again_gives_the_same_votes(how, tmp_path):
    scan = scan_text(tmp_path, SAVED[how])
    assert votes_of(scan) == EXPECTED and not scan.listed and not scan.lost.labels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (text_of([row[1:] for row in ROWS], HEADER[1:]), "lacks the column of ids.*voice.*face.*The first row is"),
        (text_of([[n, *row[1:]] for n, row in enumerate(ROWS)]), "lacks the column of ids"),
        (text_of([row[:8] for row in ROWS], HEADER[:8]), r"lacks the column\(s\) \['numResponses'\]"),
        (text_of(ROWS, ["", "A", "A", *HEADER[3:]]), r"lacks the column\(s\) \['D'\]"),
        (text_of([[*row, 1] for row in ROWS], [*HEADER, "S"]), r"has the column\(s\) \['S'\] more than once"),
        ("", "is empty"),
        ("\0" * 5000, "is empty"),
        (POINTER, "tabulatedVotes.csv is a stub of Git LFS.*git lfs pull"),
    ],
    ids=range(8),
)
def test_a_table_that_leaves_a_doubt_is_refused_in_a_line_that_names_it(text, said, tmp_path):
    with pytest.raises(FileError, match=said) as refused:
        scan_text(tmp_path, text)
    assert "tabulatedVotes.csv" in str(refused.value) and "\n" not in str(refused.value)


# ---- spoilt --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
def test_a_stray_quote_costs_its_own_line_whatever_stands_below(place, quoting, tmp_path):
    lines = text_of(ROWS, quoting=quoting).split("\r\n")
    for number in (2, 5):  # two of them would enclose the lines between
        cells = lines[number].split(",")
        at = (0, 7, len(cells) - 1)[place]
        cells[at] = f'"{cells[at]}'
        lines[number] = ",".join(cells)
    scan = scan_text(tmp_path, "\r\n".join(lines))
    spoilt = {NAMES[1], NAMES[4]}
    assert votes_of(scan) == {name: votes for name, votes in EXPECTED.items() if name not in spoilt}
    assert {(item.id, item.reason, item.detail) for item in scan.listed} == {
        (name, "malformed_line", "its quotes do not match") for name in spoilt
    }


def test_a_stray_quote_at_the_size_of_the_release_is_no_error(tmp_path):
    lines = text_of([csv_row(n % 90000, NAMES[n % 8], [5, 0, 0, 0, 0, 0], 2) for n in range(22_000)]).split("\r\n")
    lines[1] = f'"{lines[1]}'
    scan = scan_text(tmp_path, "\r\n".join(lines))
    assert [item.reason for item in scan.listed].count("malformed_line") == 1
    assert "21999 face only rows left aside, with 109995 votes" in scan.notes


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (0, 4, "votes A 4, H 1, N 3 elect A, emoVote is 'N'"),  # the winner
        (0, 3, "give a mean level of"),  # two that do not win
        (0, 1, "meanDisgustResp says that nobody chose D"),  # with a class that nobody chose
    ],
)
def test_votes_in_wrong_columns_contradict_their_row(a, b, said, tmp_path):
    row, levels = csv_row(1, NAMES[0], VOTES[0]), [80.0, -1.0, -1.0, 20.0, 50.0, -1.0]
    first = HEADER.index("meanAngerResp")
    row[first : first + 6] = levels
    row[first - 1] = sum(n * level for n, level in zip(VOTES[0], levels, strict=True) if n) / sum(VOTES[0])
    assert not scan_text(tmp_path, text_of([row]), NAMES[:1]).listed
    row[1 + a], row[1 + b] = row[1 + b], row[1 + a]
    (item,) = scan_text(tmp_path, text_of([row]), NAMES[:1]).listed
    assert item.reason == "malformed_line" and said in item.detail


def test_an_agreement_that_the_votes_do_not_have_is_a_contradiction(tmp_path):
    row = csv_row(1, NAMES[0], VOTES[0])
    row[9] = 0.9
    (item,) = scan_text(tmp_path, text_of([row]), NAMES[:1]).listed
    assert "agree to 0.5, agreement is 0.9" in item.detail


@pytest.mark.parametrize("number", ["\u0664", "9" * 5000, "1e2", "-1", "2.5", "0x3", "1_0", "\u00b2"])
@pytest.mark.parametrize("column", ["A", "numResponses"])
def test_what_is_no_plain_count_is_named_and_never_an_exception(number, column, tmp_path):
    row = csv_row(1, NAMES[0], VOTES[0])
    row[HEADER.index(column)] = number
    (item,) = scan_text(tmp_path, text_of([row]), NAMES[:1]).listed
    assert item.reason == "malformed_line" and item.detail.startswith(f"{column}=") and len(item.detail) < 150


def test_people_of_unusable_age_are_noted(tmp_path):
    write_tree(tmp_path, ROWS, {f"AudioWAV/{name}.wav": WAV for name in NAMES})
    (tmp_path / crema_d.DEMOGRAPHICS).write_text(
        f"ActorID;Age;Sex\n1001;\u0664\u0662;Male\n1002;{'4' * 5000};Male\n1003;42.0;Female\n"
    )
    scan = crema_d.scan(tmp_path)
    ages = {utterance.speaker: utterance.about_speaker.get("age") for utterance in scan.utterances}
    assert ages == {"1001": None, "1002": None, "1003": 42, "1004": None}
    assert sum("cannot read the line of actor" in note for note in scan.notes) == 2
    (tmp_path / crema_d.DEMOGRAPHICS).write_bytes(POINTER)
    assert any("VideoDemographics.csv is a stub of Git LFS" in note for note in crema_d.scan(tmp_path).notes)


# ---- audio files ---------------------------------------------------------------------------------------------------


def test_every_audio_file_is_kept_or_listed_or_counted(tmp_path):
    files = {f"AudioWAV/{name}.wav": WAV for name in NAMES[:-1]}
    files |= {f"AudioWAV/{NAMES[-1][:-1]}.wav": WAV}  # 1004_IEO_ANG_L
    files |= {
        "AudioWAV/1005 IEO sad.WAV": WAV,
        "AudioMP3/1006_IEO_ANG_HI_copy.mp3": WAV,
        "AudioWAV/1007_IEO_ANG_HI.wav": WAV,
    }
    files |= {"AudioWAV/jingle.wav": WAV, "AudioWAV/._1001_IEO_ANG_HI.wav": b"x"}
    write_tree(tmp_path, ROWS, files)
    scan = crema_d.scan(tmp_path)
    assert [item.id for item in scan.listed if item.reason == "malformed_id"] == [
        "1006_IEO_ANG_HI_copy", "1004_IEO_ANG_L", "1005 IEO sad",
    ]  # fmt: skip
    (lost,) = [item for item in scan.listed if item.reason == "label_without_audio"]
    assert lost.id == NAMES[-1] and lost.detail.endswith(f", but AudioWAV/{NAMES[-1][:-1]}.wav")
    assert "1 audio files are named as no utterance and left aside: AudioWAV/jingle.wav" in scan.notes
    of_audio = [item for item in scan.listed if item.reason in ("malformed_id", "audio_without_label")]
    assert len(files) - 1 == len(scan.utterances) + len(of_audio) + 1
    assert scan.count_in == len(scan.utterances) + len(scan.listed)


def test_a_release_without_git_lfs_says_what_its_audio_is_and_what_to_run(tmp_path):
    write_tree(tmp_path, ROWS, {f"AudioWAV/{name}.wav": POINTER for name in NAMES})
    with pytest.raises(ValueError, match="8 audio files are stubs of Git LFS.*`git lfs pull`") as refused:
        prepare("crema_d", tmp_path)
    assert "Check --root" not in str(refused.value)
    (tmp_path / "AudioWAV" / f"{NAMES[0]}.wav").write_bytes(WAV)  # fetched in part
    prepared = prepare("crema_d", tmp_path)
    assert Counter(item.reason for item in prepared.listed) == {"lfs_stub": 7}
    assert all("git lfs pull" in item.detail for item in prepared.listed)
