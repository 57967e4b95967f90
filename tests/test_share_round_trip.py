"""What was pushed comes back where this package is not installed, as its card says; nothing remote runs unasked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.hub_client import ROOT, HubClient
from helpers.hub_endpoint import HubEndpoint
from helpers.made_data import _wav2vec2
from helpers.made_run import built, fields
from transformers import Wav2Vec2Model

from hf_ambiser.hub.leaks import check_leaks
from hf_ambiser.inference.load_model import load_model
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run


torch.set_num_threads(1)
SIMULATION = ["--n-utterances", "60", "--n-speakers", "10"]

# Runs the cards' examples as they are printed, where `import hf_ambiser` fails, and asks the same models about a clip.
ELSEWHERE = """
import contextlib, io, json, os, sys
from pathlib import Path
import numpy as np, torch, transformers, datasets
examples, out = json.loads(Path(sys.argv[1]).read_text()), {}
wave = np.load(sys.argv[2])
try:
    import hf_ambiser
except ImportError:
    out["without the package"] = True
for name, code in examples.items():
    said, names = io.StringIO(), {}
    with contextlib.redirect_stdout(said):
        exec(code, names)
    out[name] = said.getvalue()
    if "classify" in names:
        scores = {one["label"]: one["score"] for one in names["classify"](wave, top_k=None)}
        out[name + " about the clip"] = scores
for auto in (transformers.AutoModel, transformers.AutoModelForAudioClassification):
    model = auto.from_pretrained("me/model", trust_remote_code=True).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained("me/model")
    with torch.no_grad():
        logits = model(**extractor(wave, sampling_rate=16000, return_tensors="pt")).logits
    out[auto.__name__] = logits.softmax(-1)[0].tolist()
whole = datasets.load_dataset("me/data", "ipr-strict", split="d1")
streamed = list(datasets.load_dataset("me/data", "ipr-strict", split="d1", streaming=True))
out["rows"] = [len(whole), [r["id"] for r in whole] == [r["id"] for r in streamed]]
out["audio"] = all(a["audio"]["bytes"] == b["audio"]["bytes"] for a, b in zip(whole, streamed))
evil, trace = transformers.AutoModelForAudioClassification, Path(os.environ["TRACE"])
try:
    evil.from_pretrained("me/evil")
    out["refused"] = ""
except ValueError as error:
    out["refused"] = str(error)
