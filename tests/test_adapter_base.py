"""An adapter finds the model that it was trained on: beside it, wherever its folder is, and no other one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import disable_progress_bars
from helpers.made_run import built, fields
from peft import AutoPeftModel
from transformers import AutoModelForAudioClassification, pipeline

from hf_ambiser.cards import Address, read_facts, write_card
from hf_ambiser.inference.load_model import load_model
from hf_ambiser.inference.model_door import open_model
from hf_ambiser.run_folder.adapter_base import CONFIG, DIGESTS, LOADED_BY
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.push import publication
from hf_ambiser.runs.run import run


torch.set_num_threads(1)
disable_progress_bars()
SPEECH = torch.from_numpy((np.random.default_rng(0).normal(size=(1, 16000)) * 0.1).astype(np.float32))
LOADERS: dict[str, Any] = {
    "evaluate and benchmark": lambda folder: load_model(str(folder)),
    "predict": lambda folder: open_model(folder).model,
    "an Auto class": AutoModelForAudioClassification.from_pretrained,
    "pipeline": lambda folder: pipeline("audio-classification", str(folder)).model,
}


def answer(load: Any, folder: Path) -> np.ndarray:
    with torch.no_grad():
        return load(folder).eval()(SPEECH).logits.numpy()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A LoRA run whose output_dir was relative, with the answer of its model where it was made."""
    home = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        given = {"method": "hard_vote", "warmup_epochs": ..., "num_train_epochs": 1, "learning_rate": 1e-2}
        run(RunArguments.from_mapping(fields(dataset, Path("lora"), **given, lora={"r": 2})))
        expected = answer(LOADERS["evaluate and benchmark"], Path("lora/model"))
    return home / "lora", expected


@pytest.fixture
def moved(trained, tmp_path, monkeypatch) -> tuple[Path, np.ndarray]:
    """The run under another name, seen from another directory; another run's base lies where its own was."""
    run, expected = trained
    copied, elsewhere = tmp_path / "renamed", tmp_path / "elsewhere"
    shutil.copytree(run, copied)
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    other = elsewhere / "lora" / "base_model"
    shutil.copytree(run / "base_model", other)
    torch.manual_seed(1)
    model = AutoModelForAudioClassification.from_pretrained(other)
    for value in model.encoder.parameters():
        torch.nn.init.normal_(value, std=0.1)
    model.save_pretrained(other)
    for folder in (copied, copied / "model"):
        path = folder / CONFIG
        if path.is_file():
            path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "lora/base_model"}))
    return copied, expected


@pytest.mark.parametrize("loader", LOADERS)
def test_a_folder_that_was_moved_has_its_own_base(loader, moved):
    folder, expected = moved
    np.testing.assert_allclose(answer(LOADERS[loader], folder / "model"), expected, atol=1e-5)


@pytest.mark.parametrize("loader", LOADERS)
def test_the_model_folder_alone_is_a_whole_model(loader, moved, tmp_path):
    folder, expected = moved
    alone = shutil.copytree(folder / "model", tmp_path / "alone")
    shutil.rmtree(folder)
    np.testing.assert_allclose(answer(LOADERS[loader], alone), expected, atol=1e-5)


def test_the_auto_class_of_peft_loads_the_run_from_any_directory(trained, tmp_path, monkeypatch):
    folder, expected = trained
    monkeypatch.chdir(tmp_path)
    np.testing.assert_allclose(answer(AutoPeftModel.from_pretrained, folder / "model"), expected, atol=1e-5)


def test_a_run_of_an_earlier_version_has_the_base_beside_it(moved):
    folder, expected = moved
    for name in json.loads((folder / "model" / DIGESTS).read_text()):
        (folder / "model" / name).unlink()
    (folder / "model" / DIGESTS).unlink()
    np.testing.assert_allclose(answer(LOADERS["evaluate and benchmark"], folder / "model"), expected, atol=1e-5)


@pytest.mark.parametrize("spoil", ["other weights", "none"])
def test_another_base_is_refused(spoil, moved, tmp_path):
    folder, _ = moved
    weights = folder / "model" / "model.safetensors"
    weights.unlink()  # a hard link may be to the base itself
    if spoil == "other weights":
        shutil.copyfile(tmp_path / "elsewhere" / "lora" / "base_model" / weights.name, weights)
    with pytest.raises(ValueError, match="is missing, or is not the file of the model that this adapter was trained"):
        load_model(str(folder / "model"))


def test_card_and_push_of_a_moved_run_are_of_its_own_base(moved):
    folder, _ = moved
    (folder / "model" / "README.md").unlink()
    assert write_card(folder)[0].is_file()
    pushed = publication(read_facts(folder), Address("me/base", "main"))
    settings = json.loads(pushed.files["adapter_config.json"])
    assert settings["base_model_name_or_path"] == "me/base" and settings["auto_mapping"] == LOADED_BY
    assert not {DIGESTS, "model.safetensors", "config.json"} & pushed.files.keys()
