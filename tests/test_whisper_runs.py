"""Every method trains a small random Whisper from a checkpoint: frozen, with LoRA, and whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import disable_progress_bars
from helpers.made_run import built, fields
from helpers.suite_methods import EVERY_KIND
from helpers.tiny_encoders import TINY_WHISPER
from safetensors import safe_open
from transformers import AutoModelForAudioClassification, WhisperConfig, WhisperFeatureExtractor, WhisperModel

from hf_ambiser.methods import load_method
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.build_model import build_model
from hf_ambiser.runs.run import run
from hf_ambiser.training.model_arguments import ModelArguments


pytestmark = pytest.mark.usefixtures("blank_figures")
disable_progress_bars()
TRAINED = {"frozen": {"freeze": "encoder"}, "LoRA": {"lora": {"r": 4}}, "whole": {}}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "whisper"
    model = WhisperModel(
        WhisperConfig(**TINY_WHISPER, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16)
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("built"), n=40, configs=("ipr-strict", "slc-strict"))


@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("method", EVERY_KIND)
def test_every_method_trains_it(method, trained, whisper, dataset, tmp_path):
    settings = load_method(method).suite_settings
    slc = {"dataset_config": "slc-strict", "train_splits": ["clear"], "ambiguous_splits": ["ambiguous"]}
    splits = {**slc, "test_splits": ["test"]} if method == "slc" else {"dataset_config": "ipr-strict"}
    given = {"encoder": str(whisper), "encoder_fields": ..., "model_fields": ..., "warmup_epochs": ...}
    changes = {"method": method, "num_train_epochs": 2, **given, **settings, **splits, **TRAINED[trained]}
    if trained == "frozen" and load_method(method).model_family == "prototype":
        changes["model_fields"] = {"projection_size": 8}  # methods that change embeddings ask for something below them
    results = run(RunArguments.from_mapping(fields(dataset, tmp_path / "run", **changes)))
    assert all(0 <= scores["all"]["wa"] <= 1 for scores in results["scores"].values())
    model = tmp_path / "run" / ("base_model" if trained == "LoRA" else "model")
    with safe_open(model / "model.safetensors", "pt") as weights:
        names = list(weights.keys())
    assert any("encoder.conv1" in name for name in names) and not any("decoder" in name for name in names)
    extractor = json.loads((model / "preprocessor_config.json").read_text())
    assert extractor["feature_extractor_type"] == "Wav2Vec2FeatureExtractor" and not extractor["do_normalize"]
    again = AutoModelForAudioClassification.from_pretrained(model)
    theirs = WhisperModel.from_pretrained(whisper).encoder.state_dict()
    same = [torch.equal(value, theirs[name]) for name, value in again.encoder.state_dict().items()]
    assert not any(same[:2]) if trained == "whole" else all(same)


def test_the_lowest_layers_are_frozen_by_number(whisper, tmp_path):
    model, _ = build_model(ModelArguments(encoder=str(whisper), freeze=1), "prototype", ["calm", "loud"], tmp_path)
    trained = {name.split(".")[2] for name, p in model.named_parameters() if p.requires_grad and ".layers." in name}
    assert trained == {"1"} and not model.encoder.conv1.weight.requires_grad
    with pytest.raises(ValueError, match="lowest 3 layers of an encoder of type whisper; allowed: 1 to 2"):
        build_model(ModelArguments(encoder=str(whisper), freeze="3"), "prototype", ["calm", "loud"], tmp_path)
    with pytest.raises(ValueError, match="freeze='lowest'.*number of layers"):
        ModelArguments(freeze="lowest")


def test_what_cannot_act_beside_lora_is_refused(whisper, tmp_path):
    given = {"encoder": str(whisper), "lora": {"r": 2}}
    for freeze in ("encoder", 1):
        with pytest.raises(ValueError, match=rf"freeze='{freeze}' has no effect beside lora.*layers_to_transform"):
            build_model(ModelArguments(**given, freeze=freeze), "prototype", ["calm", "loud"], tmp_path)
    upper = ModelArguments(encoder=str(whisper), lora={"r": 2, "layers_to_transform": [1]}, freeze="feature_encoder")
    model, _ = build_model(upper, "prototype", ["calm", "loud"], tmp_path)
    learn = [name for name, p in model.named_parameters() if p.requires_grad and ".encoder." in name]
    assert learn and all(".layers.1." in name and "lora_" in name for name in learn)


def test_a_folder_of_encoders_comes_from_the_environment(whisper, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_ENCODERS", str(whisper.parent))
    given = fields(
        dataset, tmp_path / "run", method="soft_vote", encoder="$MY_ENCODERS/whisper", freeze="encoder",
        encoder_fields=..., warmup_epochs=..., num_train_epochs=1,
    )  # fmt: skip
    run(RunArguments.from_mapping(given))
    assert "encoder: $MY_ENCODERS/whisper\n" in (tmp_path / "run" / "arguments.yaml").read_text(), (
        "no path of this machine"
    )
    card = RunFolder(tmp_path / "run").card.read_text()
    assert "The pretrained encoder whisper (whisper), frozen" in card and "MY_ENCODERS" not in card
    monkeypatch.delenv("MY_ENCODERS")
    with pytest.raises(ValueError, match=r"names MY_ENCODERS, a variable that the environment does not have"):
        build_model(ModelArguments(encoder="${MY_ENCODERS}/whisper"), "prototype", ["calm", "loud"], tmp_path)


def test_a_field_that_this_package_adds_is_known(whisper, tmp_path):
    arguments = ModelArguments(encoder=str(whisper), encoder_fields={"pad_to_30_seconds": True})
    model, _ = build_model(arguments, "prototype", ["calm", "loud"], tmp_path)
    assert model.config.encoder_config.pad_to_30_seconds is True
