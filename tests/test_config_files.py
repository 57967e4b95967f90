"""Configs and plans by path and by name, and the command that lists them."""

import re

import pytest
import yaml

from hf_ambiser.runs.config_files import SHIPPED, available_configs, find_config, main, read_config
from hf_ambiser.studies.plan import read_plan


def test_a_name_is_a_shipped_file_wherever_the_command_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("crema_d/ipr") == SHIPPED / "crema_d" / "ipr.yaml"
    assert read_config("crema_d/ipr")["method"] == "ipr"
    assert [find_config(name).is_file() for name in available_configs()] == [True] * len(available_configs())
    plan = read_plan("crema_d/study")
    # Its configs are found beside it.
    assert plan.name == "crema_d_study" and {"baseline", "supervised", "ipr"} <= {
        system.name for system in plan.systems
    }


def test_a_file_of_ones_own_comes_first_and_a_plan_looks_beside_itself_before_it_takes_a_name(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    own = tmp_path / "mine" / "ipr.yaml"
    own.write_text("method: hard_vote\n")
    assert find_config(own) == find_config("ipr.yaml", tmp_path / "mine") == own
    monkeypatch.chdir(tmp_path)
    assert read_config("mine/ipr.yaml") == {"method": "hard_vote"}
    plan = {
        "datasets": [{"dataset": "data/x", "configs": ["ipr-strict"]}],
        "systems": {"own": {"config": "ipr.yaml"}, "shipped": {"config": "crema_d/ipr"}},
    }
    (tmp_path / "mine" / "plan.yaml").write_text(yaml.safe_dump(plan))
    found = {system.name: system.fields["method"] for system in read_plan("mine/plan.yaml").systems}
    assert found == {"own": "hard_vote", "shipped": "ipr"}


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("crema_d/irp", "'crema_d/ipr'"),
        ("ipr", "'crema_d/ipr' or 'iemocap/ipr'"),
        ("crema_d/ipr.yaml", "'crema_d/ipr'"),
        ("train_scripts/configs/simulated/slc.yaml", "'simulated/slc'"),
        ("papers/meta_tabel_2", "'papers/meta_table_2' or 'papers/ipr_table_2'"),
    ],
)
def test_a_wrong_name_is_told_the_near_ones_in_one_line(given, near, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([given]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"hf-ambiser configs: there is no config file {given}") and error.count("\n") == 1
    assert f"(did you mean {near}?)" in error and "`hf-ambiser configs`" in error


def test_the_name_of_a_method_is_told_the_configs_of_that_method(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["crema_d/hard_vote"]) == 2
    assert "(of method 'hard_vote' are 'crema_d/baseline', 'crema_d/supervised')" in capsys.readouterr().err


def test_the_list_has_a_line_about_every_file_and_tells_plans_from_configs(capsys):
    assert main([]) == 0
    configs, plans = capsys.readouterr().out.split("\n\n")
    rows = re.findall(r"^  (\S+) +(.+)$", f"{configs}\n{plans}", re.MULTILINE)
    assert sorted(name for name, _ in rows) == available_configs()
    assert [name for name, about in rows if not about.endswith((".", "?"))] == []
    # A plan has systems, a config the method of one run.
    for part, key in ((configs, "method"), (plans, "systems")):
        assert all(key in read_config(name) for name in re.findall(r"^  (\S+)", part, re.MULTILINE))
