"""A run's arguments from a file and the command line."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.runs.arguments import RunArguments, given_fields
from hf_ambiser.runs.config_files import SHIPPED, read_config
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.data_arguments import DataArguments
from hf_ambiser.training.model_arguments import ModelArguments


FILES = sorted(SHIPPED.rglob("*.yaml"))
# Plans have tests of their own (test_cross_validate.py); some configs are of methods that are to come.
CONFIGS = [path for path in FILES if read_config(path).get("method") in available_methods()]
LINES = """\
method: ipr
dataset: data/made
output_dir: {out}
use_cpu: true
learning_rate: 1.0e-3
num_train_epochs: 17
train_splits: [d1, more]
encoder_fields: {{hidden_size: 32, conv_channels: [4, 8]}}
augmentation: {{kind: noise}}
max_seconds: 5
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(LINES.format(out=tmp_path / "out"))
    return path


def test_a_file_sets_what_it_names_and_leaves_the_methods_defaults(config):
    run = RunArguments.from_command_line(["--config", str(config)])
    assert run.method == "ipr" and type(run.training) is load_method("ipr").arguments_class
    assert (run.training.learning_rate, run.training.num_train_epochs, run.training.max_seconds) == (1e-3, 17, 5)
    assert (run.training.gamma, run.training.warmup_epochs, run.training.mu) == (0.99, 10, 0.2)
    assert run.data.train_splits == ["d1", "more"] and run.data.ambiguous_splits == ["d2"]
    assert run.model.encoder is None and run.model.encoder_fields == {"hidden_size": 32, "conv_channels": [4, 8]}
    assert run.training.augmentation == {"kind": "noise"}
    # What decides whether a run goes on is what was given, no more.
    assert run.given == {**read_config(config)}


def test_the_command_line_overrides_the_file_and_only_what_it_names(config):
    words = """--learning_rate 1e-4 --warmup_epochs 3 --train_splits d1 d2 d3 --length_grouping false --use_cpu
        --validation_split dev --beta_max 0.25 --lora""".split()
    argv = ["--config", str(config), *words, '{"r": 4}', "--augmentation", '{"kind": "gain", "gain_db": [-3, 3]}']
    run = RunArguments.from_command_line(argv)
    assert (run.training.learning_rate, run.training.warmup_epochs, run.training.beta_max) == (1e-4, 3, 0.25)
    assert run.data.train_splits == ["d1", "d2", "d3"] and run.data.validation_split == "dev"
    assert run.training.length_grouping is False and run.training.use_cpu is True
    assert run.model.lora == {"r": 4}
    assert run.training.augmentation == {"kind": "gain", "gain_db": [-3, 3]}
    # The file's, untouched by the parser's defaults:
    assert run.training.num_train_epochs == 17 and run.data.dataset == "data/made"
    assert run.model.encoder_fields == {"hidden_size": 32, "conv_channels": [4, 8]}
    assert set(run.given) == set(read_config(config)) | {
        *("warmup_epochs", "length_grouping", "validation_split", "beta_max", "lora")
    }


def test_both_ways_of_writing_an_option_and_later_files_over_earlier_ones(config, tmp_path):
    second = tmp_path / "second.yaml"
    second.write_text("num_train_epochs: 12\nseed: 3\n")
    run = RunArguments.from_command_line([f"--config={config}", "--config", str(second), "--learning_rate=0.5"])
    assert (run.training.num_train_epochs, run.training.seed, run.training.learning_rate) == (12, 3, 0.5)
    other = RunArguments.from_command_line(["--config", str(config), "--method=self_training"])
    assert other.method == "self_training" == other.given["method"]
    alone = RunArguments.from_command_line(["--method", "ipr", "--use_cpu", "--output_dir", str(tmp_path / "x")])
    assert alone.method == "ipr" and alone.data == DataArguments()


@pytest.mark.parametrize("method", available_methods())
def test_every_method_takes_its_arguments_on_the_command_line(method, tmp_path):
    argv = ["--method", method, "--use_cpu", "--output_dir", str(tmp_path), "--dataset", "d", "--learning_rate", "0.5"]
    run = RunArguments.from_command_line([*argv, "--dataset_config", "c"])
    assert run.training.learning_rate == 0.5 and type(run.training) is load_method(method).arguments_class


