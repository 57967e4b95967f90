"""Recordings that are none: every door says the same of them, in one line each, and answers for the others."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.bad_recordings import EXPECTED, bad_recordings, check
from helpers.made_data import tiny_model
from helpers.made_model import saved

from hf_ambiser import annotate, predict
from hf_ambiser.app.hearing import Models
from hf_ambiser.cli import main
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording


BAD = [name for name, (status, _) in EXPECTED.items() if status != "answered"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return bad_recordings(tmp_path_factory.mktemp("bad") / "recordings")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "tiny", tiny_model())


@pytest.fixture(autouse=True)
def no_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "no_ffmpeg"))


def test_predict_lists_them_in_python_and_on_the_command_line(folder, model, capsys):
    answers = predict(folder, model, progress=False)
    check({Path(one.recording).name: (one.status, one.reason) for one in answers})
    capsys.readouterr()
    words = ["--model", str(model), "--format", "jsonl", "--no-progress"]
    assert main(["predict", str(folder), "nowhere.wav", *words]) == 0
    out, err = capsys.readouterr()
    *rows, nowhere = map(json.loads, out.splitlines())
    check({Path(row["recording"]).name: (row["status"], row["reason"]) for row in rows})
    assert nowhere["reason"] == "there is no such file"
    assert err == f"hf-ambiser predict: {len(BAD) + 1} of {len(EXPECTED) + 1} recordings have no answer:" + (
        " 4 unreadable, 1 invalid, 1 too short, 1 silent\n"
    )
    for name in BAD:
        assert main(["predict", str(folder / name), *words]) == 1, name


def test_annotate_has_a_row_for_each(folder, model, tmp_path):
    manifest = annotate(folder, tmp_path / "out", model, progress=False, device="cpu")
    rows = [row for shard in manifest["shards"] for row in pq.read_table(tmp_path / "out" / shard["file"]).to_pylist()]
    said = {row["recording"]: ("answered", "") for row in rows}
    without = pq.read_table(tmp_path / "out" / "not_answered.parquet").to_pylist()
    check(said | {row["recording"]: (row["status"], row["reason"]) for row in without})
    assert manifest["counts"]["in"] == len(EXPECTED) == len(rows) + len(without)


def test_the_page_says_one_line(folder, model):
    page = Models([model], device="cpu")
    said = {}
    for name in EXPECTED:
        try:
            page.hear(Recording(name, folder / name))
            said[name] = ("answered", "")
        except NoAudio as problem:
            said[name] = (problem.status, str(problem))
    check(said)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "speech"],
        ["annotate", "speech", "--out", "out"],
        ["export", "--out", "out"],
        ["app"],
    ],
    ids=lambda words: words[0],
)
def test_a_model_that_is_missing_or_foreign_is_one_line_of_every_command(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bad_recordings(tmp_path / "speech")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"model_type": "somebody_else"}')
    command, *others = words
    for model, reason in (("./nowhere", "there is no such folder"), ("foreign", "cannot be loaded")):
        given = [command, model, *others] if command == "export" else [command, *others, "--model", model]
        assert main(given) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("hf-ambiser: ") and model.strip("./") in line and reason in line, line
    assert not (tmp_path / "out").exists()
