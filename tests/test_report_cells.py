"""What a report finds below a folder, what it groups, and what it refuses to average."""

import json
import shutil

import pytest
import yaml
from helpers.made_report import made_cell, made_clips, made_study

from hf_ambiser.metrics.display import COLUMNS, QUOTED
from hf_ambiser.report.groups import find, group
from hf_ambiser.report.planned import read_planned
from hf_ambiser.report.protocols import pairs
from hf_ambiser.report.results import check_splits
from hf_ambiser.report.sweeps import find_sweeps
from hf_ambiser.report.write import write_report
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.runs.config_files import SHIPPED
from hf_ambiser.studies.plan import read_plan


PAPERS = SHIPPED / "papers"


def groups(folder, order=()):
    return group(find(folder)[0], order)


def test_identity_is_read_from_results_and_never_from_folder_names(tmp_path):
    made_cell(tmp_path / "x" / "y", "ipr", seed=7, fold="2", family="ipr-strict-kfold5")
    made_cell(tmp_path / "deep" / "er" / "ipr" / "0", "baseline", seed=1, fold="10", family="ipr-strict-kfold5")
    (one,) = groups(tmp_path)
    assert {name: [(c.seed, c.fold) for c in cells] for name, cells in one.systems.items()} == {
        "baseline": [(1, "10")],
        "ipr": [(7, "2")],
    }
    assert one.folds == ["2", "10"] and one.family == "ipr-strict-kfold5"
    assert groups(tmp_path / "x" / "y")[0].first.seed == 7  # a single run


def test_what_is_no_run_is_not_taken_for_one(tmp_path):
    run = made_cell(tmp_path / "ipr", "ipr")
    for inside in ("checkpoint-10", "model", "nested"):
        made_cell(run / inside, "ipr", seed=5)
    made_cell(tmp_path / "checkpoint-3" / "ipr", "ipr", seed=6)
    made_cell(tmp_path / "report" / "ipr", "ipr", seed=8)
    begun = tmp_path / "begun" / "seed-3"
    begun.mkdir(parents=True)
    (begun / "arguments.yaml").write_text("method: ipr\n")
    cells, unfinished = find(tmp_path)
    assert [cell.folder for cell in cells] == [run] and unfinished == [begun]
    with pytest.raises(ValueError, match=r"holds no finished run \(1 begun\)"):
        find(tmp_path / "begun")
    with pytest.raises(ValueError, match="there is no folder"):
        find(tmp_path / "nothing")


@pytest.mark.parametrize(
    "text,words", [("{", "does not hold the results"), ("[]", "does not hold the results"), ("{}", "lacks system")]
)
def test_results_that_cannot_be_used_are_one_line(tmp_path, text, words):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        FinishedRun.read(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_results_of_an_older_version_are_named(tmp_path):
    path = made_cell(tmp_path / "old") / "results.json"
    results = json.loads(path.read_text())
    del results["system"], results["data"]["fold"]
    path.write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"lacks system, data.fold: an older version"):
        find(tmp_path)


@pytest.mark.parametrize("mark", ["content", "policy_fingerprint"])
def test_a_cell_from_another_fingerprint_is_one_line_that_names_it(tmp_path, mark):
    for seed in range(3):
        made_cell(tmp_path / str(seed), "ipr", seed)
    odd = made_cell(tmp_path / "odd", "ipr", 3, **{mark: "dead"})
    with pytest.raises(ValueError, match="1 of 4 runs .* other data .*dead.* never averaged") as error:
        groups(tmp_path)
    assert str(odd) in str(error.value) and "\n" not in str(error.value)


def test_a_fold_that_was_split_anew_is_one_line_that_names_it(tmp_path):
    made_study(tmp_path, {"ipr": 1.0, "base": 0.5})
    odd = made_cell(tmp_path / "odd", "ipr", 9, "1", "ipr-strict-kfold3", split_fingerprint="other")
    with pytest.raises(ValueError, match="other splits") as error:
        groups(tmp_path)
    assert str(odd) in str(error.value)