def test_a_value_that_is_false_or_zero_on_the_command_line_still_overrides(config):
    argv = ["--config", str(config), "--use_cpu", "true", "--mu", "0", "--trajectory_every", "0", "--seed", "0"]
    run = RunArguments.from_command_line([*argv, "--length_grouping", "False", "--train_splits", "d1"])
    assert (run.training.mu, run.training.trajectory_every, run.training.length_grouping) == (0, 0, False)
    assert run.given["mu"] == 0 and run.given["length_grouping"] is False and run.data.train_splits == ["d1"]


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path, config):
    path = tmp_path / "more.yaml"
    path.write_text("learning_rate: 1e-3\nadam_epsilon: 1e-5\ngamma: 1\nnum_train_epochs: 12\n")
    assert read_config(path)["learning_rate"] == "1e-3"  # YAML 1.1 wants a dot
    run = RunArguments.from_command_line(["--config", str(config), "--config", str(path)])
    assert (run.training.learning_rate, run.training.adam_epsilon, run.training.gamma) == (1e-3, 1e-5, 1)
    assert isinstance(run.training.learning_rate, float) and run.given["learning_rate"] == 1e-3


def test_given_written_and_read_again_is_the_same_run(config):
    first = RunArguments.from_command_line(["--config", str(config), "--model_fields", '{"pooling": "mean_std"}'])
    again = RunArguments.from_mapping(json.loads(json.dumps(first.given)))
    assert again.model == first.model and again.data == first.data
    assert again.training.to_dict() == first.training.to_dict()


@pytest.mark.parametrize("method", available_methods())
def test_the_defaults_of_every_method_are_of_their_declared_types_and_no_name_is_used_twice(method, tmp_path):
    kinds = (DataArguments, ModelArguments, load_method(method).arguments_class)
    names = [field.name for kind in kinds for field in dataclasses.fields(kind) if field.init]
    assert len(set(names)) == len(names)
    defaults = {
        field.name: field.default
        for kind in kinds
        for field in dataclasses.fields(kind)
        if field.init and field.default is not dataclasses.MISSING
    }
    given = {**defaults, "method": method, "use_cpu": True, "output_dir": str(tmp_path)}
    assert RunArguments.from_mapping(given).training.learning_rate == defaults["learning_rate"]


