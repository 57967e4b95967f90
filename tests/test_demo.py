"""The demo from nothing to its table, the command line around it, and the one progress bar."""

import functools
import io
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import transformers
from datasets import disable_progress_bars
from helpers.made_run import TINY
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import ProgressCallback

from hf_ambiser import cli, demo
from hf_ambiser.demo import SYSTEMS, Demo, truth_table
from hf_ambiser.label_analysis.corrected import distance_from_truth
from hf_ambiser.run_folder.trajectory import trajectory_epochs
from hf_ambiser.training import callbacks
from hf_ambiser.training.callbacks import OneBar, use_one_bar


torch.set_num_threads(1)
disable_progress_bars()
FIGURES = ("prototype_similarity.png", "pseudo_label_agreement.png")


@pytest.fixture
def small(monkeypatch) -> None:
    """Three epochs of the tiniest encoder; so few clips leave D1 with fewer of a class than a build asks for."""
    monkeypatch.setattr(demo, "_SHARED", {**demo._SHARED, "num_train_epochs": 3, "encoder_fields": TINY})
    for name in ("baseline_plus", "ipr"):
        monkeypatch.setitem(SYSTEMS, name, {**SYSTEMS[name], "warmup_epochs": 1})
    monkeypatch.setattr(demo, "build", functools.partial(demo.build, min_per_class=1, progress=False))


def test_the_demo_from_nothing_to_its_table_and_again(small, tmp_path, monkeypatch):
    said: list[str] = []
    table = Demo(tmp_path / "demo", n_utterances=80, say=said.append).run()
    text = table.read_text()
    words = "\n".join(said)
    assert [part for part in ("1/4", "2/4", "3/4", "4/4") if part not in words] == []
    assert all(f"| {name} | 1 |" in text for name in SYSTEMS) and "WA % of ipr minus" in text
    assert "always the majority class" in text and "one rater against the others" in text
    distance = distance_from_truth(tmp_path / "demo" / "runs" / "ipr" / "0")
    assert f"| IPR's soft label | {distance['method']:.3f} |" in text and f"the {distance['n']} unlabelled" in text
    for name in FIGURES:
        assert (tmp_path / "demo" / "figures" / name).stat().st_size > 5000
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert shown and all((tmp_path / "demo" / name).is_file() for name in shown)
    # What the farewell names is there, and the model answers.
    for system in SYSTEMS:
        run = tmp_path / "demo" / "runs" / system / "0"
        assert (run / "model" / "config.json").is_file() and trajectory_epochs(run) == [1, 2, 3]
    data = json.loads((tmp_path / "demo" / "runs" / "supervised" / "0" / "data.json").read_text())
    assert data["revealed_splits"] == ["d2"] and data["train_splits"] == ["d1", "d2"]
    model = f"{tmp_path}/demo/runs/ipr/0/model"
    assert model in said[-1]
    answer = transformers.pipeline("audio-classification", model)(torch.randn(16000).numpy())
    assert {one["label"] for one in answer} == {"anger", "happiness", "sadness", "neutral"}
    # A second call trains nothing and says the same.
    monkeypatch.setattr("hf_ambiser.runs.run.prepare", lambda *_: pytest.fail("trained again"))
    assert Demo(tmp_path / "demo", n_utterances=80, say=said.append).run().read_text() == text
    # One of another size would show these runs as its own.
    with pytest.raises(ValueError, match="holds a demo of 80 utterances, not 90"):
        Demo(tmp_path / "demo", n_utterances=90, say=said.append).run()


def test_all_systems_share_everything_but_what_the_table_varies(tmp_path):
    runs = {name: Demo(tmp_path, seed=3).arguments(name) for name in SYSTEMS}
    ours = {"method", "system", "warmup_epochs", "train_splits", "reveal_splits", "output_dir"}
    shared = [{k: v for k, v in run.given.items() if k not in ours} for run in runs.values()]
    assert all(one == shared[0] for one in shared) and shared[0]["seed"] == 3
    assert len({run.given["output_dir"] for run in runs.values()}) == len(SYSTEMS)
    assert [name for name, run in runs.items() if run.data.reveal_splits] == ["supervised"]


