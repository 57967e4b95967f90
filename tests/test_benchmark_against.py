"""Ours and transformers side by side: turns, ratios, the table, and a quick run from the command line to JSON."""

import json
import math
import re

import numpy as np
import pytest
import torch
from helpers.scripts import load_script

from hf_ambiser.benchmark.against import run as side_by_side
from hf_ambiser.benchmark.against.models import BUILDERS
from hf_ambiser.benchmark.against.rows import FASTER, NO_SLOWER, Settings
from hf_ambiser.benchmark.against.run import ROWS, Row, Wanted, run_against
from hf_ambiser.benchmark.against.speech import CLASSES, ROOT, Speech, Spoken, as_split
from hf_ambiser.benchmark.against.table import describe_against, verdict
from hf_ambiser.benchmark.against.training import METHODS, without_correction
from hf_ambiser.benchmark.against.turns import Clock, Spent, in_turns, ratio_of
from hf_ambiser.benchmark.benchmark_cli import main
from hf_ambiser.methods import load_method
from hf_ambiser.training.trainer import AmbiSERTrainer


@pytest.fixture
def made(monkeypatch):
    """Sound and encoders are made, whatever this machine has."""
    monkeypatch.delenv(ROOT, raising=False)
    monkeypatch.delenv("AMBISER_ENCODERS", raising=False)


# Turns and ratios


def test_ways_take_turns_and_end_when_the_time_is_over():
    order = []
    ways = {name: lambda name=name: order.append(name) or Spent(1.0, 1.0) for name in "ab"}
    taken = in_turns(ways, seconds=0, least=3)
    assert "".join(order) == "ababab" and {name: len(rounds) for name, rounds in taken.items()} == {"a": 3, "b": 3}
    assert len(in_turns(ways, seconds=60, least=1, most=4)["a"]) == 4


def test_a_clock_adds_up():
    clock = Clock()
    torch.randn(200, 200) @ torch.randn(200, 200)
    first, second = clock.read(), clock.read()
    assert 0 < first.wall <= second.wall and 0 <= first.cpu <= second.cpu
    assert Spent(1, 2) + Spent(3, 4) == Spent(4, 6)


def test_a_ratio_and_its_interval_are_those_counted_by_hand():
    ours, other = [1.0, 2.0, 4.0], [2.0, 5.0, 7.0]
    logs = [math.log(2.0), math.log(2.5), math.log(1.75)]
    mean = (logs[0] + logs[1] + logs[2]) / 3
    variance = ((logs[0] - mean) ** 2 + (logs[1] - mean) ** 2 + (logs[2] - mean) ** 2) / 2
    reach = 4.302652729911275 * math.sqrt(variance / 3)  # Student's t of 2 degrees of freedom at 0.975, from a table
    found = ratio_of(other, ours)
    assert found.value == pytest.approx((2.0 * 2.5 * 1.75) ** (1 / 3))
    assert (found.low, found.high) == pytest.approx((math.exp(mean - reach), math.exp(mean + reach)))
    back = ratio_of(ours, other)
    assert (back.low, back.value, back.high) == pytest.approx((1 / found.high, 1 / found.value, 1 / found.low))
    with pytest.raises(ValueError, match="1 and 1 rounds; allowed: the same number of both, 2 or more"):
        ratio_of([1.0], [1.0])


# What is compared


def test_mixed_lengths_are_spread_evenly_and_joined(made):
    speech = Speech.find(5)
    assert speech.source == f"made sound (no {ROOT})"
    mixed = speech.mixed(12, 1.0, 12.0)
    assert sorted(round(one.seconds) for one in mixed) == list(range(1, 13))
    joined = np.concatenate([speech.utterances[i % 5].samples for i in range(20)])
    assert np.array_equal(mixed[0].samples, joined[: len(mixed[0].samples)])
    split = as_split(mixed, "u")
    assert split["label"] == [one.label for one in mixed] and np.array(split["votes"]).shape == (12, len(CLASSES))


def test_too_few_utterances_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv(ROOT, str(tmp_path))
    (tmp_path / "1001_DFA_ANG_XX.txt").touch()
    with pytest.raises(ValueError, match="holds 0 utterances of CREMA-D, and 3 are needed"):
        Speech.find(3)


@pytest.mark.parametrize("encoder", BUILDERS)
def test_both_classifiers_have_the_weights_of_one_encoder(encoder, made):
    pair = BUILDERS[encoder](True)
    theirs = (pair.theirs.encoder if encoder == "whisper" else pair.theirs.wav2vec2).state_dict()
    ours = pair.ours.encoder.state_dict()
    assert ours and all(torch.equal(theirs[name], values) for name, values in ours.items())


@pytest.mark.parametrize("method", METHODS)
def test_without_correction_a_method_keeps_its_passes(method):
    whole = load_method(method)
    bare = without_correction(whole)
    assert bare.correct is AmbiSERTrainer.correct and bare.update_state is AmbiSERTrainer.update_state
    assert bare.takes_ambiguous is whole.takes_ambiguous and bare.training_step is whole.training_step


# The table


