"""No code that came with a config, a model or an encoder is run, and nobody is asked on a terminal whether it may."""

from __future__ import annotations

import ast
import builtins
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from helpers.made_data import tiny_model
from helpers.made_run import built
from helpers.package_imports import SOURCES
from helpers.recorded_run import change, recorded_run

from hf_ambiser.cli import main
from hf_ambiser.inference.load_model import load_model
from hf_ambiser.models import PrototypeForAudioClassification
from hf_ambiser.runs.build_model import build_model
from hf_ambiser.training.model_arguments import ModelArguments
from hf_ambiser.untrusted.code_fields import refuse_code


pytestmark = pytest.mark.usefixtures("blank_figures")
FORK = multiprocessing.get_context("fork")
FIELDS = [
    {"trust_remote_code": True},
    {"trust_remote_code": False},
    {"auto_map": {"AutoConfig": "evil.Evil"}},
    {"code_revision": "main"},
    {"custom_pipelines": {"x": {"impl": "evil.Evil"}}},
    {"use_safetensors": False},
    {"weights_only": False},
    {"pickle_module": "evil"},
    {"attn_implementation": "somebody/kernel"},
    {"attn_implementation": {"": "eager", "text_config": "somebody/kernel"}},
    {"use_kernels": True},
    {"kernel_config": {"RMSNorm": "somebody/kernel:RMSNorm"}},
    {"deeper": [[{"trust_remote_code": True}]]},
    {"deeper": {"still": [{"trust_remote_code": True}]}},
    {"sub_config": {"auto_map": {"AutoModel": "evil.Evil"}}},
]
# A module that leaves a mark when it is run.
EVIL = "open({mark!r}, 'w').write('was run')\nfrom transformers import PreTrainedConfig, PreTrainedModel\n"
EVIL += "class Evil(PreTrainedConfig):\n    model_type = 'evil'\n"
EVIL += "class EvilModel(PreTrainedModel):\n    config_class = Evil\n"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("data"), configs=("slc-strict",))


@pytest.fixture
def mark(tmp_path, monkeypatch) -> Path:
    """The mark that must not be there at the end; whoever asks on the terminal is told yes, and fails the test."""
    asked: list[object] = []
    monkeypatch.setattr(builtins, "input", lambda *words: asked.append(words) or "y")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    yield tmp_path / "mark"
    assert not asked and not (tmp_path / "mark").exists()


def evil(folder: Path, mark: Path, model_type: str = "evil") -> Path:
    """A model's folder with code that transformers would run if it were allowed to."""
    folder.mkdir(exist_ok=True)
    places = {"AutoConfig": "evil.Evil", "AutoModel": "evil.EvilModel", "AutoFeatureExtractor": "evil.Evil"}
    places["AutoModelForAudioClassification"] = "evil.EvilModel"
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, "auto_map": places}))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "Evil", "auto_map": {"AutoFeatureExtractor": "evil.Evil"}})
    )
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    return folder


def one_line(capsys) -> str:
    """The last line on standard error: transformers may have warned before."""
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("name", ["encoder_fields", "model_fields", "lora"])
def test_fields_that_could_run_code_are_refused(name, fields):
    with pytest.raises(ValueError, match=f"^{name}[.a-z_]* has .*no field may do that"):
        ModelArguments(**{name: fields})
    with pytest.raises(ValueError, match="no field may do that"):
        ModelArguments(**{name: json.dumps(fields)})


def test_a_map_to_our_own_files_is_no_code():
    """Runs that were made in Python note it among their fields."""
    ours = {"AutoConfig": "configuration_prototype.PrototypeConfig", "AutoModel": "modeling_prototype.X"}
    assert ModelArguments(model_fields={"auto_map": ours, "layers": "last"}).model_fields["auto_map"] == ours
    for other in (
        {**ours, "AutoModel": "evil.X"},
        {**ours, "AutoModel": "somebody/x--modeling_prototype.X"},
        {"a": 1},
    ):
        with pytest.raises(ValueError, match="auto_map"):
            ModelArguments(model_fields={"auto_map": other})


def test_other_fields_are_taken():
    for fields in ({"hidden_size": 16, "attn_implementation": "eager"}, {"r": 8, "target_modules": ["q"]}, {}, None):
        refuse_code(fields, "lora")
        ModelArguments(lora=fields)


