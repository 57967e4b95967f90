"""A dry run does once for a system what is the same for all of its cells."""

import time

import pytest
import yaml
from helpers.made_run import built, fields
from helpers.suite_methods import make_trainer

from hf_ambiser.runs import run as run_module
from hf_ambiser.studies import plan as plan_module
from hf_ambiser.studies import step_time
from hf_ambiser.studies.cells import chosen_configs, expand
from hf_ambiser.studies.dry_run import describe
from hf_ambiser.studies.plan import read_plan
from hf_ambiser.training.weight_average import WeightAverage


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return built(tmp_path_factory.mktemp("data"))


def planned(folder, dataset, systems: dict, seeds: int):
    own = fields(
        dataset, folder, method="hard_vote", num_train_epochs=1, warmup_epochs=..., dataset=..., output_dir=...
    )
    shared = {name: value for name, value in own.items() if name not in ("dataset", "output_dir", "disable_tqdm")}
    plan = {
        "name": "big", "datasets": [{"dataset": str(dataset), "configs": ["ipr-strict"]}],
        "seeds": list(range(seeds)), "systems": {name: {**shared, **more} for name, more in systems.items()},
    }  # fmt: skip
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    return folder / "plan.yaml"


def counted(monkeypatch, module, name: str) -> list:
    calls, real = [], getattr(module, name)

    def call(*args, **more):
        calls.append(name)
        return real(*args, **more)

    monkeypatch.setattr(module, name, call)
    return calls


def test_2000_cells_build_a_model_and_check_arguments_once_for_each_system(tmp_path, dataset, monkeypatch):
    systems = {f"s{i}": {"learning_rate": 1e-3 * (i + 1)} for i in range(19)}
    systems["wide"] = {"per_device_train_batch_size": 2}
    path = planned(tmp_path, dataset, systems, seeds=100)
    models = counted(monkeypatch, run_module, "build_model")
    checks = counted(monkeypatch, plan_module, "given_fields")
    begun = time.monotonic()
    said = describe(read_plan(path), tmp_path / "out", None, 1)
    seconds = time.monotonic() - begun
    assert said.startswith("big: 2000 cells")
    # The nineteen differ in a field that costs no time.
    assert len(models) == 2 and len(checks) == 20
    assert said.count("100 x ") == 20
    assert seconds < 20, seconds


def test_a_system_that_begins_with_another_is_measured_with_its_architecture(tmp_path, dataset, monkeypatch):
    plain = {"encoder_fields": None, "model_fields": None}
    systems = {
        "first": {**plain, "model_family": "blstm", "model_fields": {"input": "log_mel", "lstm_hidden_size": 8}},
        "second": {**plain, "pretrained": "first"},
        "third": {**plain, "method": "soft_vote", "pretrained": "second"},
    }
    made, real = [], run_module.build_model
    monkeypatch.setattr(run_module, "build_model", lambda *given: made.append(real(*given)) or made[-1])
    said = describe(read_plan(planned(tmp_path, dataset, systems, seeds=1)), tmp_path / "out", None, 1)
    assert [model.config.lstm_hidden_size for model, _ in made] == [8, 8, 8]
    assert said.count("1 x ") == 3 and "not measured" not in said
    # One cell alone: that of its beginning is not measured, and still says what it is made of.
    made.clear()
    plan = read_plan(planned(tmp_path, dataset, {**systems, "second": {**plain, "pretrained": "first",
        "model_fields": {"dropout": 0.2}}}, seeds=1))  # fmt: skip
    describe(plan, tmp_path / "out", "1/3", 1)
    assert made and all(model.config.lstm_hidden_size == 8 for model, _ in made)


def test_systems_beyond_the_budget_get_the_mean_of_their_method_and_say_so(tmp_path, dataset, monkeypatch):
    systems = {f"b{n}": {"per_device_train_batch_size": n} for n in (2, 3, 4)}
    others = {"soft": {"method": "soft_vote"}, "frozen": {"freeze": "encoder"}}
    path = planned(tmp_path, dataset, {**systems, **others}, seeds=1)
    plan = read_plan(path)
    cells = {cell.system: cell for cell in expand(plan, [chosen_configs(plan.datasets[0])], tmp_path / "out")}
    cost = {"b2": 10.0, "soft": 7.0, "frozen": 1.0}
    monkeypatch.setattr(step_time, "_cost", lambda cell, cells: step_time.Cost(cost[cell.system], "measured"))
    found = step_time.measure(cells, jobs=1, budget=0.0)
    assert {name: one.seconds for name, one in found.items()} == {**cost, "b3": 10.0, "b4": 10.0}
    assert {found[name].words for name in cost} == {"measured"}
    assert "not measured: the mean of 1 systems of method hard_vote" in found["b3"].words


def test_a_timed_step_takes_in_the_average_of_the_weights_as_a_step_of_training_does(tmp_path, monkeypatch):
    averaged = counted(monkeypatch, WeightAverage, "step")
    for decay, steps in ((0.0, 0), (0.99, 5)):
        trainer = make_trainer("hard_vote", tmp_path / str(decay), save_strategy="no", average_weights=decay)
        assert len(step_time.timed_steps(trainer, 2, 3)) == 3
        assert len(averaged) == steps and trainer.average is None
    averaged.clear()
    trainer = make_trainer("hard_vote", tmp_path, save_strategy="no", average_weights=0.99, max_steps=5)
    trainer.train()
    assert len(averaged) == 5


@pytest.mark.parametrize(
    ("given", "evaluations"),
    [
        ({"eval_strategy": "no"}, 0),
        ({"eval_strategy": "epoch"}, 2),
        ({"eval_strategy": "steps", "eval_steps": 3}, None),
        ({"eval_strategy": "steps", "eval_steps": 0.1}, None),
    ],
)
def test_evaluations_are_counted_as_often_as_the_trainer_makes_them(given, evaluations, tmp_path):
    trainer = make_trainer("hard_vote", tmp_path, num_train_epochs=2, save_strategy="no", **given)
    trainer.train()
    made = sum("eval_loss" in entry for entry in trainer.training_log)
    assert step_time._evaluations(trainer, trainer.state.max_steps) == made
    assert evaluations is None or made == evaluations
    assert given["eval_strategy"] == "no" or made > 1
