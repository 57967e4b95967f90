"""The command over real runs: going on after SIGKILL, refusals, dry runs, and the plans that are in the repository."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.made_run import built, fields
from helpers.shipped_plans import PLANS

from hf_ambiser.data.corpora.iemocap.published_counts import IPR_SIZES, META_TABLE_1, SLC_TABLE_2
from hf_ambiser.run_folder.attempts import Attempts
from hf_ambiser.run_folder.predictions import read_predictions
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.config_files import SHIPPED
from hf_ambiser.runs.run import run
from hf_ambiser.studies import dispatch, dry_run, study_cli
from hf_ambiser.studies.plan import SET_BY_PLAN, read_plan


pytestmark = pytest.mark.usefixtures("blank_figures")
torch.set_num_threads(1)
FORK = multiprocessing.get_context("fork")
PAPERS = sorted((SHIPPED / "papers").glob("*.yaml"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("built"), configs=("ipr-strict-kfold3-0", "ipr-strict-kfold3-1"))


@pytest.fixture(autouse=True)
def forked(monkeypatch):
    """Cells are forked from this process, which has everything imported, as the server would have."""
    monkeypatch.setattr(dispatch, "_start_server", lambda: None)
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: FORK)
    monkeypatch.setattr(FORK, "set_forkserver_preload", lambda modules: None, raising=False)
    # A process that is forked after OpenMP had threads waits for them for ever, so cells keep to one thread.
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)


def plan(folder: Path, dataset: Path, **changes) -> Path:
    shared = {k: v for k, v in fields(dataset, folder).items() if k not in SET_BY_PLAN}
    method = {name: shared.pop(name) for name in ("method", "warmup_epochs")}
    content = {
        "name": "made",
        "datasets": [{"dataset": str(dataset), "configs": ["ipr-strict-kfold3"], "folds": [1]}],
        "seeds": [0],
        "shared": shared,
        "systems": {"ipr": method, "base": {"method": "hard_vote", "num_train_epochs": 1}},
        **changes,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def command(path: Path, out: Path, *more: str) -> int:
    # Two at a time, so one thread each: with another number of threads sums differ in their last bits.
    return study_cli.main(["--plan", str(path), "--out", str(out), "--jobs", "2", *more])


@pytest.fixture
def made(tmp_path, dataset):
    return plan(tmp_path, dataset), tmp_path / "out"


def test_a_study_that_was_killed_goes_on_to_the_same_results(made, dataset, tmp_path, capsys):
    path, out = made
    cell = out / "cells" / "ipr" / "ipr-strict-kfold3-1" / "seed-0"
    runner = FORK.Process(target=command, args=(path, out))
    runner.start()
    while not list(cell.glob("checkpoint-*/complete.json")):  # in the middle of the cell
        assert runner.is_alive()
        time.sleep(0.005)
    attempts = Attempts(out / ".runner" / "ipr" / "ipr-strict-kfold3-1" / "seed-0")
    # The cell's process would end by itself, but so small a cell may be finished before it looks for its runner.
    for pid in (runner.pid, attempts.last().pid):
        os.kill(pid, signal.SIGKILL)
    runner.join()
    while attempts.is_held(attempts.last()):
        time.sleep(0.05)
    assert not (cell / "results.json").exists()

    assert command(path, out) == 0
    assert capsys.readouterr().out.startswith("2 cells finished, 0 failed")
    results = json.loads((cell / "results.json").read_text())
    assert len(attempts.all()) == 2 and results["system"] == "ipr" and results["data"]["fold"] == "1"
    assert results["data"]["split_family"] == "ipr-strict-kfold3" and results["seed"] == 0
    given = {**fields(dataset, tmp_path / "whole"), "dataset_config": "ipr-strict-kfold3-1", "seed": 0}
    whole = run(RunArguments.from_mapping(given))
    assert results["scores"] == whole["scores"]
    for name in ("model/model.safetensors", "predictions/d3.parquet"):
        assert (cell / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert yaml.safe_load((out / "plan.yaml").read_text())["systems"]["ipr"]["method"] == "ipr"

    # A finished study is only read; a cell made otherwise is a failure of its own.
    before = {p: p.stat().st_mtime_ns for p in cell.rglob("*")}
    assert command(path, out) == 0 and {p: p.stat().st_mtime_ns for p in cell.rglob("*")} == before
    capsys.readouterr()
    other = plan(tmp_path, dataset, systems={"ipr": {"method": "ipr"}, "base": {"method": "hard_vote"}})
    (out / "cells" / "base").rename(out / "cells" / "gone")
    assert command(other, out) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("1 cells finished, 1 failed")
    assert re.search(r"failed: ipr/\S+: .*other arguments \(warmup_epochs differ\)", said[1])
    assert read_predictions(cell / "predictions" / "d3.parquet")["id"].size

    elsewhere = shutil.copytree(dataset, tmp_path / "elsewhere")
    report = json.loads((elsewhere / "build_report.json").read_text())
    (elsewhere / "build_report.json").write_text(json.dumps({**report, "content": "000000000000"}))
    data = {"dataset": str(elsewhere), "configs": ["ipr-strict-kfold3"], "folds": [1]}
    rebuilt = plan(tmp_path, dataset, datasets=[data], systems={"ipr": {"method": "ipr", "warmup_epochs": 1}})
    assert command(rebuilt, out) == 1
    said = capsys.readouterr().out
    assert re.search(r"failed: ipr/\S+: .*made with other data \(content differ\)", said)


def test_checkpoints_of_finished_cells_go_when_that_is_asked_for_and_nothing_else_does(made, capsys):
    path, out = made
    assert command(path, out) == 0

    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and ".runner" not in p.parts}

    kept = {p: time for p, time in files().items() if not any(part.startswith("checkpoint-") for part in p.parts)}
    assert kept.keys() < files().keys() and list(out.rglob("checkpoint-*"))
    shutil.rmtree(out / "cells" / "base")  # one cell is finished before, the other one now
    assert command(path, out, "--drop-checkpoints") == 0
    assert "2 cells finished, 0 failed" in capsys.readouterr().out
    assert files().keys() == kept.keys() and not list(out.rglob("checkpoint-*"))
    of_the_first = {p: time for p, time in kept.items() if "ipr" in p.parts}
    assert {p: time for p, time in files().items() if p in of_the_first} == of_the_first
    assert command(path, out) == 0 and files().keys() == kept.keys()


def test_a_cell_does_not_outlive_the_run_that_it_began_with(tmp_path, dataset, capsys):
    """Its figures are of weights that do not exist any more. No cell begins with a run of another plan, either."""
    second = {"method": "soft_vote", "num_train_epochs": 1, "pretrained": "base", "encoder_fields": None}
    systems = {"base": {"method": "hard_vote", "num_train_epochs": 1}, "second": second, "third": {**second}}
    systems["third"]["pretrained"] = "second"
    out, cells = tmp_path / "out", "ipr-strict-kfold3-1/seed-0"
    assert command(plan(tmp_path, dataset, systems=systems), out) == 0
    assert command(plan(tmp_path, dataset, systems=systems), out) == 0
    capsys.readouterr()
    shutil.rmtree(out / "cells" / "second")
    systems["base"]["num_train_epochs"] = 2
    changed = plan(tmp_path, dataset, systems=systems)
    assert command(changed, out) == 1
    said = capsys.readouterr().out
    assert f"failed: base/{cells}:" in said and "holds a run with other arguments" in said
    assert f"failed: second/{cells}: it begins with the run of pretrained, base/{cells}, which cannot be used" in said
    assert "began with the run of pretrained" in said and "which is not finished. Delete" in said  # third's
    # A part of the cells that does not hold the one with which they would begin, either.
    assert command(changed, out, "--cells", "2/3") == 1
    assert f"failed: second/{cells}: it begins with the run of pretrained" in capsys.readouterr().out
    shutil.rmtree(out / "cells" / "base")
    shutil.rmtree(out / "cells" / "third")
    assert command(changed, out) == 0
    shutil.rmtree(out / "cells" / "base")
    capsys.readouterr()
    assert command(changed, out) == 1
    assert f"failed: second/{cells}:" in capsys.readouterr().out
    assert command(changed, out) == 1  # base is there again, and is another one
    said = capsys.readouterr().out
    assert f"failed: second/{cells}:" in said and "which was run again since. Delete" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": [{"dataset": "nowhere", "configs": ["loso-strict"], "build": "make it"}]},
         "nowhere does not exist.*The plan says: make it"),
        ({"datasets": [{"dataset": "nowhere", "configs": ["loso-strict"], "corpus": "iemocapp"}]},
         "no corpus 'iemocapp'"),
        ({"sead": [1]}, "unknown key 'sead' .did you mean 'seeds'"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_one_line_and_status_2(tmp_path, dataset, capsys, changes, words):
    path = plan(tmp_path, dataset, **changes)
    more = ["--dry-run"] if "corpus" in str(changes) else []
    assert command(path, tmp_path / "out", *more) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("cross_validate.py: ") and not said.out
    assert re.search(words, said.err) and not (tmp_path / "out" / "cells").exists()


def test_a_dry_run_says_what_would_be_run_and_runs_nothing(tmp_path, dataset, capsys, monkeypatch):
    systems = {
        "ipr": {"method": "ipr", "warmup_epochs": 1, "sweep": {"mu": [0.1, 0.2]}},
        "later": {"method": "coming"},
    }
    path = plan(tmp_path, dataset, systems=systems, not_yet={"method": ["coming"]}, seeds=[0, 1])
    assert command(path, tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    splits = json.loads((dataset / "build_report.json").read_text())["configs"]["ipr-strict-kfold3-1"]["splits"]
    assert "made: 4 cells" in said and "later: skipped, method coming is not there yet" in said
    assert "ipr-strict-kfold3-1: " + ", ".join(f"{name} {part['rows']}" for name, part in splits.items()) in said
    assert "ipr@mu=0.2/ipr-strict-kfold3-1/seed-1: to run" in said
    labelled = -(-splits["d1"]["rows"] // 4)
    assert re.search(rf"ipr: 4 x .*\({labelled} steps of \d+ ms, {2 * labelled} steps of \d+ ms with ambiguous", said)
    assert re.search(r"about [\d.]+ (s|min) with --jobs 2 on this machine, as busy as it is now", said)
    parts = []
    monkeypatch.setattr(dry_run, "measure", lambda cells, jobs, every: {})  # once is enough
    for i in (1, 2):
        command(path, tmp_path / "out", "--dry-run", "--cells", f"{i}/2")
        parts += re.findall(r"^  (\S+): to run$", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(parts) == sorted(re.findall(r"^  (\S+): to run$", said, flags=re.MULTILINE)) and len(parts) == 4


def test_a_built_data_set_is_held_against_the_published_sizes(tmp_path, dataset, capsys, monkeypatch):
    report = json.loads((dataset / "build_report.json").read_text())
    sizes = {"d1": 1539, "d2": 3400, "d3": 400, "validation": 171}
    splits = {name: {"rows": rows} for name, rows in sizes.items()}
    report["configs"] = {"ipr-paper": {**report["configs"]["ipr-strict-kfold3-0"], "splits": splits}}
    (tmp_path / "iemocap").mkdir()
    (tmp_path / "iemocap" / "build_report.json").write_text(json.dumps(report))
    data = {"dataset": str(tmp_path / "iemocap"), "configs": ["ipr-paper"], "corpus": "iemocap"}
    monkeypatch.setattr(dry_run, "measure", lambda cells, jobs, every: {})
    assert command(plan(tmp_path, dataset, datasets=[data]), tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "  ipr-paper: d1 1539, d2 3400, d3 400, validation 171\n    published: d2 3421\n" in said


def test_what_is_still_to_come_is_skipped_and_listed(tmp_path, dataset, capsys):
    systems = {"later": {"method": "coming"}, "net": {"method": "hard_vote", "model_family": "net"}}
    path = plan(tmp_path, dataset, systems=systems, not_yet={"method": ["coming"], "model_family": ["net"]})
    assert command(path, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert (
        "skipped: later: method coming is not there yet" in said
        and "skipped: net: model_family net is not there yet" in said
    )


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_plan_of_the_repository_can_be_read(path):
    assert read_plan(path).name


def systems_of(path: Path) -> dict[str, dict]:
    return {system.name: system.fields for system in read_plan(path).systems}


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_the_papers_plans_dry_run_without_the_corpus_on_published_sizes(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # no data/iemocap here
    assert command(path, tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "is not there; sizes by published counts" in said
    sizes = {
        config: {name: int(n) for name, n in (part.rsplit(" ", 1) for part in splits.split(", "))}
        for config, splits in re.findall(r"^  (\S+): (\w+ \d+, .*)$", said, flags=re.MULTILINE)
        if "cells" not in splits
    }
    content = yaml.safe_load(path.read_text())
    if path.stem.startswith("ipr"):
        (size,) = sizes.values()
        assert (size["d1"] + size["validation"], size["d2"], size["d3"]) == tuple(IPR_SIZES.values())
        assert said.count("seed-") == 5 * len(content["systems"])
    elif path.stem.startswith("meta"):
        assert len(sizes) == 10
        for speaker, counts in META_TABLE_1.items():
            fold = sizes[f"loso-strict-{speaker}"]
            assert fold["test"] == sum(counts) and sum(fold.values()) == 4490
    else:
        for session, (clear, ambiguous) in SLC_TABLE_2.items():
            both = [sizes[f"slc-paper-loso-{session}{sex}"] for sex in "FM"]
            assert sum(s["test_clear"] for s in both) == clear and sum(s["test_ambiguous"] for s in both) == ambiguous
            assert all(s["clear"] + s["test_clear"] == 6598 for s in both)
            assert all(s["ambiguous"] + s["test_ambiguous"] == 4449 for s in both)
    # What a run on a CPU would stop at is said beforehand.
    asks = [name for name, fields in systems_of(path).items() if fields.get("bf16")]
    assert asks or path.stem.startswith("meta")
    for name in systems_of(path):
        (line,) = re.findall(rf"^  {re.escape(name)}: \d+ cells, method .*$", said, flags=re.MULTILINE)
        assert ("needs a GPU (bf16: true; for a CPU set bf16: false and use_cpu: true)" in line) == (name in asks)
    # The paper's numbers belong to systems of the plan, or are quoted by the paper itself.
    systems = set(re.findall(r"^  ([\w@=.]+): (?:skipped|\d+ cells)", said, flags=re.MULTILINE))
    for number in content["paper"]["numbers"]:
        assert number["system"] in systems or "quoted" in number["reference"], number


@pytest.mark.parametrize("table", ["slc_table_7", "slc_table_9"])
def test_the_papers_averages_are_those_of_its_folds(table):
    paper = yaml.safe_load((SHIPPED / "papers" / f"{table}.yaml").read_text())["paper"]
    for number in paper["numbers"]:
        folds = paper["folds"][number["system"]][number["figure"]]
        assert len(folds) == 10
        # The paper cuts or rounds: 68.78 is 68.7 there.
        assert abs(np.mean(folds) - number["value"]) < 0.1, number


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_no_cell_at_a_time_is_refused_by_a_study_and_its_dry_run(dry, made, capsys):
    path, out = made
    assert command(path, out, "--jobs", "0", *dry) == 2
    assert "--jobs 0 must be 1 or more" in capsys.readouterr().err
