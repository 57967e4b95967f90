"""Every kind of encoder has the same properties; the kinds are found by the list of adapters."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import peft
import pytest
import torch
from helpers.tiny_encoders import ENCODERS, TINY_TRANSFORMER, answers, batch, build, clips, difference_alone_or_padded
from transformers import (
    AutoConfig,
    AutoModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from hf_ambiser.models import (
    PrototypeConfig,
    PrototypeForAudioClassification,
    encoder_unverified,
    encoders,
    register,
)


LEAKING = ("wav2vec2 group norm", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    register()


# ---- the list -------------------------------------------------------------------------------------------------------


def test_every_adapter_stands_in_the_list_and_has_a_tiny_encoder_here():
    files = {path.stem for path in Path(encoders.__file__).parent.glob("encoder_*.py")}
    listed = {adapter.__module__.rsplit(".", 1)[-1] for adapter in encoders.ADAPTERS}
    assert files == listed | {"encoder_adapter", "encoder_unverified"}, "encoders.py lacks an import and a place"
    types = encoders.supported_model_types()
    assert len(types) == len(set(types))
    assert {config.model_type for config in ENCODERS.values()} == set(types), "helpers/tiny_encoders.py lacks a kind"
    assert not set(types) & encoders.REFUSED.keys()


@pytest.mark.parametrize("model_type", encoders.REFUSED)
def test_a_refused_encoder_is_refused_with_its_reason(model_type):
    config = AutoConfig.for_model(model_type)
    with pytest.raises(ValueError, match=f"'{model_type}' is refused") as error:
        PrototypeForAudioClassification(PrototypeConfig(config))
    assert encoders.REFUSED[model_type] in str(error.value)


# ---- padding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_answer_is_the_same_alone_in_a_batch_and_in_any_order(name):
    model = build(name, pooling="mean_std")
    waveforms = clips()
    alone = torch.cat([answers(model(w[None])) for w in waveforms])
    # What stands in the padding must not matter either.
    together = answers(model(**batch(waveforms, padding=3.0)))
    order = [3, 0, 4, 2, 1]
    permuted = answers(model(**batch([waveforms[i] for i in order])))
    assert torch.isfinite(alone).all()
    assert (alone[2:, :3] - alone[2, :3]).abs().max() > 1e-4, "the model says the same about every clip"
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(permuted, alone[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*LEAKING, "sew-d"])
def test_without_the_repair_padding_leaks(name, monkeypatch):
    waveforms = clips((4000, 40000))
    torch.manual_seed(1)
    assert difference_alone_or_padded(build(name), waveforms) < 1e-5
    monkeypatch.setattr("hf_ambiser.models.encoder_wav2vec2.repair_padding", lambda encoder: None)
    torch.manual_seed(1)
    assert difference_alone_or_padded(build(name), waveforms) > 1e-3


@pytest.mark.parametrize("name", LEAKING)
@torch.no_grad()
def test_repaired_encoder_keeps_names_and_computes_the_same_without_padding(name, tmp_path):
    model = build(name)
    vanilla = AutoModel.from_config(ENCODERS[name]).eval()
    assert model.encoder.state_dict().keys() == vanilla.state_dict().keys()
    vanilla.load_state_dict(model.encoder.state_dict())
    waveform = clips((9000,))[0][None]
    expected = vanilla(waveform).last_hidden_state
    torch.testing.assert_close(model.encoder(waveform).last_hidden_state, expected)
    torch.testing.assert_close(model(waveform).embedding, expected.mean(1), atol=1e-5, rtol=1e-4)
    model.encoder.save_pretrained(tmp_path)
    again, report = type(vanilla).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    torch.testing.assert_close(again.eval()(waveform).last_hidden_state, expected)


@pytest.mark.parametrize("name", ENCODERS)
def test_short_clips_train(name):
    """SpecAugment is on in the configurations of transformers; a mask longer than the clip must not raise."""
    model = build(name).train()
    for lengths in ((1,), (1, 400), (3520,)):
        loss = model(**batch(clips(lengths)), labels=torch.tensor([0, 1][: len(lengths)])).loss
        loss.backward()
        assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ENCODERS)
def test_frame_lengths_and_minimum_samples(name):
    model = build(name)
    lengths = torch.tensor([model.minimum_samples, model.minimum_samples + 7001])
    group = getattr(model.config.encoder_config, "squeeze_factor", 1)  # SEW-D drops frames that do not fill a group
    for length, expected in zip(lengths, model.frame_lengths(lengths), strict=True):
        with torch.no_grad():
            assert model.encoder(torch.zeros(1, int(length))).last_hidden_state.shape[1] // group * group == expected
    assert model.frame_lengths(torch.tensor([1])) == model.frame_lengths(lengths[:1])


@pytest.mark.parametrize("name", ["log-mel", "wav2vec2 group norm", "whisper"])
@torch.no_grad()
def test_an_exported_model_still_looks_at_the_mask(name):
    model = build(name)
    inputs = batch(clips((4000, 9000)))
    whole = {"input_values": inputs["input_values"], "attention_mask": torch.ones_like(inputs["attention_mask"])}
    exported = torch.export.export(model, (), whole).module()
    torch.testing.assert_close(answers(exported(**inputs)), answers(model(**inputs)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_features_of_wav2vec2_bert_and_its_frames_are_those_of_transformers_of_each_utterance_alone():
    model = build("wav2vec2-bert").encoder
    theirs = Wav2Vec2BertModel(model.config).eval()
    theirs.load_state_dict(model.state_dict())
    waveforms = clips((8000, 9000, 16000))  # 48, 54 and 98 frames of 10 ms
    inputs = batch([*waveforms, waveforms[1][:8900]])  # 54 frames, without what fills no frame
    lengths = inputs["attention_mask"].sum(-1)
    features = model.features(inputs["input_values"], lengths)
    frames = model(**inputs).last_hidden_state
    for wave, row, mine in zip(waveforms, features, frames, strict=False):
        expected = SeamlessM4TFeatureExtractor()(wave.numpy(), sampling_rate=16000, return_tensors="pt")
        n = int(expected["attention_mask"].sum())
        torch.testing.assert_close(row[:n], expected["input_features"][0, :n], atol=2e-3, rtol=0)
        torch.testing.assert_close(mine[:n], theirs(**expected).last_hidden_state[0, :n], atol=2e-2, rtol=1e-2)


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_save_and_load(name, tmp_path):
    model = build(name, pooling="mean_std", prototype_temperature=0.3)
    for parameter in model.parameters():  # no two weights alike, so that none can be taken for another
        parameter.add_(0.01 * torch.randn_like(parameter))
    model.head.prototypes.copy_(torch.arange(model.head.prototypes.numel()).view_as(model.head.prototypes) / 7)
    model.save_pretrained(tmp_path)
    again = PrototypeForAudioClassification.from_pretrained(tmp_path)
    assert again.config.to_dict().items() >= {"pooling": "mean_std", "prototype_temperature": 0.3}.items()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    for (key, buffer), (_, other) in zip(model.named_buffers(), again.named_buffers(), strict=True):
        assert torch.equal(buffer, other), key
    inputs = batch(clips((4000, 9000)))
    torch.testing.assert_close(answers(again(**inputs)), answers(model(**inputs)), atol=0, rtol=0)
    half = PrototypeForAudioClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half.head.dense.weight.dtype == torch.bfloat16
    assert half.encoder.dtype == torch.bfloat16
    assert torch.equal(half.head.prototypes, model.head.prototypes)
    assert torch.equal(again.to(torch.bfloat16).head.prototypes, model.head.prototypes)
    for low in (half, again):
        assert low(**inputs).prototype_similarity.dtype == torch.float32
    eager = PrototypeForAudioClassification.from_pretrained(tmp_path, attn_implementation="eager")
    assert eager.encoder.config._attn_implementation == "eager"
    torch.testing.assert_close(answers(eager(**inputs)), answers(model(**inputs)), atol=1e-5, rtol=1e-4)


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
def test_lora_trains_and_comes_back_with_the_prototypes(name, tmp_path):
    model = build(name)
    base = copy.deepcopy(model)
    targets = model.lora_target_modules()
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, modules_to_save=["head"]))
    inputs = batch(clips((4000, 16000)))
    wrapped(**inputs, labels=torch.tensor([0, 2])).loss.backward()
    lora = {key: p for key, p in wrapped.named_parameters() if "lora_B" in key}
    # Every adapter acts: in WavLM the obvious targets get no gradient at all.
    assert lora and all(p.grad is not None and p.grad.abs().max() > 0 for p in lora.values())
    with torch.no_grad():
        for p in lora.values():
            p.add_(0.1 * torch.randn_like(p))
        wrapped.model.head.prototypes.copy_(torch.randn(3, model.config.embedding_size))
    wrapped.eval().save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    with torch.no_grad():
        expected = answers(wrapped(**inputs))
        torch.testing.assert_close(answers(again(**inputs)), expected)
        torch.testing.assert_close(answers(again.merge_and_unload()(**inputs)), expected, atol=1e-5, rtol=1e-4)


# Layers of WavLM and SEW-D share a tensor with a gradient, which reentrant checkpointing cannot recompute.
@pytest.mark.parametrize(
    ("name", "reentrant"),
    [(name, r) for name in ENCODERS for r in (False, True) if not (r and name in ("wavlm", "sew-d"))],
)
def test_activation_checkpointing_gives_the_same_gradients(name, reentrant):
    config = copy.deepcopy(ENCODERS[name])
    # Without dropout and SpecAugment, which draw from generators that checkpointing leaves alone (numpy's).
    for field in (
        "dropout",
        "hidden_dropout",
        "attention_dropout",
        "activation_dropout",
        "feat_proj_dropout",
        "conformer_conv_dropout",
        "layerdrop",
    ):
        if hasattr(config, field):
            setattr(config, field, 0.0)
    config.mask_time_prob = config.mask_feature_prob = 0.0
    model = PrototypeForAudioClassification(PrototypeConfig(config, num_labels=3, classifier_dropout=0.0)).train()
    one, two = batch(clips((4000, 9000))), batch(clips((12000, 700)))

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        # Two forward passes before the backward: the recompute of the first must not take the second's lengths.
        loss = model(**one, labels=torch.tensor([0, 1])).loss + model(**two, labels=torch.tensor([2, 1])).loss
        loss.backward()
        return {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    checkpointed = gradients()
    assert plain.keys() == checkpointed.keys()
    for key, value in checkpointed.items():
        torch.testing.assert_close(value, plain[key], atol=1e-6, rtol=1e-4)


def test_freezing():
    model = build("wav2vec2 group norm").train()
    model.freeze_feature_encoder()
    trainable = {key for key, p in model.named_parameters() if p.requires_grad}
    assert not any("feature_extractor" in key for key in trainable) and any(
        "encoder.encoder" in key for key in trainable
    )
    model.freeze_encoder()
    assert {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad} == {"head"}
    model(**batch(clips((4000,))), labels=torch.tensor([1])).loss.backward()
    log_mel = build("log-mel")
    log_mel.freeze_feature_encoder()
    assert all(p.requires_grad for p in log_mel.parameters())


@pytest.mark.parametrize("name", ENCODERS)
def test_the_lowest_layers_freeze_with_all_below_them(name):
    model = build(name, classifier_dropout=0.0).train()
    adapter = model.encoder_adapter
    n = len(adapter.layers)
    model.freeze_lowest_layers(n - 1)
    trainable = {key for key, p in model.named_parameters() if p.requires_grad}
    top = {id(p) for p in adapter.layers[n - 1].parameters()}
    assert top <= {id(p) for p in model.parameters() if p.requires_grad}
    model(**batch(clips((4000, 9000))), labels=torch.tensor([0, 1])).loss.backward()
    assert {key for key, p in model.named_parameters() if p.grad is not None} <= trainable
    below = [p for layer in adapter.layers[: n - 1] for p in layer.parameters()]
    below += [
        p
        for part in adapter.below_layers
        for p in ([part] if isinstance(part, torch.nn.Parameter) else part.parameters())
    ]
    assert not any(p.requires_grad for p in below)
    for wrong in (0, n + 1):
        with pytest.raises(ValueError, match=f"lowest {wrong} layers.*allowed: 1 to {n}"):
            model.freeze_lowest_layers(wrong)


@pytest.mark.parametrize("name", ENCODERS)
def test_all_weights_that_are_not_fixed_learn(name):
    """Without SpecAugment, whose mask embedding is used by chance only."""
    config = copy.deepcopy(ENCODERS[name])
    config.mask_time_prob = config.mask_feature_prob = config.layerdrop = 0.0
    model = PrototypeForAudioClassification(PrototypeConfig(config, num_labels=3)).train()
    model(**batch(clips((4000, 16000, 40000))), labels=torch.tensor([0, 1, 2])).loss.backward()
    still = {key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    # The bias of the keys shifts all scores of a query alike, which the softmax ignores.
    assert {key for key in still if "masked_spec_embed" not in key and not key.endswith("k_proj.bias")} == set()


@pytest.mark.parametrize("name", ENCODERS)
def test_the_extractor_gives_raw_waveforms_with_a_mask(name):
    model = build(name)
    waveforms = [w.numpy() for w in clips((700, 9000))]
    inputs = model.make_feature_extractor()(waveforms, sampling_rate=16000, padding=True, return_tensors="pt")
    assert inputs["input_values"].shape == inputs["attention_mask"].shape == (2, 9000)
    assert inputs["attention_mask"].sum(-1).tolist() == [700, 9000]
    scaled = model.encoder_adapter.scales_waveforms
    assert torch.equal(inputs["input_values"][1], torch.from_numpy(waveforms[1])) != scaled


# ---- encoders that nobody has checked -------------------------------------------------------------------------------


class OtherConfig(Wav2Vec2Config):
    model_type = "wav2vec2_other"


class OtherModel(Wav2Vec2Model):
    config_class = OtherConfig


def test_other_encoders_are_repaired_with_one_warning(caplog):
    AutoModel.register(OtherConfig, OtherModel, exist_ok=True)
    config = OtherConfig(**{**TINY_TRANSFORMER, "mask_time_prob": 0.0})
    encoder_unverified.warned_model_types.discard("wav2vec2_other")
    with caplog.at_level(logging.WARNING, logger="hf_ambiser"):
        for _ in range(2):
            model = PrototypeForAudioClassification(PrototypeConfig(config, num_labels=3)).eval()
    warnings = [r.getMessage() for r in caplog.records if "wav2vec2_other" in r.getMessage()]
    assert len(warnings) == 1
    assert difference_alone_or_padded(model, clips((4000, 16000))) < 1e-5
