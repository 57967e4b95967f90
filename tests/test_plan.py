"""Plan files: what they say, how they become cells, and the one line that each mistake gets."""

from pathlib import Path

import pytest
import yaml

from hf_ambiser.studies.cells import choose, expand
from hf_ambiser.studies.plan import PlanError, PlannedData, read_plan


PLAN = {
    "name": "made",
    "datasets": [{"dataset": "data/made", "configs": ["ipr-strict-kfold3"]}],
    "seeds": [0, 1],
    "shared": {"num_train_epochs": 3},
    "systems": {"baseline": {"config": "base.yaml"}, "ipr": {"method": "ipr", "mu": 0.3}},
}
BASE = "method: hard_vote\nseed: 7\noutput_dir: runs/x\ndataset: elsewhere\nlearning_rate: 1e-3\nnum_train_epochs: 9\n"


def write(folder: Path, **changes) -> Path:
    (folder / "base.yaml").write_text(BASE)
    plan = {name: value for name, value in {**PLAN, **changes}.items() if value is not ...}
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    return folder / "plan.yaml"


def test_config_files_are_overridden_by_what_is_shared_and_that_by_the_systems_own_fields(tmp_path):
    systems = {
        "a": {"config": "base.yaml"},
        "b": {"config": "base.yaml", "num_train_epochs": 1, "method": "soft_vote"},
    }
    a, b = read_plan(write(tmp_path, systems=systems)).systems
    assert a.fields == {"method": "hard_vote", "learning_rate": "1e-3", "num_train_epochs": 3}
    assert b.fields == {"method": "soft_vote", "learning_rate": "1e-3", "num_train_epochs": 1}


def test_cells_are_seed_by_seed_and_know_all_of_their_run(tmp_path):
    plan = read_plan(write(tmp_path))
    cells = expand(plan, [["ipr-strict-kfold3-0", "ipr-strict-kfold3-1"]], Path("out"))
    assert [cell.key for cell in cells[:5]] == [
        "baseline/ipr-strict-kfold3-0/seed-0", "ipr/ipr-strict-kfold3-0/seed-0", "baseline/ipr-strict-kfold3-1/seed-0",
        "ipr/ipr-strict-kfold3-1/seed-0", "baseline/ipr-strict-kfold3-0/seed-1",
    ]  # fmt: skip
    assert len(cells) == 8 and cells[1].folder == Path("out/cells/ipr/ipr-strict-kfold3-0/seed-0")
    assert cells[1].fields == {
        "method": "ipr", "mu": 0.3, "num_train_epochs": 3, "system": "ipr", "dataset": "data/made",
        "dataset_config": "ipr-strict-kfold3-0", "seed": 0, "output_dir": str(cells[1].folder), "disable_tqdm": True,
    }  # fmt: skip


def test_a_sweep_becomes_a_system_a_point(tmp_path):
    systems = {
        "grid": {"method": "ipr", "sweep": {"mu": [0.1, 0.2], "contrastive": ["instance"]}},
        "one": {"method": "ipr", "sweep": [{"mu": [0, 1]}, {"gamma": [0.9]}]},
    }
    plan = read_plan(write(tmp_path, systems=systems))
    assert [system.name for system in plan.systems] == [
        "grid@mu=0.1,contrastive=instance", "grid@mu=0.2,contrastive=instance", "one@mu=0", "one@mu=1",
        "one@gamma=0.9",
    ]  # fmt: skip
    assert plan.systems[1].swept == {"mu": 0.2, "contrastive": "instance"} and plan.systems[4].fields["gamma"] == 0.9
    assert plan.resolved()["systems"]["one@mu=0"]["swept"] == {"mu": 0}


def test_the_resolved_plan_is_a_whole_one(tmp_path):
    plan = read_plan(
        write(tmp_path, not_yet={"method": ["coming"]}, systems={**PLAN["systems"], "s": {"method": "coming"}})
    )
    content = yaml.safe_load(yaml.safe_dump(plan.resolved()))
    assert content["systems"]["baseline"]["method"] == "hard_vote" and content["seeds"] == [0, 1]
    assert content["not_there_yet"] == {"s": "method coming is not there yet"} and "s" not in content["systems"]
    assert {cell.system for cell in expand(plan, [["ipr-strict-kfold3-0"]], tmp_path)} == {"baseline", "ipr"}


def test_a_system_that_begins_with_anothers_network_comes_after_its_cell_of_the_same_fold_and_seed(tmp_path):
    systems = {"begun": {"method": "soft_vote", "pretrained": "whole"}, "whole": {"method": "meta"}}
    systems["given"] = {"method": "meta", "pretrained": "runs/some/run"}
    plan = read_plan(write(tmp_path, systems=systems, seeds=[3], shared={}))
    found = {cell.key: cell.after for cell in expand(plan, [["ipr-strict-kfold3-0", "ipr-strict-kfold3-1"]], tmp_path)}
    for fold in ("ipr-strict-kfold3-0", "ipr-strict-kfold3-1"):
        assert found[f"begun/{fold}/seed-3"] == (("pretrained", f"whole/{fold}/seed-3"),)
        assert found[f"whole/{fold}/seed-3"] == found[f"given/{fold}/seed-3"] == ()


