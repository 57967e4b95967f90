"""Fields of configurations: a value of a wrong type, and a field that nothing of the model reads, are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers.made_data import tiny_config, tiny_model
from transformers import PreTrainedConfig

from hf_ambiser.models import LogMelConfig, available_families, load_family
from hf_ambiser.models.field_types import all_fields
from hf_ambiser.runs.build_model import build_model
from hf_ambiser.training.model_arguments import ModelArguments


CONFIGS = [LogMelConfig, *(load_family(family).config_class for family in available_families())]
# By the beginning of the declared type: what has another type.
WRONG = {
    "str": [7, True, ["mean"]],
    "bool": ["yes", 1, [True]],
    "int": ["7", 1.5, True, [7], {}, float("nan")],
    "float": ["0.5", True, [0.5], {}, float("nan"), float("inf")],
    "Sequence[int]": [16, "16", ["16"], [1.5], [True]],
    "Sequence[Sequence[int]]": [2, [2, 2], "22", [["2", "2"]]],
}


def declared(config_class: type) -> dict[str, str]:
    """The type of every field, as it is written, without what may stand beside it."""
    found: dict[str, str] = {}
    for one in config_class.__mro__:
        if issubclass(one, PreTrainedConfig) and one is not PreTrainedConfig:
            found = one.__init__.__annotations__ | found
    return {name: found[name].removesuffix(" | None") for name in all_fields(config_class)}


CASES = [(one, name, value) for one in CONFIGS for name, kind in declared(one).items() for value in WRONG[kind]]


@pytest.mark.parametrize("config_class", CONFIGS)
def test_every_field_of_a_configuration_is_among_the_cases(config_class):
    fields = {name for one, name, _ in CASES if one is config_class}
    assert fields == set(all_fields(config_class)) and len(fields) >= 8
    assert config_class is LogMelConfig or {"layers", "standardize_frames", "frames_averaged"} <= fields
    config = config_class()
    assert fields <= vars(config).keys()
    # The defaults have the types that are declared, also as a file gives them.
    plain = {name: getattr(config, name) for name in fields}
    assert {name: getattr(config_class(**copy.deepcopy(plain)), name) for name in fields} == plain


@pytest.mark.parametrize(("config_class", "name", "value"), CASES)
def test_a_value_of_another_type_is_refused_in_one_line(config_class, name, value):
    with pytest.raises(ValueError) as caught:
        config_class(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"{config_class.__name__}.{name} is {value!r}; allowed: ") and "\n" not in text


@pytest.mark.parametrize("fields", [{"hidden_size": "a"}, {"hidden_size": [8]}])
def test_a_field_of_transformers_encoders_too(fields, tmp_path):
    arguments = ModelArguments(encoder_fields={"model_type": "wav2vec2", **fields})
    with pytest.raises(ValueError, match="encoder_fields or model_fields: .*hidden_size") as caught:
        build_model(arguments, "prototype", ["a", "b"], tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factor", [0, 7, 100])
def test_a_squeeze_factor_leaves_a_channel(factor):
    with pytest.raises(ValueError, match=r"squeeze_factor is \d+; allowed: a whole number from 1 to .*channels \(6\)"):
        load_family("amsnet").config_class(channels=[6, 8], squeeze_factor=factor)
    load_family("amsnet").config_class(channels=[6, 8], squeeze_factor=6)


# Families that may take a spectrum, or nothing, in place of an encoder: family and fields.
WITHOUT_ENCODER = [
    *((f, {"input": "log_mel"}) for f in available_families() if "input" in all_fields(load_family(f).config_class)),
    ("blstm", {"input": "acoustic32"}),
    ("fusion", {"variant": "spatial"}),
]
OTHER = {
    "hidden_size": 24, "sampling_rate": 16400, "frame_length": 380, "hop_length": 170, "n_fft": 420, "n_mels": 18,
    "min_frequency": 60.0, "max_frequency": 7000.0, "mel_floor": 1000.0, "log_mel_mean": -4.0, "log_mel_std": 3.0,
    "conv_channels": [8, 4], "conv_strides": [[2, 1], [2, 2]], "conv_kernel_size": 5, "dropout": 0.4,
    "layer_norm_eps": 1e-3, "norm_over": "frame", "mask_time_prob": 0.6, "mask_time_length": 4, "mask_freq_width": 9,
}  # fmt: skip


def trained(family: str, fields: dict[str, Any], encoder_fields: dict[str, Any]) -> Any:
    """What a model answers in training, with the same weights at the start and the same masks."""
    config = tiny_config(dropout=0.3, family=family).to_dict() | fields
    config["encoder_config"] = config["encoder_config"] | encoder_fields
    model = tiny_model(load_family(family).config_class(**config), family=family).train()
    torch.manual_seed(1)
    acoustic = fields == {"input": "acoustic32"}
    return model(**{"input_features": torch.randn(2, 60, 32)} if acoustic else {"input_values": torch.randn(2, 16000)})


@pytest.mark.parametrize(("family", "fields"), WITHOUT_ENCODER)
def test_the_encoders_fields_that_are_allowed_are_those_that_act(family, fields, tmp_path):
    config_class = load_family(family).config_class
    acting = config_class.acting_encoder_fields(**fields)
    assert OTHER.keys() == set(all_fields(LogMelConfig)) and set(acting) <= OTHER.keys()
    plain = trained(family, fields, {}).logits
    changes = {name for name in OTHER if not torch.equal(trained(family, fields, {name: OTHER[name]}).logits, plain)}
    assert changes == set(acting)
    for name in OTHER.keys() - set(acting):
        arguments = ModelArguments(model_family=family, model_fields=fields, encoder_fields={name: OTHER[name]})
        with pytest.raises(ValueError, match=rf"encoder_fields has \['{name}'\].*allowed: ") as caught:
            build_model(arguments, family, ["a", "b"], tmp_path)
        assert f"allowed: {', '.join(acting) or 'none'}. Leave {name} out, or set " in str(caught.value)


@pytest.mark.parametrize("family", available_families())
def test_an_unknown_field_is_answered_with_those_of_the_family(family, tmp_path):
    config_class = load_family(family).config_class
    arguments = ModelArguments(model_family=family, model_fields={"standardise_frames": True})
    with pytest.raises(ValueError, match=r"has \['standardise_frames'\] \(did you mean 'standardize_frames'\?\)") as e:
        build_model(arguments, family, ["a", "b"], tmp_path)
    assert str(e.value).endswith(f"allowed: fields of {config_class.__name__}: {', '.join(all_fields(config_class))}.")
    assert "encoder_config" not in all_fields(config_class) and "chunk_size_feed_forward" not in str(e.value)
    for name in ("encoder_config", "id2label", "label2id"):
        with pytest.raises(ValueError, match=rf"model_fields has \['{name}'\]"):
            build_model(ModelArguments(model_family=family, model_fields={name: {}}), family, ["a", "b"], tmp_path)
