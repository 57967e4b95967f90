"""What a build says of its two sides: in its summary, its report, its card and on the cards of models."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from helpers.babble import babble
from helpers.crema_d_tree import csv_row, encode, write_tree
from helpers.made_run import fields

from hf_ambiser import build_from_ratings, preview_ratings
from hf_ambiser.data import read_dataset_info
from hf_ambiser.data.build import build
from hf_ambiser.data.build_cli import main
from hf_ambiser.data.overlap.record import describe_sides, overlap_of
from hf_ambiser.data.splits import SplitOptions
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run


SENTENCES = ("IEO", "DFA", "TIE", "WSI", "MTI")
VOTES = {"A": [6, 0, 0, 1, 1, 0], "H": [0, 0, 0, 7, 1, 0], "N": [1, 1, 0, 1, 4, 1], "S": [0, 2, 0, 0, 3, 3]}
# Copies: of the same samples, and softer with silence before it.
SAME, NEAR = ("1001_IEO_ANG_XX", "1002_IEO_ANG_XX"), ("1003_DFA_SAD_XX", "1004_DFA_SAD_XX")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve speakers, each of whom says each sentence in one emotion, and two recordings under two names."""
    rows, waves = [], {}
    for speaker in range(1001, 1013):
        for i, sentence in enumerate(SENTENCES):
            code = "ASHN"[i % 4]
            name = f"{speaker}_{sentence}_{ {'A': 'ANG', 'S': 'SAD', 'H': 'HAP', 'N': 'NEU'}[code] }_XX"
            rows.append(csv_row(len(rows), name, VOTES[code]))
            waves[name] = babble(len(rows), 0.8)
    waves[SAME[1]] = waves[SAME[0]]
    waves[NEAR[1]] = np.concatenate([np.zeros(3000, np.float32), 0.4 * waves[NEAR[0]]])
    clips = {f"AudioWAV/{name}.wav": encode(wave) for name, wave in waves.items()}
    return write_tree(tmp_path_factory.mktemp("corpus"), rows, clips)


CONFIGS = ["slc-strict", "loso-paper-1002"]