@pytest.mark.parametrize(
    ("systems", "said"),
    [
        ({"a": {"pretrained": "a"}}, "system 'a' would begin with what it has learnt itself, over a"),
        (
            {"a": {"pretrained": "b"}, "b": {"pretrained": "a"}},
            "begin with what it has learnt itself, over a, b",
        ),
        (
            {"first": {}, "b": {"pretrained": "frist"}},
            r"pretrained='frist' is no system of this plan.*'first'",
        ),
        (
            {"first": {"sweep": {"learning_rate": [1e-3, 1e-2]}}, "b": {"pretrained": "first"}},
            "pretrained='first' is no system of this plan.*The systems are first@learning_rate=0.001, ",
        ),
    ],
)
def test_a_system_that_could_never_begin_is_refused(tmp_path, systems, said):
    plan = read_plan(write(tmp_path, systems=systems, seeds=[0], shared={"method": "soft_vote"}))
    with pytest.raises(PlanError, match=said):
        expand(plan, [["ipr-strict-kfold3-0"]], tmp_path)


def test_a_folder_that_a_variable_names_is_no_system(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("MY_MODEL", str(tmp_path / "model"))
    systems = {"begun": {"method": "soft_vote", "pretrained": "$MY_MODEL"}}
    plan = read_plan(write(tmp_path, systems=systems, seeds=[0], shared={}))
    assert len(expand(plan, [["ipr-strict-kfold3-0"]], tmp_path)) == 1


def test_what_begins_with_a_system_that_is_not_there_yet_is_not_there_yet(tmp_path):
    systems = {
        "third": {"method": "soft_vote", "pretrained": "second"},
        "second": {"method": "soft_vote", "pretrained": "first"},
        "first": {"method": "coming"},
        "other": {"method": "soft_vote"},
    }
    plan = read_plan(write(tmp_path, not_yet={"method": ["coming"]}, systems=systems, seeds=[0], shared={}))
    missing = {system.name: system.missing for system in plan.systems}
    assert missing["third"] == "it begins with second, which is not there yet" and missing["other"] == ""
    assert [cell.system for cell in expand(plan, [["ipr-strict-kfold3-0"]], tmp_path)] == ["other"]


def test_a_system_has_seeds_of_its_own(tmp_path):
    systems = {"cheap": {"method": "hard_vote"}, "costly": {"method": "soft_vote", "seeds": [1]}}
    plan = read_plan(write(tmp_path, systems=systems, seeds=[0, 2], shared={}))
    cells = expand(plan, [["ipr-strict-kfold3-0"]], tmp_path)
    assert [(cell.system, cell.seed) for cell in cells] == [("cheap", 0), ("cheap", 2), ("costly", 1)]
    systems["begun"] = {"method": "meta", "pretrained": "costly"}
    plan = read_plan(write(tmp_path, systems=systems, seeds=[0, 2], shared={}))
    with pytest.raises(PlanError, match=r"'begun': pretrained='costly' has no run with seed 0, only with \[1\]"):
        expand(plan, [["ipr-strict-kfold3-0"]], tmp_path)
    systems = {"costly": {"method": "soft_vote", "seeds": []}}
    with pytest.raises(PlanError, match=r"system 'costly': seeds=\[\] must be a list of whole numbers"):
        read_plan(write(tmp_path, systems=systems, shared={}))


def test_families_and_folds_are_chosen_from_what_was_built():
    there = ["ipr-strict", "ipr-strict-kfold3-0", "ipr-strict-kfold3-1", "ipr-strict-kfold3-2", "loso-paper-a-b"]

    def chosen(*configs, folds=None):
        return choose(PlannedData("d", configs, folds), there, "it")

    assert chosen("ipr-strict-kfold3") == there[1:4] and chosen("ipr-strict") == there[:1]
    assert chosen("ipr-strict-kfold3", "ipr-strict-kfold3-1") == there[1:4]
    assert chosen("ipr-strict-kfold3", folds=("0", "2")) == [there[1], there[3]]
    assert chosen("loso-paper", folds=("a-b",)) == there[4:]
    assert chosen("ipr-strict-kfold3-0", "ipr-strict-kfold3-1", folds=("0", "1")) == there[1:3]
    for configs, folds, words in (
        (("ipr-strict-kfold5",), None, r"no config 'ipr-strict-kfold5' \(did you mean 'ipr-strict-kfold3'\?\)"),
        (("ipr-strikt",), None, "'ipr-strikt' is not one of"),
        (("ipr-strict-kfold3",), ("3",), r"no fold '3'; choose from \['0', '1', '2'\]"),
        # A fold of one config is no fold of another: none of them is left out.
        (("ipr-strict-kfold3", "ipr-strict"), ("0",), "config 'ipr-strict': it has no folds.*an entry of its own"),
        (("loso-paper", "ipr-strict-kfold3"), ("a-b",), "config 'ipr-strict-kfold3': there is no fold 'a-b'"),
    ):
        with pytest.raises(PlanError, match=words):
            choose(PlannedData("d", configs, folds), there, "it")


def test_two_data_sets_with_splits_of_one_name_need_names(tmp_path):
    two = [{"dataset": "a", "configs": ["ipr-strict"]}, {"dataset": "b", "configs": ["ipr-strict"]}]
    with pytest.raises(PlanError, match="would share the folder .*give each data set of the plan its own `name`"):
        expand(read_plan(write(tmp_path, datasets=two)), [["ipr-strict"]] * 2, tmp_path)
    named = [{**one, "name": one["dataset"]} for one in two]
    cells = expand(read_plan(write(tmp_path, datasets=named)), [["ipr-strict"]] * 2, tmp_path)
    assert cells[0].key == "a/baseline/ipr-strict/seed-0" and len({cell.folder for cell in cells}) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sedes": [1]}, r"unknown key 'sedes' \(did you mean 'seeds'\?\); allowed are"),
        ({"datasets": ...}, "`datasets` is missing"),
        ({"datasets": [{"configs": ["ipr-strict"]}]}, "datasets, entry 1: `dataset` is missing"),
        ({"datasets": [{"dataset": "a", "config": "b"}]}, r"unknown key 'config' \(did you mean 'configs'\?\)"),
        ({"datasets": [{"dataset": "a", "configs": ["b"], "folds": 3}]}, "folds=3 must be all, or a list"),
        ({"systems": ...}, "`systems` is missing"),
        ({"systems": {"a": {"config": "bas.yaml"}}}, r"no config file .*bas.yaml; below .* are \['base.yaml'"),
        ({"shared": {"config": "base.yaml"}}, r"shared: .config. is given for each system"),
        ({"systems": {"a": {"confg": "base.yaml"}}}, r"system 'a': unknown key 'confg' \(did you mean 'config'\?\)"),
        ({"systems": {"a": {"method": "irp"}}}, r"no method 'irp' \(did you mean 'ipr'\?\).*not_yet"),
        ({"systems": {"a": {"mu": 1.0}}}, "system 'a': a run needs a method"),
        ({"systems": {"a": {"method": "ipr", "gama": 1.0}}}, r"unknown field\(s\) \['gama'\] \(did you mean 'gamma'"),
        ({"systems": {"a": {"method": "ipr", "mu": "much"}}}, "system 'a': mu='much' is of type str"),
        ({"systems": {"a": {"method": "ipr", "seed": 1}}}, "'seed' is decided by the plan"),
        ({"systems": {"a": {"method": "ipr", "sweep": {"mu": 1}}}}, "sweep of 'mu' must be a list of values, not 1"),
        ({"systems": {"a": {"method": "ipr", "sweep": {"mu": [[1]]}}}}, "sweep over plain values"),
        ({"systems": {"a": {"method": "ipr", "sweep": {"mu": [1, "1"]}}}}, "two systems have the name 'a@mu=1'"),
        ({"systems": {"a": {"method": "ipr", "push_to_hub": True}}}, r"system 'a': a study is not pushed"),
        ({"systems": {"a/b": {"method": "ipr"}}}, "'a/b' names a folder too; use letters"),
        ({"systems": ["ipr"]}, r"systems must be a mapping .*not \['ipr'\]"),
        ({"shared": {"output_dir": "x"}}, "shared: 'output_dir' is decided by the plan"),
        ({"seeds": 3}, "seeds=3 must be a list of whole numbers"),
        ({"seeds": [1, 1]}, "names a seed twice"),
        ({"not_yet": {"methods": ["coming"]}}, r"not_yet: unknown key 'methods' \(did you mean 'method'\?\)"),
        ({"paper": {"numbers": [{"system": "a", "figure": "wa"}]}}, "paper, number 1: 'value' is missing"),
        ({"paper": {"numbers": [{"system": "a", "figur": "wa", "value": 1}]}}, "did you mean 'figure'"),
    ],
)
def test_every_mistake_gets_one_line_that_names_it(tmp_path, changes, words):
    path = write(tmp_path, **changes)
    with pytest.raises(PlanError, match=words) as error:
        read_plan(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_two_systems_of_one_name_are_seen_though_yaml_would_keep_the_last(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text() + "  ipr: {method: ipr}\n")
    with pytest.raises(PlanError, match="'ipr' is given twice"):
        read_plan(path)