@pytest.mark.parametrize("trust", [True, None])
def test_a_config_with_an_encoder_that_brings_code(trust, dataset, mark, tmp_path, capsys):
    encoder = evil(tmp_path / "encoder", mark)
    config = tmp_path / "config.yaml"
    given = {"method": "hard_vote", "dataset": str(dataset), "dataset_config": "slc-strict", "encoder": str(encoder)}
    given |= {"use_cpu": True, "output_dir": str(tmp_path / "run"), "train_splits": ["clear"]}
    given |= {"encoder_fields": {"trust_remote_code": True}} if trust else {}
    config.write_text(json.dumps(given))
    assert main(["train", "--config", str(config)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "trust_remote_code=True" in line if trust else "brings Python code of its own" in line


def test_a_python_user_who_asks_for_it_in_so_many_words_still_can(mark, tmp_path):
    """`from_encoder` is a call in somebody's own program and no file; without the word it asks nobody."""
    with pytest.raises(ValueError, match="trust_remote_code"):
        PrototypeForAudioClassification.from_encoder(evil(tmp_path / "encoder", mark))


def test_card_push_and_report_on_a_run_whose_model_brings_code(mark, tmp_path, capsys):
    run = recorded_run(tmp_path, code=())
    shutil.rmtree(run / "model")
    evil(run / "model", mark)
    for command in (["card", str(run)], ["push", str(run), "me/x", "--dry-run"]):
        assert main(command) == 2
        assert "code beside it is never run" in one_line(capsys)
    assert main(["report", str(run), "--no-html"]) == 0


def test_code_beside_a_configuration_of_ours_is_not_run(mark, tmp_path):
    run = recorded_run(tmp_path, code=())
    (run / "model" / "evil.py").write_text(EVIL.format(mark=str(mark)))
    places = {"AutoConfig": "evil.Evil", "AutoModelForAudioClassification": "evil.EvilModel"}
    change(run / "model" / "config.json", lambda config: {**config, "auto_map": places})
    assert main(["card", str(run)]) == 0


def test_evaluate_and_benchmark_on_a_model_that_brings_code(dataset, mark, tmp_path, capsys, monkeypatch):
    model = str(evil(tmp_path / "model", mark))
    evaluate = ["--dataset", str(dataset), "--config", "slc-strict", "--split", "test"]
    assert main(["evaluate", "--model", model, *evaluate]) == 2
    assert "brings Python code of its own" in one_line(capsys)
    # A benchmark starts processes; forked ones have everything imported.
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: FORK)
    assert main(["benchmark", model, "--lengths", "1", "--batch_sizes", "1", "--runs", "1"]) == 2
    assert "brings Python code of its own" in one_line(capsys)
    with pytest.raises(ValueError, match="brings Python code of its own"):
        load_model(model)


@pytest.mark.parametrize("at", ["", "encoder_config"])
def test_a_configuration_that_names_a_kernel_of_the_hub(at, tmp_path):
    """transformers would run it, wherever the model comes from; a kernel needs no Python file beside the weights."""
    model = tiny_model()
    model.save_pretrained(tmp_path / "model")
    path, kernel = tmp_path / "model" / "config.json", {"attn_implementation": "somebody/kernel"}
    change(path, lambda config: {**config, **({at: {**config[at], **kernel}} if at else kernel)})
    with pytest.raises(ValueError, match="its config.json.* runs a kernel from the Hub"):
        load_model(str(tmp_path / "model"))
    with pytest.raises(ValueError, match="its config.json.* runs a kernel from the Hub"):
        build_model(ModelArguments(encoder=str(tmp_path / "model")), "prototype", ["a", "b"], tmp_path / "base")


def test_an_adapter_that_would_import_a_module_is_refused(tmp_path):
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "x", "auto_mapping": None, "megatron_config": {"a": 1}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    with pytest.raises(ValueError, match="megatron_config"):
        load_model(str(tmp_path))


def test_every_call_that_could_ask_says_that_no_code_may_run():
    """Calls of an Auto class's `from_pretrained`: each says `trust_remote_code=False`, or passes on what was said."""
    calls = [
        (file, node)
        for file, source in SOURCES.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "from_pretrained"
    ]
    auto = [(f, n) for f, n in calls if ast.unparse(n.func).startswith("Auto")]
    assert len(auto) >= 7
    for file, node in auto:
        said = {word.arg: ast.unparse(word.value) for word in node.keywords}
        passed_on = said.get(None) is not None and file.startswith("hf_ambiser/models/")
        assert said.get("trust_remote_code") == "False" or passed_on, f"{file}:{node.lineno}"
