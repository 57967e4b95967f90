"""Runs that were begun before a default changed: they go on as they were begun, and cards do not say otherwise."""

import json

import pytest
import torch
import yaml
from datasets import disable_progress_bars
from helpers.made_run import built, fields, stopped_in_the_second_epoch
from safetensors.torch import load_file
from test_ipr_options import made_before

from hf_ambiser.cards.facts import argument_defaults, read_facts
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run
from hf_ambiser.training import checkpoints


pytestmark = pytest.mark.usefixtures("blank_figures")
torch.set_num_threads(1)
disable_progress_bars()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return built(tmp_path_factory.mktemp("built"))


def go(dataset, out, /, **changes):
    return run(RunArguments.from_mapping(fields(dataset, out, **changes)))


def weights(out):
    return load_file(out / "model" / "model.safetensors")


def test_every_earlier_default_is_an_argument_that_has_another_one_now():
    found = {}
    for method in available_methods():
        arguments_class = load_method(method).arguments_class
        defaults = argument_defaults(arguments_class)
        found |= arguments_class.earlier_defaults
        for name, before in arguments_class.earlier_defaults.items():
            assert defaults[name] != before, f"{method}: {name}"
    assert found == {"prototype_refresh": "never"}


def test_a_run_begun_before_the_default_changed_goes_on_as_it_was_begun(dataset, tmp_path):
    never = go(dataset, tmp_path / "never", prototype_refresh="never")
    assert yaml.safe_load((tmp_path / "never" / "arguments.yaml").read_text())["prototype_refresh"] == "never"
    old = tmp_path / "old"
    stopped_in_the_second_epoch(lambda: go(dataset, old, prototype_refresh="never"))
    # As an earlier version left it.
    given = yaml.safe_load((old / "arguments.yaml").read_text())
    assert given.pop("prototype_refresh") == "never"
    (old / "arguments.yaml").write_text(yaml.safe_dump(given))
    made_before(checkpoints.last_complete(old))

    with pytest.raises(ValueError, match=r"other arguments \(prototype_refresh differ\)"):
        go(dataset, old, prototype_refresh="epoch")
    results = go(dataset, old)
    assert results["scores"] == never["scores"]
    assert all(torch.equal(tensor, weights(tmp_path / "never")[name]) for name, tensor in weights(old).items())
    assert yaml.safe_load((old / "arguments.yaml").read_text())["prototype_refresh"] == "never"
    changed, same = read_facts(old).arguments()
    assert changed["prototype_refresh"] == "never" and "prototype_refresh" not in same
    assert go(dataset, old, prototype_refresh="never") == results  # said, it is the same run


def test_a_new_run_says_what_it_was_begun_with_and_does_not_become_another(dataset, tmp_path):
    out = tmp_path / "new"
    results = go(dataset, out)
    assert yaml.safe_load((out / "arguments.yaml").read_text())["prototype_refresh"] == "epoch"
    assert go(dataset, out) == go(dataset, out, prototype_refresh="epoch") == results
    with pytest.raises(ValueError, match=r"other arguments \(prototype_refresh differ\)"):
        go(dataset, out, prototype_refresh="never")
    changed, same = read_facts(out).arguments()
    assert "prototype_refresh" not in changed and same["prototype_refresh"] == "epoch"
    # Defaults are those of the run, whatever they become later; of a run that kept none, later arguments are unknown.
    text = json.loads((out / "results.json").read_text())
    text["defaults"]["gamma"] = 0.5
    (out / "results.json").write_text(json.dumps(text))
    assert read_facts(out).arguments()[1]["gamma"] == 0.5
    del text["defaults"]
    (out / "results.json").write_text(json.dumps(text))
    same = read_facts(out).arguments()[1]
    assert same["gamma"] == 0.99 and "prototype_movers" not in same and "contrastive" in same