def test_one_cell_twice_is_refused_by_name(tmp_path):
    first, second = made_cell(tmp_path / "a", "ipr", 1), made_cell(tmp_path / "b", "ipr", 1)
    with pytest.raises(ValueError, match="are the same cell .*seed 1") as error:
        groups(tmp_path)
    assert str(first) in str(error.value) and str(second) in str(error.value)


def test_other_data_sets_and_families_are_groups_of_their_own_with_names_of_their_own(tmp_path):
    made_cell(tmp_path / "a", "ipr", 0)
    made_cell(tmp_path / "b", "ipr", 0, content="beef", policy_fingerprint="cd34", arguments={"dataset": "data/other"})
    made_cell(tmp_path / "c", "ipr", 0, family="slc-strict")
    made_cell(tmp_path / "d", "ipr", 0, corpus="other")
    names = [one.name for one in groups(tmp_path)]
    assert names == [
        "made, ipr-strict, made-4, ab12",
        "made, ipr-strict, made-4, cd34",
        "made, slc-strict",
        "other, ipr-strict",
    ]
    assert all(len(one.runs) == 1 for one in groups(tmp_path))


def test_systems_stand_in_the_plans_order(tmp_path):
    made_study(tmp_path, {"b@mu=10": 1.0, "b@mu=2": 1.0, "a": 1.0, "b@mu=0.5": 1.0}, folds=1, seeds=1)
    assert list(groups(tmp_path)[0].systems) == ["a", "b@mu=0.5", "b@mu=2", "b@mu=10"]
    assert list(groups(tmp_path, ["b@mu=10", "a"])[0].systems) == ["b@mu=10", "a", "b@mu=0.5", "b@mu=2"]


def test_protocols_are_paired_and_nothing_else(tmp_path):
    for family in ("ipr-strict-kfold3", "ipr-paper-kfold3", "slc-paper", "ipr-strict"):
        made_cell(tmp_path / family, "ipr", 0, None, family)
    found = pairs(groups(tmp_path))
    assert [(a.family, b.family) for a, b in found] == [("ipr-paper-kfold3", "ipr-strict-kfold3")]


def test_splits_that_are_not_there_are_named(tmp_path):
    made_study(tmp_path, {"ipr": 1.0})
    found = groups(tmp_path)
    assert check_splits(found, None)[found[0].key] == ["d3", "test_clear"]
    assert check_splits(found, ["d3"])[found[0].key] == ["d3"]
    with pytest.raises(ValueError, match=r"no run was scored on d8; there are the splits \['d3', 'test_clear'\]"):
        check_splits(found, ["d8"])
    clips = {"d3": made_clips(fold="9")}
    odd = made_cell(tmp_path / "odd", "ipr", 0, "9", "ipr-strict-kfold3", clips=clips)
    with pytest.raises(ValueError, match="was not scored on test_clear") as error:
        check_splits(groups(tmp_path), None)
    assert str(odd) in str(error.value)


PLAN = {
    "name": "study",
    "datasets": [{"dataset": "elsewhere/made", "configs": ["ipr-strict-kfold3"], "folds": "all"}],
    "seeds": [0, 1],
    "systems": {"ipr": {"method": "ipr"}, "base": {"method": "hard_vote"}},
    "not_there_yet": {"slc": "method slc is not there yet"},
    "paper": {
        "reference": "Someone, Table 1",
        "numbers": [{"system": "ipr", "figure": "wa", "value": 70.75, "split": "d3", "sd": 1.5}],
    },
}


def test_cells_that_a_plan_asks_for_and_that_are_missing(tmp_path):
    made_study(tmp_path, {"ipr": 1.0, "base": 0.5})
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    planned = read_planned(tmp_path, find(tmp_path)[0])
    assert (planned.n_cells, planned.missing, planned.systems) == (12, [], ["ipr", "base"])
    shutil.rmtree(tmp_path / "cells" / "base" / "ipr-strict-kfold3-2")
    planned = read_planned(tmp_path, find(tmp_path)[0])
    assert sorted(planned.missing) == [f"base, ipr-strict-kfold3-2, seed {seed}" for seed in (0, 1)]
    assert planned.not_there_yet == {"slc": "method slc is not there yet"}
    (quoted,) = planned.quoted
    assert (quoted.reference, quoted.value, quoted.split, quoted.sd) == ("Someone, Table 1", 70.75, "d3", 1.5)
    assert read_planned(tmp_path / "cells", []) is None