def test_the_table_of_distances():
    lines = truth_table(
        {"n": 7, "votes": 0.2, "votes_smoothed": 0.15, "smoothing": 0.3, "method": 0.1, "uniform": 0.4}
    ).splitlines()
    assert "the 7 unlabelled utterances" in lines[1]
    assert [line.split("|")[2].strip() for line in lines[3:]] == ["0.200", "0.150", "0.100", "0.400"]
    assert "30% mixed with uniform" in lines[4]


@pytest.fixture
def quiet():
    """The command silences transformers for its process; tests after this one want it as it was."""
    before = transformers.logging.get_verbosity()
    yield
    transformers.logging.set_verbosity(before)
    transformers.logging.enable_progress_bar()


def test_what_the_demo_cannot_do_is_one_line(tmp_path, capsys, quiet):
    demo.simulated.generate(tmp_path / "simulated_corpus", n_utterances=2, n_speakers=20, seed=0)
    assert cli.main(["demo", "--out", str(tmp_path), "--n-utterances", "5", "--seed", "1"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("hf-ambiser: ") and str(tmp_path / "simulated_corpus") in last


def test_a_demo_too_small_to_split_is_one_line(tmp_path, capsys, quiet):
    assert cli.main(["demo", "--out", str(tmp_path), "--n-utterances", "24"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("hf-ambiser: --n-utterances 24 is too few") and "Give --n-utterances 400 or more" in last


def test_a_command_there_is_not_and_help(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["trian"])
    assert end.value.code == 2 and "demo" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0 and "report" in capsys.readouterr().out


def test_one_bar_in_the_place_of_the_trainers(tmp_path, monkeypatch):
    def trainer(**changes):
        arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", **changes)
        return Trainer(torch.nn.Linear(1, 1), arguments)

    shown, hidden = trainer(disable_tqdm=False), trainer(disable_tqdm=True)
    for one in (shown, hidden):
        use_one_bar(one)
    kinds = [type(callback) for callback in shown.callback_handler.callbacks]
    assert kinds.count(OneBar) == 1 and ProgressCallback not in kinds
    assert OneBar not in [type(callback) for callback in hidden.callback_handler.callbacks]

    stream, bar = io.StringIO(), OneBar()
    monkeypatch.setattr(callbacks, "tqdm", functools.partial(callbacks.tqdm, file=stream, mininterval=0))
    state = SimpleNamespace(is_world_process_zero=True, max_steps=10, global_step=4)
    bar.on_train_begin(None, state, None)
    assert bar.bar.n == 4 and bar.bar.total == 10  # a resumed run starts where it was
    state.global_step = 7
    bar.on_step_end(None, state, None)
    bar.on_log(None, state, None, {"loss": 1.25, "learning_rate": 0.1})
    bar.on_log(None, state, None, {"eval_ua": 0.5, "eval_kl": 3.0})
    bar.on_train_end(None, state, None)
    assert bar.bar.n == 7 and bar.shown == {"loss": "1.250", "validation UA": "0.500"}
    assert "7/10" in stream.getvalue() and "validation UA=0.500" in stream.getvalue()
    other = OneBar()  # a rank that is not the first has no bar
    other.on_train_begin(None, SimpleNamespace(is_world_process_zero=False), None)
    other.on_step_end(None, state, None)
    other.on_train_end(None, state, None)
    assert other.bar is None


@pytest.mark.slow
def test_the_whole_demo_by_its_command(tmp_path):
    command = [sys.executable, "-m", "hf_ambiser.cli", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| IPR's soft label |" in done.stdout and (tmp_path / "demo" / "results.md").is_file()
    assert all((tmp_path / "demo" / "figures" / name).is_file() for name in FIGURES)