def row(ratio, goal=2.0, meaning=FASTER, **more):
    value, low, high = ratio
    return {
        "row": "files-whisper", "what": "files to answers", "encoder": "an encoder", "other": "a pipeline",
        "goal": goal, "meaning": meaning, "utterances": 6, "note": "a note", "figures": {},
        "wall_s": {"predict": [1.0, 3.0, 2.0], "pipeline": [0.4, 0.6, 0.5]},
        "cpu_s": {"predict": [1.0, 3.0, 2.0], "pipeline": [0.4, 0.6, 0.5]},
        "ratio": {"value": value, "low": low, "high": high}, "cpu_ratio": {"value": value, "low": low, "high": high},
        **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    "ratio,goal,meaning,expected",
    [
        ((2.5, 2.2, 2.8), 2.0, FASTER, "yes"),
        ((2.5, 1.9, 3.3), 2.0, FASTER, "yes?"),
        ((1.5, 1.2, 2.1), 2.0, FASTER, "no?"),
        ((1.02, 1.01, 1.03), 1.05, NO_SLOWER, "yes"),
        ((1.07, 1.06, 1.08), 1.05, NO_SLOWER, "no"),
    ],
)
def test_a_goal_is_reached_or_not_and_certain_or_not(ratio, goal, meaning, expected):
    assert verdict(row(ratio, goal, meaning)) == expected


def test_the_table_is_the_one_that_the_documentation_holds():
    operators = {"predict": {"wall_s": 2.0, "outside": 0.25, "most": [{"name": "mm", "share": 0.5, "calls": 7}]}}
    text = describe_against(
        [row((0.25, 0.2, 0.3), operators=operators), {"row": "stream-whisper", "what": "", "error": "OSError: gone"}]
    )
    (cells,) = [line for line in text.splitlines() if "an encoder" in line]
    assert [cell.strip() for cell in cells.split("|")[1:-1]] == [
        "files to answers", "an encoder", "2 s (1 to 3)", "500 ms (400 to 600)",
        "0.25 (0.20 to 0.30)", ">= 2", "no", "3",
    ]  # fmt: skip
    assert "- files-whisper, against a pipeline: 3 and 12 utterances/s; ratio of processor times 0.25" in text
    assert "- stream-whisper failed: OSError: gone" in text
    assert "- predict, 2.00 s: mm 50 % (7); outside torch's operators 25 %" in text


# From the command line to JSON


def test_a_quick_run_measures_and_goes_on_where_it_was_stopped(made, tmp_path, capsys):
    out = tmp_path / "speed.json"
    names = ["files-wav2vec2", "similar-wav2vec2", "correction-slc", "stream-whisper"]
    argv = ["--against", "transformers", "--quick", "--threads", "1", "--out", str(out), "--rows"]
    before = torch.get_num_threads()
    script = load_script("train_scripts/benchmark.py")
    assert script.main([*argv, *names]) == 0 and torch.get_num_threads() == before
    written = json.loads(out.read_text())
    assert [one["row"] for one in written["rows"]] == names and written["environment"]["threads"] == 1
    for one in written["rows"][:3]:
        assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in one["wall_s"].values())
        assert one["ratio"]["low"] <= one["ratio"]["value"] <= one["ratio"]["high"]
    figures = written["rows"][3]["figures"]
    assert 0 < figures["answer_ms"]["median"] <= figures["answer_ms"]["p95"] <= figures["answer_ms"]["max"]
    assert 0 < figures["rtf"] and figures["answers"] > 0
    first = capsys.readouterr().out
    assert "pipeline of Wav2Vec2ForSequenceClassification" in first and "real-time factor" in first

    assert main([*argv, "stream"]) == 0  # nothing is measured again
    assert json.loads(out.read_text()) == written and "real-time factor" in capsys.readouterr().out
    assert main([*argv, "stream", "--seconds", "2"]) == 2
    assert "measured in another environment or otherwise (seconds differ)" in capsys.readouterr().err


def test_a_row_that_fails_is_said_and_measured_again(made, monkeypatch, tmp_path):
    def broken(pair, settings):
        assert isinstance(settings, Settings) and settings.folder.is_dir()
        raise RuntimeError("no\nmemory")

    monkeypatch.setitem(side_by_side.ROWS, "files-whisper", Row("files-whisper", "files", "whisper", broken, 2.0))
    wanted, out = Wanted(("files-whisper",), quick=True), tmp_path / "speed.json"
    (found,) = run_against(wanted, out)
    assert found == {"row": "files-whisper", "what": "files", "error": "RuntimeError: no memory"}
    assert run_against(wanted, out) == [found] and len(json.loads(out.read_text())["rows"]) == 1


def test_a_quick_utterance_is_the_beginning_of_a_whole_one():
    speech = Speech([Spoken(np.arange(16000, dtype=np.float32), 1)], "made")
    assert len(Settings(speech, 1.0, 2, (1.0, 2.0), few=4).similar(2)[1].samples) == 8000
    assert len(Settings(speech, 1.0, 2, (1.0, 2.0)).similar(1)[0].samples) == 16000


def test_every_row_of_the_issue_is_there():
    begin = {name.split("-")[0] for name in ROWS}
    assert begin == {"files", "same", "single", "mixed", "similar", "correction", "bfloat16", "stream"}
    assert [one.name for one in Wanted(("single", "files-whisper")).chosen()] == [
        "files-whisper", "single-whisper", "single-wav2vec2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "argv,words",
    [
        (["--quick"], "--quick acts only beside --against transformers; leave it out"),
        (["--against", "transformers", "run", "--runs", "3"], "model, --runs has no effect beside --against"),
        (["--against", "transformers", "--rows", "file"], r"rows 'file' is not one of \['bfloat16-whisper', .*begin"),
        (["--against", "transformers", "--seconds", "0"], "seconds 0.0 must be a number above 0"),
        (["--against", "transformers", "--threads", "0"], "threads 0 must be 1 or more"),
        (["--against", "transformers", "--out", "no/such/table.json"], "there is no folder .*; make it first"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(argv, words, capsys):
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and re.search(words, said.err)