def refused(words: list[str], make) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values,words",
    [
        ({}, ["`method`", "hard_vote", "ipr"]),
        ({"method": "irp"}, ["no method 'irp'", "ipr", "self_training"]),
        ({"method": "ipr", "gama": 1.0}, ["unknown field(s) ['gama']", "'ipr'", "'gamma'", "TrainingArguments"]),
        ({"method": "hard_vote", "gamma": 0.9}, ["gamma is an argument of ipr, not of hard_vote"]),  # another method's
        ({"method": "ipr", "warmup_epochs": "two"}, ["warmup_epochs='two'", "str", "int"]),
        ({"method": "ipr", "learning_rate": "fast"}, ["learning_rate='fast'", "float"]),
        ({"method": "ipr", "test_splits": "d3"}, ["test_splits='d3'", "list"]),
        ({"method": "ipr", "length_grouping": "no"}, ["length_grouping='no'", "bool"]),
        ({"method": "ipr", "warmup_epochs": True}, ["warmup_epochs=True", "bool", "int"]),
        ({"method": "ipr", "seed": None}, ["seed=None", "int"]),
        ({"method": "ipr", "lora": [8]}, ["lora=[8]", "dict"]),
        ({"method": "ipr", "model_fields": "{pooling: mean}"}, ["model_fields='{pooling: mean}'", "not JSON"]),
        ({"method": "ipr", "encoder_fields": "[1]"}, ["encoder_fields=[1]", "mapping"]),
        ({"method": "ipr", "freeze": "all"}, ["freeze='all'", "feature_encoder"]),
        ({"method": "ipr", "contrastive": "none"}, ["contrastive='none'", "pseudo_label", "instance"]),
        ({"method": "ipr", "prototype_update": "all"}, ["prototype_update='all'", "proportional"]),
        ({"method": "ipr", "gamma": 1.5}, ["gamma=1.5", "[0, 1]"]),
        ({"method": "ipr", "contrast_temperature": 0.0}, ["contrast_temperature=0.0", "positive"]),
        ({"method": "ipr", "warmup_epochs": 0}, ["warmup_epochs=0", "1 or more", "prototypes"]),
        ({"method": "self_training", "pseudo_label": "firm"}, ["pseudo_label='firm'", "soft", "hard"]),
        ({"method": "hard_vote", "ambiguous_per_labelled": -1.0}, ["ambiguous_per_labelled=-1.0"]),
        ({"method": "hard_vote", "early_stopping_patience": 3}, ["metric_for_best_model"]),
        ({"method": "hard_vote", "remove_unused_columns": True}, ["remove_unused_columns", "False"]),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(values, words, tmp_path):
    common = {"output_dir": str(tmp_path), "use_cpu": True} if "method" in values else {}
    refused(words, lambda: RunArguments.from_mapping({**common, **values}))


@pytest.mark.parametrize(
    "argv,words",
    [
        ([], ["--config FILE", "--method", "ipr"]),
        (["--config"], ["--config needs a file"]),
        (["--method"], ["--method needs one of", "ipr"]),
        (["--config", "nowhere/run.yaml"], ["no config file nowhere/run.yaml"]),
        (["--method", "ipr", "--gama", "1"], ["--gama"]),
        (["--method", "ipr", "--warmup_epochs", "two"], ["--warmup_epochs", "'two'"]),
        (["--method", "ipr", "--warm", "2"], ["--warm"]),  # no guessing what a shortened name means
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(argv, words):
    refused(words, lambda: RunArguments.from_command_line(argv))


def shown(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as end:
        RunArguments.from_command_line(argv, "hf-ambiser train")
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_needs_no_method_and_shows_our_own_fields_in_groups_with_their_defaults(capsys):
    text = shown(capsys, "--help")
    assert text.startswith("usage: hf-ambiser train ")
    titles = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["options:", "run:", "data:", "model:", "training:", "sharing:"]
    assert "--train_splits [VALUE ...]" in text and "(default: ['d1'])" in text
    assert "--class_weights VALUE" in text and "--max_grad_norm VALUE" in text
    assert "--gamma" not in text and "--learning_rate VALUE" not in text and "--hub_token" not in text
    assert "--length_grouping [VALUE]" in text and "--no_length_grouping" not in text


@pytest.mark.parametrize("method", available_methods())
def test_help_of_a_method_shows_its_own_fields_and_help_all_every_field_once(method, capsys):
    arguments_class = load_method(method).arguments_class
    of_all = {field.name for field in dataclasses.fields(AmbiSERTrainingArguments)}
    own = {field.name for field in dataclasses.fields(arguments_class)} - of_all
    text = shown(capsys, "-h", "--method", method)
    lines = text.partition(f"\nmethod {method}:\n")[2].partition("\nsharing:\n")[0]
    assert [name for name in own if f"--{name} " not in lines] == []
    everything = shown(capsys, f"--method={method}", "--help-all")
    kinds = (DataArguments, ModelArguments, arguments_class)
    for field in [field for kind in kinds for field in dataclasses.fields(kind) if field.init]:
        assert len(re.findall(rf"^  --{field.name} ", everything, re.MULTILINE)) == 1, field.name


def test_help_shows_the_method_of_a_config_and_a_wrong_method_is_still_one_line(config, capsys):
    assert "\nmethod ipr:\n" in shown(capsys, "--config", str(config), "--help")
    assert "\nmethod meta:\n" in shown(capsys, "--config", "crema_d/meta", "--help")
    refused(["no method 'irp'"], lambda: RunArguments.from_command_line(["--method", "irp", "--help"]))


def test_a_wrong_path_names_the_files_beside_it(config, tmp_path):
    (tmp_path / "other.yaml").write_text("seed: 1")
    refused(["runn.yaml", "['other.yaml', 'run.yaml']"], lambda: read_config(tmp_path / "runn.yaml"))
    refused(["none/run.yaml", "['other.yaml', 'run.yaml']"], lambda: read_config(tmp_path / "none" / "run.yaml"))


@pytest.mark.parametrize("text,kind", [("- a\n- b\n", "list"), ("just words", "text")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, kind):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    refused(["odd.yaml", "field: value", kind], lambda: read_config(path))
    path.write_text("")
    refused(["odd.yaml", "is empty", "hf-ambiser configs"], lambda: read_config(path))


def test_there_are_configs_to_check():
    assert len(CONFIGS) >= 2


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_a_run(path, tmp_path):
    # On a machine without the GPU a config may ask for.
    on_cpu = ["--use_cpu", "true", "--bf16", "false", "--fp16", "false", "--tf32", "false"]
    run = RunArguments.from_command_line(["--config", str(path), *on_cpu, "--output_dir", str(tmp_path)])
    values = read_config(path)
    assert run.method == values["method"]
    for kind, part in ((DataArguments, run.data), (ModelArguments, run.model)):
        for field in dataclasses.fields(kind):
            if field.name in values:
                assert getattr(part, field.name) == values[field.name]
    assert run.data.dataset and values["output_dir"], "a config says what to read and where to write"


def test_a_warm_up_that_leaves_no_epoch_is_refused(tmp_path):
    fields = {"output_dir": str(tmp_path), "use_cpu": True, "num_train_epochs": 4}
    for method in ("ipr", "self_training"):
        refused(["warmup_epochs=10", "num_train_epochs=4"], lambda m=method: run_of({"method": m, **fields}))
        assert run_of({"method": method, **fields, "warmup_epochs": 3}).training.warmup_epochs == 3


def test_what_is_no_yaml_and_no_json_names_itself(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    refused(["broken.yaml", "not YAML"], lambda: read_config(broken))
    fields = {"output_dir": str(tmp_path), "use_cpu": True, "augmentation": "{bad"}
    refused(["augmentation='{bad'", "not JSON"], lambda: run_of({"method": "hard_vote", **fields}))


def run_of(values):
    return RunArguments.from_mapping(values)


def test_where_a_run_is_shared_is_no_part_of_what_it_is(tmp_path):
    values = {"method": "hard_vote", "output_dir": str(tmp_path), "use_cpu": True}
    plain = RunArguments.from_mapping(values)
    shared = RunArguments.from_mapping(
        {**values, "push_to_hub": True, "hub_model_id": "me/x", "hub_private_repo": True}
    )
    assert shared.given == plain.given and not plain.sharing.push_to_hub
    assert (shared.sharing.hub_model_id, shared.sharing.hub_private_repo) == ("me/x", True)
    # The Trainer's own push would send pickles and leave the code out.
    assert not shared.training.push_to_hub and shared.training.hub_model_id is None


@pytest.mark.parametrize(
    "fields,words",
    [
        ({"push_to_hub": True}, "push_to_hub needs hub_model_id"),
        ({"hub_token": "hf_abcdefghijklmnop"}, "hub_token cannot be set: set HF_TOKEN"),
        ({"hub_strategy": "checkpoint"}, "hub_strategy cannot be set"),
    ],
)
def test_what_would_push_something_else_or_keep_a_secret_is_refused(tmp_path, fields, words):
    with pytest.raises(ValueError, match=words) as error:
        RunArguments.from_mapping({"method": "hard_vote", "output_dir": str(tmp_path), "use_cpu": True, **fields})
    assert "abcdefgh" not in str(error.value)


def test_the_system_is_the_methods_name_unless_given(config):
    assert RunArguments.from_command_line(["--config", str(config)]).system == "ipr"
    named = RunArguments.from_command_line(["--config", str(config), "--system", "warmer"])
    assert named.system == "warmer" and named.given["system"] == "warmer"
    with pytest.raises(ValueError, match="system=3 must be a name"):
        RunArguments.from_mapping({**read_config(config), "system": 3})


def test_fields_are_checked_and_typed_without_making_a_runs_arguments(config):
    # bf16 asks for hardware when the arguments are made, not before.
    given = given_fields({**read_config(config), "learning_rate": "1e-4", "bf16": True})
    assert given["learning_rate"] == 1e-4 and given["bf16"] is True and given["method"] == "ipr"
    with pytest.raises(
        ValueError, match=r"unknown field\(s\) \['num_train_epoch'\] \(did you mean 'num_train_epochs'"
    ):
        given_fields({"method": "ipr", "num_train_epoch": 3})


def test_an_option_that_does_not_exist_names_the_nearest_one():
    with pytest.raises(ValueError, match=r"--num_train_epoch 2 are not known here \(did you mean '--num_train_ep"):
        RunArguments.from_command_line(["--method", "ipr", "--num_train_epoch", "2"])


SHARED = {f.name for f in dataclasses.fields(AmbiSERTrainingArguments)}
OWN = {
    method: {f.name for f in dataclasses.fields(load_method(method).arguments_class)} - SHARED
    for method in available_methods()
}


@pytest.mark.parametrize("method", [method for method in available_methods() if method != "hard_vote"])
def test_an_argument_of_another_method_says_whose_it_is(method):
    for name in OWN[method]:
        owners = [one for one in available_methods() if name in OWN[one]]
        words = rf"{name} is an argument of {', '.join(owners)}, not of hard_vote; leave it out, or choose"
        for option in (f"--{name}", f"--{name}=5", f"--{name.replace('_', '-')}"):
            with pytest.raises(ValueError, match=f"^--{words} --method {owners[0]}"):
                RunArguments.from_command_line(["--method", "hard_vote", option, "5"])
        with pytest.raises(ValueError, match=f"^{words} method {owners[0]}"):
            given_fields({"method": "hard_vote", name: 5})


def test_an_option_of_splits_without_a_value_is_an_empty_list():
    lists = ("train_splits", "ambiguous_splits", "reveal_splits", "test_splits")
    for name in lists:
        words = ["--method", "mmd", "--use_cpu", "True", f"--{name}", "--output_dir", "runs/x"]
        assert getattr(RunArguments.from_command_line(words).data, name) == []
    both = RunArguments.from_command_line(["--method", "mmd", "--use_cpu", "True", "--train_splits", "a", "b"])
    assert both.data.train_splits == ["a", "b"]