@pytest.fixture(scope="module")
def report(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "plain"
    return build("crema_d", root, out, "crema-d-4", configs=CONFIGS, progress=False)


def test_the_report_counts_what_stands_on_two_sides(report):
    overlap = json.loads((report.out / "build_report.json").read_text())["overlap"]
    assert overlap["columns"] == ["identical_audio", "near_identical_audio", "sentence", "speaker"]
    assert overlap["n_same_audio"] == 2 and overlap["same_audio"] == [sorted(SAME), sorted(NEAR)]
    assert overlap["rule"]["not_comparable"] == 0
    # 1002 is held out: its sentences are everybody's, and one of its recordings is 1001's, too.
    test = {name: counts["test"] for name, counts in overlap["configs"]["loso-paper-1002"].items()}
    assert test["speaker"] == {"values": 1, "shared": 0, "utterances": 0}
    assert test["sentence"] == {"values": 5, "shared": 5, "utterances": 55}
    for audio in ("identical_audio", "near_identical_audio"):
        assert test[audio] == {"values": 5, "shared": 1, "utterances": 1}
    assert all("validation" in counts for counts in overlap["configs"]["slc-strict"].values())


def test_summary_and_card_say_it(report):
    summary = report.summary()
    said = "5 of the 5 sentences of test; 1 identical recording of test; 1 near copy of a recording of test"
    assert f"two sides, loso-paper-1002: The training side also has {said}. It shares no speaker with" in summary
    assert f"2 groups of utterances are identical or near copies of one another: {' = '.join(SAME)}" in summary
    card = (report.out / "README.md").read_text()
    assert "## What stands on two sides" in card
    assert "| loso-paper-1002 | test | 0 / 1 (0) | 5 / 5 (55) | 1 / 5 (1) | 1 / 5 (1) |" in card
    assert describe_sides({"speaker": {"test": {"values": 2, "shared": 0, "utterances": 0}}}) == (
        "The training side shares no speaker with validation or test."
    )
    assert describe_sides({}) == ""


def test_held_apart_utterances_are_counted_and_listed(root, report, tmp_path, capsys):
    common = ["--root", str(root), "--policy", "crema-d-4", "--no-progress", "--configs", *CONFIGS]
    assert main("crema_d", [*common, "--out", str(tmp_path / "no"), "--disjoint", "sentence"], "build") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--disjoint sentence=0.25" in error and not (tmp_path / "no").exists()

    assert (
        main("crema_d", [*common, "--out", str(tmp_path / "a"), "--disjoint", "audio", "sentence=0.6"], "build") == 0
    )
    said, there = capsys.readouterr().out, read_dataset_info(tmp_path / "a")
    with open(tmp_path / "a" / "listed.csv", newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["reason"] == "held_apart"]
    for config in CONFIGS:
        apart, before = there["configs"][config]["held_apart"], report.content["configs"][config]
        mine = [row for row in listed if row["detail"].startswith(f"{config}, ")]
        assert sum(apart.values()) == len(mine) == len({row["id"] for row in mine}) > 0
        assert there["configs"][config]["unused"] == before["unused"] + len(mine)
        assert there["configs"][config]["fingerprint"] != before["fingerprint"]
        assert f"left out to hold sentence apart: {apart['sentence']}\n" in said
        for column in ("sentence", "near_identical_audio"):
            assert there["overlap"]["configs"][config][column]["test"]["shared"] == 0
    # The sum of the utterances is what it was: those that a config leaves out are kept, and may stand in another one.
    assert there["counts"] == report.content["counts"]
    assert "to hold sentence apart)" in (tmp_path / "a" / "README.md").read_text()


def test_splits_and_files_without_it_are_those_of_before(report):
    """Fingerprints of this made corpus by the code before there was an audit."""
    found = {name: about["fingerprint"] for name, about in report.content["configs"].items()}
    assert found == {"slc-strict": "9e1a8d54d499", "loso-paper-1002": "691213fe63c6"}
    assert report.content["content"] == "8afb092a9893"
    assert not any("held_apart" in about for about in report.content["configs"].values())


def test_columns_of_a_table_of_ones_own_are_compared(tmp_path):
    rows = [("clip", "label", "speaker", "dialogue", "text")]
    for i in range(24):
        path = tmp_path / "audio" / f"c{i}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(babble(i, 0.5)))
        text = "  Never " if i % 6 == 0 else f"text {i}"
        rows += [
            (f"c{i}", "ab"[i % 2], f"s{i % 8}", f"d{i // 4}", text),
            (f"c{i}", "ab"[i % 2], f"s{i % 8}", "", "never"),
        ]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    out = build_from_ratings(tmp_path / "t.csv", tmp_path / "audio", tmp_path / "out", progress=False)
    counts = out.content["overlap"]["configs"]["slc-strict"]
    assert {"dialogue", "sentence", "session", "speaker"} < set(counts)
    assert counts["sentence"]["test"]["shared"] == 1 and counts["dialogue"]["test"]["shared"] > 1
    shown = preview_ratings(
        tmp_path / "t.csv", tmp_path / "audio", options=SplitOptions(disjoint=("audio", "sentence"))
    )
    apart = build_from_ratings(
        tmp_path / "t.csv", tmp_path / "audio", tmp_path / "apart", progress=False, disjoint=("sentence",)
    )
    sizes = ", ".join(f"{n} {part['rows']}" for n, part in apart.content["configs"]["slc-strict"]["splits"].items())
    assert f"splits (before `audio` is held apart, which a build does):\n  slc-strict: {sizes}" in shown
    assert apart.content["configs"]["slc-strict"]["held_apart"]["sentence"] > 0
    assert any("20 utterances have more than one sentence in their rows" in note for note in out.content["notes"])


def test_a_run_notes_it_its_card_says_it_and_resuming_does_not_ask_for_it(report, tmp_path):
    given = fields(
        report.out, tmp_path / "run", method="soft_vote", warmup_epochs=..., num_train_epochs=1,
        dataset_config="slc-strict", train_splits=["clear", "ambiguous"], test_splits=["test"], ambiguous_splits=[],
    )  # fmt: skip
    results = run(RunArguments.from_mapping(given))
    noted = results["data"]["overlap"]
    assert noted == report.content["overlap"]["configs"]["slc-strict"]
    folder = RunFolder(tmp_path / "run")
    card = folder.card.read_text()
    assert f"| two sides | {describe_sides(noted)} |" in card and "5 of the 5 sentences" in card
    # A run that was made before the audit goes on with the data set that was built again.
    before = folder.read_data()
    assert before.pop("overlap") == noted
    folder.data.write_text(json.dumps(before))
    assert run(RunArguments.from_mapping(given)) == results


@pytest.mark.parametrize(
    "spoilt",
    [{}, {"overlap": 3}, {"overlap": {"configs": []}}, {"overlap": {"configs": {"c": {"speaker": {"test": {}}}}}}],
)
def test_a_report_that_says_it_in_another_way_is_not_quoted(spoilt):
    assert overlap_of(spoilt, "c") == {}
    strange = {"overlap": {"configs": {"c": {"# Buy": {"test": 1}, "speaker": {"<b>": {}}}}}}
    assert overlap_of(strange, "c") == {"speaker": {}}
