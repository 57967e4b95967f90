import os
from collections import Counter
from pathlib import Path

import pytest
from helpers.crema_d_tree import HEADER, csv_row, encode, tone, write_tree

from hf_ambiser.data.corpora import available_corpora, crema_d, load_corpus
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.labels.votes import tally


WAV = encode(tone())


def scan_rows(root: Path, rows: list[list], clips: list[str], **options):
    write_tree(root, rows, {f"AudioWAV/{c}.wav": WAV for c in clips}, **options)
    scan = crema_d.scan(root)
    assert scan.count_in == len(scan.utterances) + len(scan.listed)
    return scan


def test_the_corpus_is_found_by_its_file_and_an_unknown_one_is_named():
    assert "crema_d" in available_corpora()
    assert load_corpus("crema_d") is crema_d
    with pytest.raises(ValueError, match="no corpus 'cremad'; available: .*crema_d"):
        load_corpus("cremad")


def test_voice_only_rows_become_utterances_with_anonymous_raters(tmp_path):
    clips = ["1001_IEO_NEU_XX", "1002_DFA_ANG_HI"]
    rows = [csv_row(i, c, [0, 1, 0, 2, 3 + i, 0], m) for m in (3, 2, 1) for i, c in enumerate(clips)]
    scan = scan_rows(tmp_path, rows, clips)
    assert [u.id for u in scan.utterances] == clips and not scan.listed and scan.count_in == 2
    first, second = scan.utterances
    assert (first.speaker, first.corpus) == ("1001", "crema_d")
    assert Counter(r.labels for r in first.ratings) == {("disgust",): 1, ("happiness",): 2, ("neutral",): 3}
    assert len(second.ratings) == 7 and all(r.rater is None and not r.self_report for r in second.ratings)
    assert first.extra["age"] == 20 and first.extra["sex"] == "female" and second.extra["intended"] == "ANG"
    assert any("2 face only rows" in note for note in scan.notes)


def test_header_of_the_made_tree_is_the_releases():
    root = os.environ.get("CREMA_D_ROOT")
    if not root:
        pytest.skip("CREMA_D_ROOT is not set")
    first = Path(root, crema_d.VOTES).read_text().splitlines()[0]
    assert [name.strip('"') for name in first.split(",")] == HEADER


def test_every_item_that_cannot_be_used_is_listed_with_reason_and_line(tmp_path):
    name = "1001_{}_ANG_XX".format
    good = csv_row(1, name("AAA"), [3, 0, 0, 0, 1, 0])
    unequal = csv_row(2, name("BBB"), [3, 0, 0, 0, 1, 0])
    unequal[8] = 9
    text = csv_row(3, name("CCC"), [3, 0, 0, 0, 1, 0])
    text[1] = "three"
    negative = csv_row(4, name("DDD"), [3, 0, 0, 0, 1, 0])
    negative[1], negative[8] = -3, -2
    modality = csv_row(5, name("EEE"), [3, 0, 0, 0, 1, 0], modality=4)
    short = csv_row(6, name("FFF"), [3, 0, 0, 0, 1, 0])[:-3]
    unnamed = csv_row(7, "nobody", [3, 0, 0, 0, 1, 0])
    silent = csv_row(8, name("GGG"), [3, 0, 0, 0, 1, 0])  # a row without a clip
    twice_same, twice_other = csv_row(9, name("AAA"), [3, 0, 0, 0, 1, 0]), csv_row(10, name("AAA"), [0, 0, 4, 0, 0, 0])
    rows = [good, unequal, text, negative, modality, short, unnamed, silent, twice_same, twice_other]
    clips = [name(c) for c in ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "HHH")]
    scan = scan_rows(tmp_path, rows, clips)

    assert [u.id for u in scan.utterances] == [name("AAA")]
    assert scan.utterances[0].ratings[0].labels == ("anger",)
    by_line = {item.source.rsplit(":", 1)[-1]: item for item in scan.listed}
    csv_file = "processedResults/tabulatedVotes.csv"
    for line, clip, reason, words in [
        (3, "BBB", "malformed_line", "sum to 4, numResponses is 9"),
        (4, "CCC", "malformed_line", "A='three'"),
        (5, "DDD", "malformed_line", "A='-3'"),
        (6, "EEE", "malformed_line", "modality"),
        (7, "FFF", "malformed_line", f"{len(HEADER) - 3} columns"),
        (9, "GGG", "label_without_audio", "no 1001_GGG_ANG_XX"),
        (10, "AAA", "duplicate_label", f"the same votes as in {csv_file}:2"),
        (11, "AAA", "duplicate_label", "other votes"),
    ]:
        item = by_line[str(line)]
        assert (item.id, item.reason) == (name(clip), reason) and words in item.detail, item
        assert item.source == f"{csv_file}:{line}"
    assert by_line["8"].reason == "malformed_line" and "nobody" in by_line["8"].detail
    orphan = [item for item in scan.listed if item.reason == "audio_without_label"]
    assert [(o.id, o.source) for o in orphan] == [(name("HHH"), "AudioWAV/1001_HHH_ANG_XX.wav")]
    assert scan.count_in == len(rows) + 1


