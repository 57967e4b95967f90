"""OUT/plan.yaml by the class that writes and reads it: the same plan again, its cells, and no torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.made_report import made_cell

from hf_ambiser.data.splits import SplitError, known_folds
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.studies.cells import choose, expand
from hf_ambiser.studies.plan import read_plan
from hf_ambiser.studies.plan_file import CellIdentity, PlanFile


PLAN = {
    "name": "study",
    "datasets": [{"dataset": "data/made", "configs": ["ipr-strict-kfold3", "slc-paper-loso"]}],
    "seeds": [0, 1],
    "shared": {"method": "hard_vote"},
    "systems": {"a": {}, "b": {"learning_rate": 0.1}, "c": {"seeds": [1, 2]}},
    "paper": {"reference": "Table 1", "numbers": [{"system": "a", "figure": "wa", "value": 70, "sd": 1.5}]},
}
THERE = ["ipr-strict-kfold3-0", "ipr-strict-kfold3-1", "ipr-strict-kfold3-2", "slc-paper-loso-x", "slc-paper-loso-y"]


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(PLAN))
    return read_plan(path)


def test_what_was_written_is_read(plan, tmp_path):
    file = PlanFile(tmp_path / "out")
    assert file.read() is None
    file.write(plan.resolved())
    assert file.path == tmp_path / "out" / "plan.yaml" and yaml.safe_load(file.path.read_text()) == plan.resolved()
    read = file.read()
    assert read.systems == ("a", "b", "c") and read.seeds == (0, 1) and read.not_there_yet == {}
    assert read.own_seeds == {"c": (1, 2)}
    assert [(one.dataset, one.config, one.folds) for one in read.configs] == [
        ("data/made", "ipr-strict-kfold3", None), ("data/made", "slc-paper-loso", None)
    ]  # fmt: skip
    (quoted,) = read.quoted
    assert (quoted.system, quoted.value, quoted.sd, quoted.reference) == ("a", 70, 1.5, "Table 1")
    assert not list(tmp_path.rglob("*.part"))


def test_the_folder_of_another_study_is_said_and_a_plan_may_grow(plan, tmp_path, caplog):
    file = PlanFile(tmp_path / "out")
    file.write(plan.resolved())
    file.write({**plan.resolved(), "seeds": [0, 1, 2]})
    assert file.read().seeds == (0, 1, 2)
    assert caplog.text == ""
    file.write({**plan.resolved(), "name": "other"})  # plans of one paper share a folder
    assert "holds the study 'study', too; its plan.yaml is replaced by that of 'other'" in caplog.text
    file.path.write_text("[1, 2")  # a spoilt file is written anew
    file.write(plan.resolved())
    assert yaml.safe_load(file.path.read_text())["name"] == "study"


def test_its_cells_are_those_that_the_runner_runs(plan, tmp_path):
    """The runner asks the data set for the folds; a report, without it, asks names and runs."""
    file = PlanFile(tmp_path / "out")
    file.write(plan.resolved())
    run = expand(plan, [choose(plan.datasets[0], THERE, "it")], tmp_path / "out")
    runs = [CellIdentity("other", "z", "slc-paper-loso", fold, 9) for fold in ("y", "x")]
    cells, unknown = file.read().cells(runs)
    assert unknown == [] and len(set(cells)) == len(cells) == 3 * 2 * 5
    assert {(c.system, c.config, c.seed) for c in cells} == {(c.system, c.dataset_config, c.seed) for c in run}
    cells, unknown = file.read().cells([])
    assert unknown == ["slc-paper-loso"] and {c.family for c in cells} == {"ipr-strict-kfold3"}


def test_a_finished_run_belongs_to_its_cell_wherever_the_data_set_lies_now(tmp_path):
    run = FinishedRun.read(
        made_cell(tmp_path / "r", "a", 1, "2", "ipr-strict-kfold3", arguments={"dataset": "/moved/made"})
    )
    assert CellIdentity.of(run) == CellIdentity("made", "a", "ipr-strict-kfold3", "2", 1)
    assert CellIdentity.of(run).config == "ipr-strict-kfold3-2"


@pytest.mark.parametrize(
    "config,folds",
    [
        ("ipr-strict", []), ("ipr-strict-kfold3", ["0", "1", "2"]), ("kfold2-paper", ["0", "1"]),
        ("slc-paper-kfold12-7", ["7"]), ("loso-strict", None), ("ipr-paper-logo", None),
    ],
)  # fmt: skip
def test_the_folds_that_a_name_tells(config, folds):
    assert known_folds(config) == folds


def test_a_name_of_no_split_has_no_folds():
    with pytest.raises(SplitError, match="is not one of"):
        known_folds("ipr-kfold5")


def test_reading_a_plan_needs_neither_torch_nor_transformers():
    code = (
        "import sys, hf_ambiser.studies.plan_file, hf_ambiser.report.planned;"
        "print([name for name in ('torch', 'transformers', 'datasets', 'matplotlib') if name in sys.modules])"
    )
    root = Path(__file__).parent.parent
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
