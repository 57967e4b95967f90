"""Which model `predict` takes: ours, one of transformers, and what is neither gets one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.made_data import tiny_model
from helpers.made_model import RATE, check_against_the_pipeline, noise, saved
from transformers import (
    AutoModelForAudioClassification,
    BertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
)

import hf_ambiser
from hf_ambiser import open_model, predict
from hf_ambiser.inference import model_door
from hf_ambiser.inference.load_model import load_extractor, load_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_model(saved(tmp_path_factory.mktemp("tiny"), tiny_model()))


def test_without_a_model_the_shipped_one_answers_and_where_it_is_not_a_line_says_so(monkeypatch, tmp_path):
    assert Path(open_model().name) == Path(hf_ambiser.__file__).parents[1] / "model_cards" / "crema_d_whisper_tiny"
    monkeypatch.setattr(model_door, "SHIPPED", tmp_path / "model_cards" / "crema_d_whisper_tiny")
    with pytest.raises(ValueError, match="not part of an installed package.*Give a model"):
        open_model()


def test_a_run_folder_means_its_model(tiny, tmp_path):
    shutil.copytree(tiny.name, tmp_path / "run" / "model")
    assert open_model(tmp_path / "run").name == str(tmp_path / "run" / "model")


@pytest.mark.parametrize("name", ["./gone", "/gone", "a/b/c", "here/gone", "../gone", "~/gone", ""])
def test_a_path_that_leads_nowhere_is_not_looked_up_on_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(AutoModelForAudioClassification, "from_pretrained", None)
    with pytest.raises(ValueError, match="there is no such folder, and it is no Hub name"):
        open_model(name)


@pytest.mark.parametrize("name", ["account/name", "name"])
def test_a_hub_name_that_cannot_be_reached_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is no folder here, and no Hub model that can be reached") as caught:
        open_model(name)
    assert "\n" not in str(caught.value)


def tiny_wav2vec2(**fields) -> Wav2Vec2Config:
    return Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, classifier_proj_size=8, initializer_range=0.3,
        **fields,
    )  # fmt: skip


def test_a_classifier_of_transformers_answers_as_the_pipeline_does(tmp_path):
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(tiny_wav2vec2(id2label={0: "calm", 1: "angry", 2: "sad"}))
    opened = open_model(saved(tmp_path, model, Wav2Vec2FeatureExtractor(return_attention_mask=False)))
    assert not opened.ours and opened.classes == ("calm", "angry", "sad")
    check_against_the_pipeline(opened, (0.5, 2.3, 0.9))
    (found,) = predict(noise(1.0), opened, sampling_rate=RATE, progress=False)
    assert found.similarities is None


def test_what_a_foreign_model_cannot_take_is_a_row(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(tiny_wav2vec2(num_labels=3))
    opened = open_model(saved(tmp_path, model, Wav2Vec2FeatureExtractor()))
    plain = opened.model.forward

    def picky(input_values, **rest):
        if input_values.shape[1] < 20000:
            raise RuntimeError("a message of many lines\nabout kernels")
        return plain(input_values, **rest)

    monkeypatch.setattr(opened.model, "forward", picky)
    short, long = predict([noise(1.0), noise(2.0)], opened, sampling_rate=RATE, progress=False)
    assert (short.status, short.reason) == ("refused", "the model cannot take it (RuntimeError)")
    assert long.status == "answered"


def no_head(folder: Path) -> None:
    saved(folder, Wav2Vec2Model(tiny_wav2vec2()), Wav2Vec2FeatureExtractor())


def of_text(folder: Path) -> None:
    BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(folder)


def many_labels(folder: Path) -> None:
    config = tiny_wav2vec2(num_labels=3, problem_type="multi_label_classification")
    saved(folder, Wav2Vec2ForSequenceClassification(config), Wav2Vec2FeatureExtractor())


def one_label(folder: Path) -> None:
    saved(folder, Wav2Vec2ForSequenceClassification(tiny_wav2vec2(num_labels=1)), Wav2Vec2FeatureExtractor())


def no_extractor(folder: Path) -> None:
    tiny_model().save_pretrained(folder)


def cut_short(folder: Path) -> None:
    saved(folder, tiny_model())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def other_labels(folder: Path) -> None:
    saved(folder, tiny_model())
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "a", "1": "b"}
    (folder / "config.json").write_text(json.dumps(config))


def of_somebody(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}')
    (folder / "evil.py").write_text("raise SystemExit('was run')\n")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def adapter_without_a_layer(folder: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from safetensors.numpy import load_file, save_file

    base = tiny_model()
    base.save_pretrained(folder / "base")
    lora = get_peft_model(base, LoraConfig(target_modules=base.lora_target_modules(), modules_to_save=["head"]))
    lora.peft_config["default"].base_model_name_or_path = str(folder / "base")
    lora.save_pretrained(folder)
    weights = load_file(path := folder / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[1:]), path)


def wrong_value(folder: Path) -> None:
    saved(folder, tiny_model())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "encoder_config": 3}))


def wrong_extractor(folder: Path) -> None:
    saved(folder, tiny_model())
    (folder / "preprocessor_config.json").write_text('{"feature_extractor_type": 3}')


# The doors through which a model comes in; benchmark opens it as evaluate does.
DOORS: dict[str, Callable[[Path], object]] = {
    "predict": open_model,
    "evaluate and calibrate": lambda folder: (load_model(str(folder)), load_extractor(str(folder))),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "holds no model \\(no config.json\\)"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (no_head, "has no trained audio classifier: it lacks 4 weights"),
        (of_text, "is of a kind that has no audio classifier"),
        (no_extractor, "cannot be loaded"),
        (cut_short, "model.safetensors"),
        (other_labels, "weights of another shape than its config.json says, '.*bias' the first"),
        (of_somebody, "brings Python code of its own"),
        (adapter, "is an adapter that does not name its base model"),
        (adapter_without_a_layer, "has no trained audio classifier: it lacks 1 weights"),
        (wrong_value, "cannot be loaded .* Restore it"),
        (wrong_extractor, "cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_such_model_is_one_line(make, words, door, tmp_path):
    make(tmp_path)
    with pytest.raises(ValueError, match=words) as caught:
        DOORS[door](tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("make", "words"), [(many_labels, ""), (one_label, " \\(1 labels")])
def test_a_model_that_does_not_choose_among_classes_is_one_line(make, words, tmp_path):
    make(tmp_path)
    with pytest.raises(ValueError, match=f"does not choose one of several classes{words}") as caught:
        open_model(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_model_that_is_loaded_already_answers_as_from_its_folder(tiny):
    loaded = open_model(tiny_model().eval(), extractor=tiny.extractor)
    ours, folders = (predict(noise(1.0), one, sampling_rate=RATE, progress=False)[0] for one in (loaded, tiny))
    assert ours.probabilities == folders.probabilities
    for model, extractor in ((tiny.model, None), (tiny.name, tiny.extractor), (None, tiny.extractor)):
        with pytest.raises(ValueError, match="allowed: a loaded model with its feature extractor"):
            open_model(model, extractor=extractor)


def test_an_adapter_that_was_merged_is_a_loaded_model(tiny, tmp_path):
    from peft import LoraConfig, get_peft_model

    base = tiny_model()
    lora = get_peft_model(base, LoraConfig(target_modules=base.lora_target_modules(), modules_to_save=["head"]))
    merged = open_model(lora.merge_and_unload(), extractor=tiny.extractor)
    ours, plain = (predict(noise(1.0), one, sampling_rate=RATE, progress=False)[0] for one in (merged, tiny))
    for name, share in plain.probabilities.items():
        assert ours.probabilities[name] == pytest.approx(share, abs=1e-6)


def test_a_file_and_a_device_that_is_not_here(tiny):
    with pytest.raises(ValueError, match="is a file; give the folder"):
        open_model(Path(tiny.name) / "model.safetensors")
    for device in ("tpu9", "meta", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{device}' is not here"):
            open_model(tiny.name, device=device)