def test_a_clip_is_found_whatever_its_folder_and_ending_and_once(tmp_path):
    clips = ["1001_AAA_ANG_XX", "1002_AAA_ANG_XX"]
    files = {
        "AudioMP3/1001_AAA_ANG_XX.mp3": b"x",
        "AudioWAV/1001_AAA_ANG_XX.wav": WAV,
        "deep/down/1002_AAA_ANG_XX.FLAC": encode(tone(), form="FLAC"),
        "AudioWAV/._1001_AAA_ANG_XX.wav": b"x",
        "AudioWAV/notes.wav": b"x",
        "VideoFlash/1003_AAA_ANG_XX.flv": b"x",
    }
    write_tree(tmp_path, [csv_row(i, c, [1, 0, 0, 0, 0, 0]) for i, c in enumerate(clips)], files, demographics=False)
    scan = crema_d.scan(tmp_path)
    assert [u.audio_path.suffix for u in scan.utterances] == [".wav", ".FLAC"] and not scan.listed
    assert any("second copies" in note for note in scan.notes) and any("VideoDemographics" in n for n in scan.notes)
    assert "age" not in scan.utterances[0].extra


def test_a_wrong_root_says_what_to_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a folder.*--root"):
        crema_d.scan(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no .*tabulatedVotes.csv.*--root"):
        crema_d.scan(tmp_path)
    (tmp_path / "processedResults").mkdir()
    (tmp_path / crema_d.VOTES).write_text('"","A","D","fileName"\n')
    with pytest.raises(ValueError, match="lacks the column.*'F'.*numResponses"):
        crema_d.scan(tmp_path)


def test_counts_of_the_real_part():
    root = os.environ.get("CREMA_D_ROOT")
    if not root:
        pytest.skip("CREMA_D_ROOT is not set")
    scan = crema_d.scan(Path(root))
    table = tally(get_policy("crema-d-6"), scan.ratings())
    assert (scan.count_in, len(scan.listed)) == (3760, 0)
    assert (int(table.kept.sum()), int((~table.kept).sum())) == (3457, 303)
    assert len({u.speaker for u in scan.utterances}) == 46 and all("age" in u.extra for u in scan.utterances)


def test_audio_behind_links_is_found_once_and_a_link_to_above_ends_the_search(tmp_path):
    clips = ["1001_IEO_NEU_XX", "1002_DFA_ANG_HI"]
    root, elsewhere = tmp_path / "release", tmp_path / "elsewhere"
    write_tree(root, [csv_row(i, c, [0, 1, 0, 2, 3, 0]) for i, c in enumerate(clips)], {})
    elsewhere.mkdir()
    for clip in clips:
        (elsewhere / f"{clip}.wav").write_bytes(WAV)
    (root / "AudioWAV").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (elsewhere / "up").symlink_to(root)  # a loop
    scan = crema_d.scan(root)
    assert [u.id for u in scan.utterances] == clips and not scan.listed
    assert not any("second copies" in note for note in scan.notes)


def test_copies_that_were_derived_are_not_taken_for_the_recording(tmp_path):
    """Folders of copies that sort before the release's own, and before one another."""
    clips = [f"10{n:02d}_AAA_ANG_XX" for n in range(1, 5)]
    noisy = encode(tone(seed=9))
    files = {
        **{f"Audio0Noise/{clips[0]}.wav": noisy, f"AudioWAV/{clips[0]}.wav": WAV},
        **{f"a/{clips[1]}.wav": noisy, f"b/{clips[1]}.wav": WAV},  # nobody can tell
        **{f"a/{clips[2]}.wav": WAV, f"b/{clips[2]}.wav": WAV},  # the same
        **{f"a/{clips[3]}.mp3": noisy, f"a/{clips[3]}.flac": WAV},  # one folder: the better ending
    }
    write_tree(tmp_path, [csv_row(i, c, [1, 0, 0, 0, 0, 0]) for i, c in enumerate(clips)], files)
    scan = crema_d.scan(tmp_path)
    used = {u.id: u.audio_path.relative_to(tmp_path).as_posix() for u in scan.utterances}
    assert used == {
        clips[0]: f"AudioWAV/{clips[0]}.wav", clips[2]: f"a/{clips[2]}.wav", clips[3]: f"a/{clips[3]}.flac"
    }  # fmt: skip
    assert [(item.id, item.reason) for item in scan.listed] == [(clips[1], "ambiguous_audio")]
    assert "2 files that differ" in scan.listed[0].detail and f"a/{clips[1]}.wav" in scan.listed[0].detail
    assert scan.count_in == len(scan.utterances) + len(scan.listed) == 4
