"""Families whose head takes the frames of a spectrum or of any encoder: properties that all of them have."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from helpers.made_data import tiny_config, tiny_model
from helpers.tiny_encoders import batch, clips
from transformers import AutoModelForAudioClassification
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from hf_ambiser.models import available_families, load_family
from hf_ambiser.models.frame_classifier import FrameClassifier


FAMILIES = [family for family in available_families() if issubclass(load_family(family), FrameClassifier)]
# What a family may be told beside its defaults.
READINGS = {
    "cnn_attention": [{"attention": "none"}, {"pooled_layers": [2, 3]}],
    "attention_lstm": [{"feature_attention": "utterance", "bidirectional": True}, {"feature_attention": "none"}],
    "capsnet": [{"length_scale": 10.0, "window_frames": 10, "window_shift": 3}],
    "alexnet": [{"image_side": 70}],
    "amsnet": [{"fusion": "concatenation", "bidirectional": True}],
}
WHISPER = {"layers": "weighted_sum", "standardize_frames": True, "frames_averaged": 2, "projection_size": 12}
SQUEEZE = {"amsnet": {"squeeze_factor": 1}}
CASES = [
    *((family, "log-mel", {}) for family in FAMILIES),
    *((family, "log-mel", fields) for family in FAMILIES for fields in READINGS[family]),
    # With so few channels, the ReLU between squeeze and excitation may be zero for all utterances at the start.
    *((family, "log-mel", {"input": "encoder", **SQUEEZE.get(family, {})}) for family in FAMILIES),
    *((family, "whisper", WHISPER) for family in FAMILIES),
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def build(family, encoder="log-mel", **fields):
    config = tiny_config(family=family, encoder=encoder).to_dict()
    return tiny_model(load_family(family).config_class(**{**config, **fields}), family=family).eval()


def answers(model, inputs):
    outputs = model(**inputs)
    assert outputs.embedding.dtype == torch.float32 and outputs.loss is None
    return torch.cat([outputs.logits, outputs.embedding], dim=-1)


@torch.no_grad()
@pytest.mark.parametrize(("family", "encoder", "fields"), CASES)
def test_an_utterance_has_the_same_answer_alone_padded_and_in_any_order(family, encoder, fields):
    model, waves = build(family, encoder, **fields), clips((1, 399, 4000, 16000, 21000))
    alone = torch.cat([answers(model, {"input_values": wave[None]}) for wave in waves])
    together = answers(model, batch(waves, padding=3.0))
    order = [3, 0, 4, 2, 1]
    turned = answers(model, batch([waves[i] for i in order]))
    assert torch.isfinite(alone).all() and (alone[2:] - alone[2]).abs().max() > 1e-4
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(turned, alone[order], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_has_no_gradient(family):
    model, inputs = build(family), batch(clips((4000, 9000)))
    inputs["input_values"].requires_grad_()
    model(**inputs).logits.square().sum().backward()
    gradient = inputs["input_values"].grad
    assert gradient[0, :4000].any() and not gradient[0, 4000:].any()


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("encoder", ["log-mel", "whisper"])
def test_a_saved_model_is_the_same_where_the_package_is_not_installed(family, encoder, tmp_path):
    model, inputs = build(family, encoder), batch(clips((4000, 9000)))
    for parameter in model.parameters():  # no two weights alike, so that none can be taken for another
        parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    expected = answers(model, inputs)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(again) is load_family(family)
    torch.testing.assert_close(answers(again, inputs), expected, atol=0, rtol=0)
    half = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for name, p in half.head.named_parameters() if "layer_mix" not in name} == {torch.bfloat16}
    torch.testing.assert_close(answers(half, inputs), expected, atol=0.3, rtol=0.3)
    # The class of the copied files, which import nothing of the package (`tests/test_hub_folder.py`).
    elsewhere = get_class_from_dynamic_module(model.config.model_class, str(tmp_path))
    assert elsewhere.__module__.startswith("transformers_modules")
    torch.testing.assert_close(answers(elsewhere.from_pretrained(tmp_path), inputs), expected, atol=0, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_autocast_is_near_float32(family):
    model, inputs = build(family), batch(clips((4000, 9000)))
    with torch.no_grad():
        exact = model(**inputs).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(**inputs, labels=torch.tensor([0, 1]))
    assert outputs.loss.dtype == outputs.embedding.dtype == torch.float32
    torch.testing.assert_close(outputs.logits.float(), exact, atol=0.1, rtol=0.05)


@pytest.mark.parametrize(("family", "encoder", "fields"), CASES[: -len(FAMILIES)])
def test_every_weight_learns_from_votes(family, encoder, fields):
    model = build(family, encoder, **fields).train()
    votes = torch.softmax(torch.randn(3, 4), dim=-1)
    outputs = model(**batch(clips((4000, 9000, 16000))), labels=votes)
    torch.testing.assert_close(outputs.loss, -(votes * outputs.logits.log_softmax(-1)).sum(-1).mean())
    outputs.loss.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_activation_checkpointing_gives_the_same_gradients(family, reentrant):
    model = build(family, dropout=0.0).train()
    one, two = batch(clips((4000, 9000))), batch(clips((12000, 700)))

    def gradients():
        model.zero_grad()
        loss = model(**one, labels=torch.tensor([0, 1])).loss + model(**two, labels=torch.tensor([2, 1])).loss
        loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    plain = gradients()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    assert any(getattr(part, "gradient_checkpointing", False) for part in model.head.modules())
    for name, value in gradients().items():
        torch.testing.assert_close(value, plain[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_trains_an_encoder_and_comes_back_with_the_head(family, tmp_path):
    model, inputs = build(family, "whisper"), batch(clips((4000, 9000)))
    base = copy.deepcopy(model)
    wanted = peft.LoraConfig(
        r=2, target_modules=model.lora_target_modules(), modules_to_save=model.lora_modules_to_save
    )
    adapted = peft.get_peft_model(model, wanted)
    adapted(**inputs, labels=torch.tensor([0, 2])).loss.backward()
    lora = [p for name, p in adapted.named_parameters() if "lora_B" in name]
    assert lora and all(p.grad is not None and p.grad.any() for p in lora)
    with torch.no_grad():
        for p in [*lora, *adapted.model.head.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
        adapted.eval().save_pretrained(tmp_path)
        again = peft.PeftModel.from_pretrained(base, tmp_path).eval()
        torch.testing.assert_close(answers(again, inputs), answers(adapted, inputs))


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_encoder_leaves_the_head_to_learn_from_cached_frames(family):
    model, inputs = build(family, "whisper", **WHISPER), batch(clips((4000, 9000)))
    model.freeze_encoder()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"head"}
    assert not model.train().encoder.training and model.head.training
    frames, lengths = model.eval().encoder_frames(**inputs)
    cached = {"encoder_frames": frames, "encoder_lengths": lengths}
    torch.testing.assert_close(answers(model, cached), answers(model, inputs), atol=0, rtol=0)
    with pytest.raises(ValueError, match="got neither input_values nor encoder_frames"):
        model()


@pytest.mark.parametrize("family", FAMILIES)
def test_without_an_encoder_there_is_nothing_to_freeze_to_adapt_or_to_cache(family, tmp_path):
    model = build(family)
    for call in (model.freeze_encoder, model.freeze_feature_encoder, model.lora_target_modules):
        with pytest.raises(ValueError, match="has input='log_mel' and none.*model_fields"):
            call()
    with pytest.raises(ValueError, match="encoder_frames needs an encoder"):
        model(encoder_frames=torch.zeros(1, 1, 4, 16), encoder_lengths=torch.tensor([4]))
    with pytest.raises(ValueError, match="input='log_mel' and got no input_values"):
        model()
    with pytest.raises(ValueError, match="input is 'log_mel'; allowed with an encoder: 'encoder' only"):
        type(model).from_encoder(tmp_path, input="log_mel")


def test_spectrum_and_spec_augment_are_those_of_the_log_mel_encoder():
    config = tiny_config(family="cnn_attention", dropout=0.5)
    model = tiny_model(config, family="cnn_attention")
    seen = []
    model.head.register_forward_pre_hook(lambda head, given: seen.append(given))
    inputs = batch(clips((16000, 9000)))
    for mode in (True, False):
        model.train(mode)(**inputs)
    (masked, _), (frames, valid) = seen
    torch.testing.assert_close(frames, model.frontend(inputs["input_values"]))
    assert valid.sum(1).tolist() == [(n - 400) // 160 + 1 for n in (16000, 9000)]
    changed = masked != frames
    assert changed.any() and not masked[changed].any() and not (frames == 0).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_card_can_say_what_a_family_is(family):
    config_class = load_family(family).config_class
    plain = config_class(num_labels=3)
    assert plain.describe_frames() == "a log-mel spectrum every 10 ms"
    said = [config_class(num_labels=3, **fields).describe() for fields in READINGS[family]]
    assert plain.describe() not in (said if family != "cnn_attention" else said[:1])
    around = config_class(num_labels=3, input="encoder", frames_averaged=5, projection_size=40)
    assert around.describe() == f"means of 5 neighbouring frames, then a linear layer of 40, then {plain.describe()}"
    assert around.describe_frames() == "a logmel encoder trained from scratch"


@pytest.mark.parametrize(
    ("family", "fields", "words"),
    [
        ("capsnet", {"input": "mfcc"}, "CapsNetConfig.input is 'mfcc'; allowed: one of log_mel, encoder"),
        ("capsnet", {"encoder_config": {"model_type": "wav2vec2"}}, "input is 'log_mel'; allowed: encoder, because"),
        ("capsnet", {"layers": "weighted_sum"}, "layers is 'weighted_sum'; allowed: 'last', unless input"),
        ("capsnet", {"standardize_frames": True}, "standardize_frames is True; allowed: False, unless input"),
        ("capsnet", {"frames_averaged": 5}, "frames_averaged is 5; allowed: 1, unless input"),
        ("capsnet", {"projection_size": 0}, "projection_size is 0; allowed: None, or a whole number of at least 1"),
        ("capsnet", {"window_shift": 41}, "window_shift is 41; allowed: a whole number from 1 to window_frames"),
        ("capsnet", {"channels": (15, 16, 16)}, "channels is .*; allowed: 3 whole numbers of at least 1, the first"),
        ("capsnet", {"routing_iterations": 0}, "routing_iterations is 0"),
        ("capsnet", {"length_scale": 0.0}, "length_scale is 0.0; allowed: None, or a number above 0"),
        ("cnn_attention", {"channels": (16, 32)}, "channels is .*; allowed: 5 whole numbers"),
        ("cnn_attention", {"pooled_layers": (0, 1)}, r"pooled_layers is \[0, 1\]; allowed: numbers of layers from 1"),
        ("cnn_attention", {"attention": "mean"}, "attention is 'mean'; allowed: one of softmax, none"),
        ("attention_lstm", {"feature_attention": "both"}, "feature_attention is 'both'; allowed: one of frame"),
        ("attention_lstm", {"bidirectional": 1}, "bidirectional is 1; allowed: true or false"),
        ("attention_lstm", {"dropout": 1.0}, r"dropout is 1.0; allowed: in \[0, 1\)"),
        ("alexnet", {"image_side": 62}, "image_side is 62; allowed: a whole number from 63"),
        ("amsnet", {"fusion": "sum"}, "fusion is 'sum'; allowed: one of attention, concatenation"),
        ("amsnet", {"squeeze_factor": 0}, "squeeze_factor is 0; allowed: a whole number from 1"),
    ],
)
def test_a_wrong_field_is_named(family, fields, words):
    with pytest.raises(ValueError, match=words):
        load_family(family).config_class(**fields)