out["ran unasked"] = trace.exists()
evil.from_pretrained("me/evil", trust_remote_code=True)
out["ran when asked"] = trace.exists()
Path(sys.argv[3]).write_text(json.dumps(out))
os._exit(0)  # streaming leaves threads of pyarrow behind, which now and then abort the interpreter at its end
"""

# In a process that has the package: its own code is used, whatever the repository says, and no trust is needed.
WITH_THE_PACKAGE = """
import runpy, sys
import hf_ambiser, transformers
model = transformers.AutoModelForAudioClassification.from_pretrained("me/evil")
assert type(model) is hf_ambiser.PrototypeForAudioClassification
sys.argv = ["evaluate.py", "--model", "me/model", "--dataset", sys.argv[1], "--split", "d3"]
runpy.run_path("train_scripts/evaluate.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A finished run, a finished LoRA run on a pretrained encoder, and the data set of both."""
    folder = tmp_path_factory.mktemp("share")
    dataset = built(folder)
    run(RunArguments.from_mapping(fields(dataset, folder / "run", num_train_epochs=2)))
    torch.manual_seed(0)
    Wav2Vec2Model(_wav2vec2(0.0)).save_pretrained(folder / "encoder")
    lora = fields(
        dataset, folder / "lora", method="hard_vote", warmup_epochs=..., num_train_epochs=1, learning_rate=1e-2,
        encoder=str(folder / "encoder"), encoder_fields=..., lora={"r": 2},
    )  # fmt: skip
    run(RunArguments.from_mapping(lora))
    return folder


@pytest.fixture(scope="module")
def hub(runs) -> Iterator[HubEndpoint]:
    with HubEndpoint() as endpoint:
        with HubClient(endpoint, runs / "home") as client:
            answers = client.commands(
                ["hf-ambiser", "push", str(runs / "run"), "me/model"],
                ["hf-ambiser", "push", str(runs / "lora"), "me/adapter", "--private"],
                ["hf-ambiser", "push", str(runs / "dataset"), "me/data"],
                [
                    "train.py",
                    "--config",
                    str(runs / "run" / "arguments.yaml"),
                    "--push_to_hub",
                    "--hub_model_id",
                    "me/trained",
                ],
                [*build(runs), "--push_to_hub", "me/built", "--private"],
                [*build(runs), "--push_to_hub", "me/other", "--seed", "1"],
            )
        assert [status for status, _, _ in answers] == [0, 0, 0, 0, 0, 2], [err[-600:] for _, _, err in answers]
        assert "built in another way" in answers[-1][2] and "seed" in answers[-1][2]
        evil(endpoint)
        yield endpoint
        assert not endpoint.unknown


def build(runs: Path) -> list[str]:
    """The dataset script's command for the data set that is there."""
    words = ["simulated", "--root", str(runs / "corpus"), "--out", str(runs / "dataset"), "--configs", "ipr-strict"]
    return [*words, "--d1-quota", "per_class", "--min-per-class", "1", "--no-progress", *SIMULATION]


def evil(hub: HubEndpoint) -> None:
    """A copy of the model whose code leaves a trace when it runs."""
    files = hub.files("me/model")
    for name in ("modeling_prototype.py", "configuration_prototype.py"):
        files[name] += b"\nimport os, pathlib\npathlib.Path(os.environ['TRACE']).write_text('ran')\n"
    hub.store.create("me/evil").put(files)


@pytest.fixture(scope="module")
def wave(runs) -> np.ndarray:
    samples = (0.1 * np.random.default_rng(0).standard_normal(12000)).astype(np.float32)
    np.save(runs / "wave.npy", samples)
    return samples


@pytest.fixture(scope="module")
def elsewhere(hub, runs, wave) -> dict:
    """What a process without the package says."""
    cards = {
        "model": hub.files("me/model"),
        "adapter": hub.files("me/adapter"),
        "data": hub.files("me/data", "dataset"),
    }
    examples = {
        name: re.search(r"```python\n(.*?)```", files["README.md"].decode(), re.DOTALL)[1]  # type: ignore[index]
        for name, files in cards.items()
    }
    assert len(examples["model"].strip().splitlines()) == 3
    clean = runs / "clean"
    clean.mkdir()
    (clean / "hf_ambiser.py").write_text("raise ImportError('not installed here')\n")
    (clean / "examples.json").write_text(json.dumps(examples))
    environment = hub.environment(clean / "home", PYTHONPATH=str(clean), TRACE=str(clean / "trace"))
    call = [
        sys.executable,
        "-c",
        ELSEWHERE,
        str(clean / "examples.json"),
        str(runs / "wave.npy"),
        str(clean / "said.json"),
    ]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, cwd=clean, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads((clean / "said.json").read_text())
    assert said["without the package"]
    return said


def local(run: Path, wave: np.ndarray) -> dict[str, float]:
    """What the model in the run folder says of the clip."""
    from transformers import AutoFeatureExtractor

    classes = json.loads((run / "data.json").read_text())["classes"]
    model = load_model(str(run / "model"), classes).eval()
    extractor = AutoFeatureExtractor.from_pretrained(run / "model")
    with torch.no_grad():
        logits = model(**extractor(wave, sampling_rate=16000, return_tensors="pt")).logits
    return dict(zip(classes, logits.softmax(-1)[0].tolist(), strict=True))


@pytest.mark.parametrize("name,folder", [("model", "run"), ("adapter", "lora")])
def test_the_example_on_the_card_works_as_pasted_and_gives_the_model_that_was_trained(
    elsewhere, runs, wave, name, folder
):
    assert elsewhere[name].startswith("[{'score': ")
    assert elsewhere[f"{name} about the clip"] == pytest.approx(local(runs / folder, wave), abs=1e-5)


def test_both_auto_classes_give_it_too(elsewhere, runs, wave):
    expected = list(local(runs / "run", wave).values())
    assert elsewhere["AutoModel"] == pytest.approx(expected, abs=1e-5)
    assert elsewhere["AutoModelForAudioClassification"] == pytest.approx(expected, abs=1e-5)


def test_a_data_set_comes_back_whole_and_streamed(elsewhere, runs):
    report = json.loads((runs / "dataset" / "build_report.json").read_text())
    assert elsewhere["rows"] == [report["configs"]["ipr-strict"]["splits"]["d1"]["rows"], True] and elsewhere["audio"]
    assert elsewhere["data"].startswith("[")  # the example printed a row's votes and the shape of its audio


def test_nothing_remote_runs_unless_asked_for(elsewhere):
    assert "trust_remote_code=True" in elsewhere["refused"] and not elsewhere["ran unasked"]
    assert elsewhere["ran when asked"]  # so it would have been seen


def test_with_the_package_its_own_code_runs_and_the_evaluation_command_takes_a_model_of_the_hub(hub, runs):
    environment = hub.environment(runs / "home2", PYTHONPATH=str(ROOT), TRACE=str(runs / "trace"))
    call = [sys.executable, "-c", WITH_THE_PACKAGE, str(runs / "dataset")]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120)
    assert done.returncode == 0 and "| WA |" in done.stdout, done.stderr[-2000:]
    assert not (runs / "trace").exists()


def test_the_training_command_and_the_dataset_script_push_the_same_as_the_push_command(hub):
    for mine, theirs, kind in (("me/model", "me/trained", "model"), ("me/data", "me/built", "dataset")):
        assert list(hub.tags(mine, kind)) == list(hub.tags(theirs, kind))
    assert hub.store.get("me/built", "dataset").private and not hub.store.get("me/data", "dataset").private
    assert ("dataset", "me/other") not in hub.store._repos


def test_the_adapter_is_published_alone_and_its_base_first(hub, runs):
    adapter, base = hub.files("me/adapter"), hub.files("me/adapter-base")
    assert "model.safetensors" not in adapter and not [name for name in adapter if name.endswith(".py")]
    assert {"adapter_config.json", "adapter_model.safetensors", "preprocessor_config.json"} <= set(adapter)
    settings = json.loads(adapter["adapter_config.json"])
    assert settings["base_model_name_or_path"] == "me/adapter-base"
    assert settings["revision"] in hub.tags("me/adapter-base")
    assert {"config.json", "model.safetensors", "modeling_prototype.py"} <= set(base)
    assert json.loads(base["config.json"])["encoder_config"]["_name_or_path"] == ""


def test_nothing_published_names_this_machine(hub, runs):
    for repo, kind in (
        ("me/model", "model"),
        ("me/adapter", "model"),
        ("me/adapter-base", "model"),
        ("me/data", "dataset"),
    ):
        files = hub.files(repo, kind)
        check_leaks(files, repo)
        assert not [name for name, content in files.items() if str(runs).encode() in content], repo
        assert not [name for name in files if name.endswith(".bin")]
