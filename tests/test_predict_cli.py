"""`hf-ambiser predict`: what it prints and writes in each format, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers.made_data import CLASSES, tiny_model
from helpers.made_model import RATE, noise, saved
from helpers.package_imports import ROOT

from hf_ambiser import predict
from hf_ambiser.cli import main
from hf_ambiser.inference.tables import text_of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    return str(saved(tmp_path_factory.mktemp("tiny"), tiny_model()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A short recording, a long one with a pause, and a broken file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "no_ffmpeg"))
    (tmp_path / "speech").mkdir()
    soundfile.write("speech/a.wav", noise(1.5), RATE)
    soundfile.write("speech/b.flac", np.concatenate([noise(3.0, 1), np.zeros(4 * RATE), noise(2.0, 2)]), RATE)
    (tmp_path / "speech" / "c.wav").write_text("no audio")
    return tmp_path


def run(*words: str) -> int:
    return main(["predict", *words, "--no-progress"])


def test_the_table_has_a_line_for_each_recording_and_each_window_of_a_long_one(tiny, folder, capsys):
    assert run("speech", "--model", tiny, "--window", "2", "--hop", "1") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["recording", "seconds", "heard", "ambiguity", "distribution", "in", "%"]
    (found, *_) = predict("speech/a.wav", tiny, progress=False)
    first = lines[1].split(maxsplit=4)
    assert first[:4] == ["speech/a.wav", "1.5", found.emotion, f"{found.ambiguity:.2f}"]
    ordered = sorted(found.probabilities.items(), key=lambda item: -item[1])
    assert first[4] == ", ".join(f"{name} {100 * share:.0f}" for name, share in ordered)
    assert [line.split(" s ")[0].strip() for line in lines[3:11]] == [f"{i}.0 to {i + 2}.0" for i in range(8)]
    assert [line.split()[4] == "silent" for line in lines[3:11]] == [False] * 3 + [True] * 3 + [False] * 2
    assert lines[11].startswith("speech/c.wav") and "unreadable" in lines[11] and len(lines) == 12
    assert err == "hf-ambiser predict: 1 of 3 recordings has no answer: 1 unreadable\n"


def test_every_format_holds_what_predict_returns(tiny, folder, capsys):
    answers = predict("speech", tiny, progress=False)
    for form in ("jsonl", "csv"):
        assert run("speech", "--model", tiny, "--format", form) == 0
        printed = capsys.readouterr().out
        assert run("speech", "--model", tiny, "--format", form, "--out", f"heard.{form}") == 0
        assert capsys.readouterr().out == ""
        assert (folder / f"heard.{form}").read_text() == printed
        assert printed == text_of(answers, CLASSES, form)
    assert run("speech", "--model", tiny, "--format", "parquet", "--out", "heard.parquet") == 0
    expected = [answer.to_dict() for answer in answers]
    assert [json.loads(line) for line in (folder / "heard.jsonl").read_text().splitlines()] == expected
    assert pq.read_table(folder / "heard.parquet").to_pylist() == expected
    rows = list(csv.DictReader(io.StringIO((folder / "heard.csv").read_text())))
    assert [row["recording"] for row in rows] == ["speech/a.wav", "speech/b.flac", "speech/c.wav"]
    for row, answer in zip(rows, answers, strict=True):
        assert (row["status"], row["reason"], row["windows"]) == (
            answer.status,
            answer.reason,
            str(len(answer.windows)),
        )
        assert row["emotion"] == (answer.emotion or "")
        for name in CLASSES:
            given = row[f"probability_{name}"], row[f"similarity_{name}"]
            shares = answer.probabilities, answer.similarities
            assert given == ("", "") or [float(one) for one in given] == [share[name] for share in shares]
        assert (row["probability_anger"] == "") == (answer.probabilities is None)


def test_standard_input_is_one_recording(tiny, folder, capsys, monkeypatch):
    data = (folder / "speech" / "a.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert run("-", "--model", tiny, "--format", "jsonl") == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    (expected,) = predict("speech/a.wav", tiny, progress=False)
    assert found["probabilities"] == expected.probabilities


def test_names_after_two_dashes_may_begin_with_a_dash(tiny, folder, capsys):
    for name in ("-a.wav", "--model"):
        soundfile.write(folder / name, noise(1.0), RATE, format="WAV")
    assert main(["predict", "speech/a.wav", "--model", tiny, "--no-progress", "--", "-a.wav", "--model"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "speech/a.wav", "./-a.wav", "./--model"
    ]  # fmt: skip


def test_figures_of_what_was_answered(tiny, folder, capsys):
    assert run("speech", "--model", tiny, "--plot", "figures/here") == 0
    assert sorted(path.name for path in (folder / "figures" / "here").iterdir()) == ["1.png", "2.png"]
    for path in (folder / "figures" / "here").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_a_name_cannot_write_on_the_terminal_or_into_a_spreadsheet(tiny, folder, capsys):
    soundfile.write("=1+1\x1b[31m.wav", noise(1.0), RATE)
    assert run("=1+1\x1b[31m.wav", "--model", tiny) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert run("=1+1\x1b[31m.wav", "--model", tiny, "--format", "csv") == 0
    assert "'=1+1" in capsys.readouterr().out


def test_the_ending_of_the_file_is_its_format(tiny, folder, capsys):
    for form in ("jsonl", "csv", "parquet"):
        assert run("speech/a.wav", "--model", tiny, "--format", form, "--out", f"asked.{form}") == 0
        assert run("speech/a.wav", "--model", tiny, "--out", f"by_ending.{form}") == 0
        assert (folder / f"asked.{form}").read_bytes() == (folder / f"by_ending.{form}").read_bytes()
    assert run("speech/a.wav", "--model", tiny, "--out", "answers.txt") == 0
    assert (folder / "answers.txt").read_text().startswith("recording")


def test_a_terminal_that_lacks_a_letter_of_a_name_costs_no_answer(tiny, folder, monkeypatch):
    soundfile.write("\u00f6.wav", noise(1.0), RATE)
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    assert run("\u00f6.wav", "--model", tiny) == 0
    sys.stdout.flush()
    assert b"\n\\xf6.wav " in printed.getvalue()


def test_if_nothing_could_be_answered_the_status_is_1(tiny, folder, capsys):
    soundfile.write("silent.wav", np.zeros(RATE), RATE)
    assert run("speech/c.wav", "silent.wav", "gone.wav", "--model", tiny) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert err == "hf-ambiser predict: 3 of 3 recordings have no answer: 2 unreadable, 1 silent\n"


def test_a_model_that_abstains_has_answered(tiny, folder, capsys):
    assert run("speech/a.wav", "--model", tiny, "--threshold", "1") == 0
    out, err = capsys.readouterr()
    assert "abstains" in out and err == ""


def test_the_balance_of_the_command_acts(tiny, folder, capsys):
    def emotion(*words: str) -> str:
        assert run("speech/a.wav", "--model", "balanced", "--format", "jsonl", *words) == 0
        return json.loads(capsys.readouterr().out)["emotion"]

    model = tiny_model()
    (plain,) = predict("speech/a.wav", tiny, progress=False)
    shares = [0.7 if name == plain.emotion else 0.1 for name in model.config.id2label.values()]
    model.config.decision = {"balance": {"tau": 0, "shares": shares}}
    saved(folder / "balanced", model)
    assert emotion() == emotion("--balance", "0") == plain.emotion != emotion("--balance", "3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "./gone"], "there is no such folder, and it is no Hub name"),
        (["--model", "speech"], "holds no model"),
        (["--model", "gone.onnx"], "model gone.onnx: there is no such file"),
        (["--format", "parquet"], "--format parquet needs --out FILE"),
        (["--out", "speech"], "--out speech is a folder or a device"),
        (["--out", "/dev/null"], "--out /dev/null is a folder or a device"),
        (
            ["--out", "heard.xlsx"],
            "--out heard.xlsx ends in .xlsx, and nothing is written as that",
        ),
        (["--out", "speech/b.flac"], "--out speech/b.flac ends as recordings do"),
        (["--out", "gone/a.csv"], "there is no folder"),
        (["--out", "/proc/a.csv"], "--out /proc/a.csv: nothing can be written into /proc"),
        (["--out", "a.csv", "--format", "table"], "--out a.csv ends as csv does, and --format is table"),
        (["--plot", "speech/a.wav"], "--plot speech/a.wav is a file"),
        (["--window", "0"], "window is 0.0 s"),
        (["--hop", "99"], "hop is 99.0 s"),
        (["--hop", "1e-6"], "hop is 1e-06 s; allowed: from one sample (1/16000 s)"),
        (["--threshold", "2"], "threshold is 2.0"),
        (["--balance", "-1"], "balance is -1.0; allowed"),
        (["--balance", "1"], "the model stores no shares of its answers"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--device", "tpu9"], "device 'tpu9' is not here"),
        (["-", "-"], "standard input (-) is given more than once"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(words, said, tiny, folder, capsys):
    given = words if "--model" in words else ["--model", tiny, *words]
    assert run("speech/a.wav", *given) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["speech"]


def test_figures_of_other_answers_are_not_mixed_with_these(tiny, folder, tmp_path, capsys):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "03.png").touch()
    assert run("speech/a.wav", "--model", tiny, "--plot", str(tmp_path / "figures")) == 2
    assert "holds 1 figures of other answers, 03.png for one" in capsys.readouterr().err
    (tmp_path / "figures" / "03.png").rename(tmp_path / "figures" / "mine.png")
    assert run("speech/a.wav", "--model", tiny, "--plot", str(tmp_path / "figures")) == 0
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["1.png", "mine.png"]


@pytest.mark.skipif("CREMA_D_ROOT" not in os.environ, reason="needs the recordings of CREMA-D")
@pytest.mark.parametrize("page", ["README.md", "docs/predict.md"])
def test_the_answers_on_the_pages_are_those_of_the_commands_above_them(page, monkeypatch, capsys):
    text = (ROOT / page).read_text(encoding="utf-8")
    block = re.search(r"(hf-ambiser predict audio/[^\n#]+)[^`]*```\n\n```text\n(.*?)```", text, re.DOTALL)
    command, shown = block.groups()
    monkeypatch.chdir(os.environ["CREMA_D_ROOT"])
    assert run(*command.split()[2:]) == 0
    assert capsys.readouterr().out == shown


def test_a_progress_bar_is_shown_unless_told_otherwise(tiny, folder, capsys):
    assert main(["predict", "speech/a.wav", "--model", tiny]) == 0
    assert "1/1" in capsys.readouterr().err
    assert run("speech/a.wav", "--model", tiny) == 0
    assert capsys.readouterr().err == ""