def test_runs_that_the_plan_of_their_folder_does_not_have(tmp_path):
    made_study(tmp_path, {"ipr": 1.0, "base": 0.5})
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**PLAN, "systems": {"ipr": {"method": "ipr"}}, "seeds": [0]}))
    planned = read_planned(tmp_path, find(tmp_path)[0])
    cells = [f"ipr-strict-kfold3-{fold}, seed {seed}" for fold in range(3) for seed in (0, 1)]
    beyond = sorted([f"base, {cell}" for cell in cells] + [f"ipr, {cell}" for cell in cells if cell.endswith("1")])
    assert (planned.n_cells, planned.missing, planned.beyond) == (3, [], beyond)
    text = write_report(tmp_path, html=False, progress=False)
    assert f"**Not in the plan, but in the tables (9):** {beyond[0]}; {beyond[1]}" in text


@pytest.mark.parametrize(
    "config,folds,expected",
    [
        ("ipr-strict-kfold3", [0], ["0"]),
        ("ipr-strict-kfold3-1", "all", ["1"]),
        ("ipr-strict", "all", [None]),
        ("loso-strict", "all", ["a", "b"]),
    ],
)
def test_the_folds_that_a_config_of_a_plan_stands_for(tmp_path, config, folds, expected):
    for fold in ("a", "b"):
        made_cell(tmp_path / fold, "x", 0, fold, "loso-strict")
    data = [{"dataset": "data/made", "configs": [config], "folds": folds}]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**PLAN, "datasets": data, "seeds": [5], "systems": {"y": {}}}))
    planned = read_planned(tmp_path, find(tmp_path)[0])
    assert planned.n_cells == len(planned.missing) == len(expected)
    assert all(fold is None or f"-{fold}," in line for fold, line in zip(expected, planned.missing, strict=True))


@pytest.mark.parametrize(
    "text", ["[", "datasets: 3", "{}", "systems: {a: {}}\ndatasets: [{dataset: x, configs: [nonsense]}]"]
)
def test_a_plan_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ValueError, match="is not a plan that the runner wrote") as error:
        read_planned(tmp_path, [])
    assert "\n" not in str(error.value)


def test_a_sweep_is_systems_that_differ_in_one_number(tmp_path):
    def add(name, **arguments):
        made_cell(tmp_path / name, name, 0, arguments=arguments)

    for mu in (0.1, 0.3, 0.2):
        add(f"mu{mu}", method="ipr", mu=mu, model_fields={"size": 4}, use_cpu=True)
    for size in (8, 16):
        add(f"size{size}", method="ipr", mu=0.1, model_fields={"size": size}, use_cpu=True)
    add("other", method="hard_vote", mu=0.4, use_cpu=True)
    sweeps = find_sweeps(groups(tmp_path)[0])
    assert [(sweep.field, sweep.points) for sweep in sweeps] == [
        ("model_fields.size", [(4.0, "mu0.1"), (8.0, "size8"), (16.0, "size16")]),
        ("mu", [(0.1, "mu0.1"), (0.2, "mu0.2"), (0.3, "mu0.3")]),
    ]


@pytest.mark.parametrize("path", sorted(PAPERS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_papers_plan_can_be_read_once_the_runner_wrote_it(tmp_path, path):
    plan = read_plan(path).resolved()
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    planned = read_planned(tmp_path, [])
    assert [q.value for q in planned.quoted] == [number["value"] for number in plan["paper"]["numbers"]] != []
    assert all(q.reference and q.figure in {**COLUMNS, **QUOTED} for q in planned.quoted)
    assert planned.systems == list(plan["systems"]) and planned.not_there_yet == plan["not_there_yet"]
    assert len(planned.missing) == planned.n_cells and (planned.n_cells or planned.note or not planned.systems)
