"""The frames of all layers, their weighted sum, and what stands between them and the classifier."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from helpers.tiny_encoders import ENCODERS, answers, batch, build, clips
from transformers import Wav2Vec2Model, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from hf_ambiser.models import (
    BLSTMConfig,
    BLSTMForAudioClassification,
    FusionConfig,
    FusionForAudioClassification,
    PrototypeConfig,
    PrototypeForAudioClassification,
)
from hf_ambiser.models.layer_mix import LayerMix
from hf_ambiser.models.valid_frames import average_neighbours


# Of each kind that has layers to sum, one encoder.
SUMMED = [name for name in ENCODERS if name != "log-mel"]
FAMILIES = {
    "prototype": (
        PrototypeConfig,
        PrototypeForAudioClassification,
        {"projection_size": 6, "recurrent_size": 3, "pooling": "attention_std"},
    ),
    "fusion": (FusionConfig, FusionForAudioClassification, {"segment_seconds": 1.5}),
    "blstm": (BLSTMConfig, BLSTMForAudioClassification, {"input": "encoder", "dense_hidden_size": 8}),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def make(family, encoder="whisper", **fields):
    config_class, model_class, own = FAMILIES[family]
    return model_class(config_class(ENCODERS[encoder], num_labels=3, **{**own, **fields})).eval()


# ---- the layers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUMMED)
@torch.no_grad()
def test_frames_of_all_layers_do_not_depend_on_the_batch(name):
    model = build(name, layers="weighted_sum")
    waveforms = clips()
    together, counts = model.encoder_frames(**batch(waveforms, padding=3.0))
    n_layers = model.config.encoder_config.num_hidden_layers + 1
    for waveform, frames, n in zip(waveforms, together, counts.tolist(), strict=True):
        alone, (m,) = model.encoder_frames(waveform[None])
        assert alone.shape[1] == n_layers == model.frame_shape[0] and m == n
        torch.testing.assert_close(frames[:, :n], alone[0, :, :n], atol=5e-5, rtol=1e-5)
    last, _ = model.encoder_adapter.encode(waveforms[-1][None], torch.tensor([len(waveforms[-1])]))
    torch.testing.assert_close(together[-1, -1, : counts[-1]], last[0, : counts[-1]], atol=5e-5, rtol=1e-5)
    moved = (together[-1, 1:] - together[-1, :-1]).abs().amax(dim=(1, 2))
    assert (moved > 1e-3).all(), "two layers are alike"


@torch.no_grad()
def test_layers_are_those_of_transformers():
    waveform = clips((9000,))[0][None]
    model = build("wav2vec2 layer norm", layers="weighted_sum")
    theirs = Wav2Vec2Model(model.encoder.config).eval()
    theirs.load_state_dict(model.encoder.state_dict())
    expected = theirs(waveform, output_hidden_states=True)
    ours = model.encoder_frames(waveform)[0][0]
    for layer, other in zip(ours[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(layer, other[0], atol=1e-5, rtol=1e-5)
    # After the last layer there is a norm here, which transformers' tuple leaves out.
    torch.testing.assert_close(ours[-1], expected.last_hidden_state[0], atol=1e-5, rtol=1e-5)

    model = build("whisper padded", layers="weighted_sum")
    whisper = WhisperEncoder(model.encoder.config).eval()
    whisper.load_state_dict(model.encoder.state_dict())
    extractor = WhisperFeatureExtractor(chunk_length=1)
    features = extractor(waveform[0].numpy(), sampling_rate=16000, return_tensors="pt").input_features
    expected = whisper(features, output_hidden_states=True)
    frames, (n,) = model.encoder_frames(waveform)
    for layer, other in zip(frames[0], expected.hidden_states, strict=True):
        torch.testing.assert_close(layer[:n], other[0, :n], atol=1e-4, rtol=1e-4)


def test_a_layer_that_was_dropped_gives_what_it_got():
    model = build("wav2vec2 group norm", layers="weighted_sum").train()
    model.encoder.config.layerdrop = 1.0
    frames, _ = model.encoder_frames(clips((9000,))[0][None])
    assert frames.shape[1] == 3
    torch.testing.assert_close(frames[0, 0], frames[0, 2])


def test_log_mel_has_no_layers_to_sum():
    with pytest.raises(
        ValueError, match=r"layers is 'weighted_sum'.*ambiser_logmel.*different sizes; allowed: 'last'"
    ):
        build("log-mel", layers="weighted_sum")
    with pytest.raises(ValueError, match=r"layers is 'all'; allowed: one of last, weighted_sum"):
        PrototypeConfig(layers="all")
    with pytest.raises(ValueError, match="'spatial' has no encoder"):
        FusionConfig(ENCODERS["whisper"], variant="spatial", layers="weighted_sum")
    with pytest.raises(ValueError, match="unless input is 'encoder'"):
        BLSTMConfig(layers="weighted_sum")


# ---- the sum --------------------------------------------------------------------------------------------------------


def by_hand(frames: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Frames of one utterance (L, T, H) -> their sum (T, H), value by value."""
    shares = [w.exp().item() for w in weight]
    out = torch.zeros(frames.shape[1:])
    for t in range(frames.shape[1]):
        for h in range(frames.shape[2]):
            for layer in range(len(frames)):
                value = (frames[layer, t, h] - mean[layer, h]) * scale[layer, h]
                out[t, h] += shares[layer] / sum(shares) * value
    return out


@pytest.mark.parametrize("standardize", [False, True])
@torch.no_grad()
def test_the_sum_is_as_it_is_written(standardize):
    mix = LayerMix(3, 5, standardize)
    mix.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
    layers = torch.randn(2, 3, 4, 5) * torch.tensor([1.0, 10.0, 100.0])[None, :, None, None] + 7
    lengths = torch.tensor([4, 2])
    mean, scale = torch.zeros(3, 5), torch.ones(3, 5)
    if standardize:
        mix.fit([(layers[:1], lengths[:1]), (layers[1:], lengths[1:])])
        valid = torch.cat([layers[0, :, :4], layers[1, :, :2]], dim=1)
        mean, scale = valid.mean(1), 1 / valid.std(1, unbiased=False)
        torch.testing.assert_close(mix.mean, mean)
        torch.testing.assert_close(mix.scale, scale)
        assert not mix.needs_fit
    for got, frames in zip(mix(layers), layers, strict=True):
        torch.testing.assert_close(got, by_hand(frames, mix.weight, mean, scale), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_value_that_never_changes_and_a_huge_one_do_no_harm():
    mix = LayerMix(1, 3, standardize=True)
    frames = torch.randn(1, 1, 50, 3)
    frames[..., 0], frames[..., 1] = 2.0, 3e4 + frames[..., 1]
    mix.fit([(frames, torch.tensor([50]))])
    out = mix(frames)
    assert torch.isfinite(out).all() and out[..., 0].abs().max() < 1e-3
    torch.testing.assert_close(out[..., 1:].std((0, 1), unbiased=False), torch.ones(2), atol=1e-2, rtol=0)
    low = copy.deepcopy(mix).to(torch.bfloat16)
    assert low.mean.dtype == torch.float32 and torch.equal(low.mean, mix.mean)


def test_frames_can_be_scaled_without_a_sum():
    model = make("prototype", standardize_frames=True)
    mix = model.head.layer_mix
    assert mix.weight is None and mix.needs_fit
    inputs = batch(clips((4000, 30000)))
    before = model(**inputs).logits
    mix.fit([model.encoder_frames(**inputs)])
    assert (model(**inputs).logits - before).abs().max() > 1e-3
    torch.testing.assert_close(
        model.to(torch.bfloat16)(**inputs).logits.float(), model.float()(**inputs).logits, atol=0.3, rtol=0.1
    )


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_layers_learn_and_are_saved_in_every_family(family, standardize, tmp_path):
    model = make(family, layers="weighted_sum", standardize_frames=standardize)
    inputs = batch(clips((4000, 30000)))
    if standardize:
        model.head.layer_mix.fit([model.encoder_frames(**inputs)])
    model(**inputs, labels=torch.tensor([0, 2])).loss.backward()
    gradient = model.head.layer_mix.weight.grad
    assert gradient.abs().max() > 0 and model.encoder.conv1.weight.grad.abs().max() > 0
    with torch.no_grad():
        model.head.layer_mix.weight.copy_(torch.tensor([1.0, 2.0, -3.0]))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.config.layers == "weighted_sum" and again.config.standardize_frames == standardize
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_trains_and_keeps_the_weights_of_layers(family, tmp_path):
    model = make(family, layers="weighted_sum", standardize_frames=True)
    base = copy.deepcopy(model)
    config = peft.LoraConfig(
        r=2, target_modules=model.lora_target_modules(), modules_to_save=model.lora_modules_to_save
    )
    wrapped = peft.get_peft_model(model, config)
    inputs = batch(clips((4000, 16000)))
    wrapped.get_base_model().head.layer_mix.fit([model.encoder_frames(**inputs)])
    wrapped(**inputs, labels=torch.tensor([0, 2])).loss.backward()
    (trained,) = [p for name, p in wrapped.named_parameters() if "modules_to_save" in name and "layer_mix" in name]
    assert trained.grad is not None and trained.grad.abs().max() > 0
    with torch.no_grad():
        trained.copy_(torch.tensor([1.0, 2.0, -3.0]))
    wrapped.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(base, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, wrapped(**inputs).logits, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["whisper", "wav2vec2 layer norm"])
def test_activation_checkpointing_gives_the_same_gradients(name, reentrant):
    config = copy.deepcopy(ENCODERS[name])
    for field in vars(config):  # without randomness, so that two passes can be compared
        if "dropout" in field or "layerdrop" in field or field.endswith("_prob"):
            setattr(config, field, 0.0)
    config.apply_spec_augment = False
    fields = {"num_labels": 3, "layers": "weighted_sum", "classifier_dropout": 0.0}
    plain = PrototypeForAudioClassification(PrototypeConfig(config, **fields)).train()
    inputs, labels = batch(clips((4000, 16000))), torch.tensor([0, 2])
    model = copy.deepcopy(plain)
    plain(**inputs, labels=labels).loss.backward()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model(**inputs, labels=labels).loss.backward()
    for (key, parameter), other in zip(plain.named_parameters(), model.parameters(), strict=True):
        if parameter.grad is not None:
            torch.testing.assert_close(other.grad, parameter.grad, atol=1e-5, rtol=1e-3, msg=key)


# ---- projection and pooling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", [None, 6])
@pytest.mark.parametrize("pooling", ["mean", "mean_std", "attention", "attention_std"])
@torch.no_grad()
def test_the_embedding_is_as_it_is_written(pooling, projection):
    model = build("whisper", pooling=pooling, projection_size=projection, layers="weighted_sum")
    head = model.head
    if head.attention is not None:
        assert not head.attention.weight.any(), "attention begins as the plain mean"
        head.attention.weight.copy_(torch.randn_like(head.attention.weight))
    waveforms = clips((16000, 3000, 1))
    embedding = model(**batch(waveforms)).embedding
    for waveform, got in zip(waveforms, embedding, strict=True):
        frames = list(model.encode(waveform[None])[0][0])
        if projection is not None:
            weight, bias = head.projection.weight, head.projection.bias
            frames = [torch.nn.functional.gelu(weight @ frame + bias) for frame in frames]
        scores = [0.0 if head.attention is None else (head.attention.weight[0] @ f).exp().item() for f in frames]
        shares = [1 / len(frames) if head.attention is None else s / sum(scores) for s in scores]
        mean = sum(share * frame for share, frame in zip(shares, frames, strict=True))
        expected = mean
        if pooling.endswith("_std"):
            variance = sum(share * (frame - mean) ** 2 for share, frame in zip(shares, frames, strict=True))
            expected = torch.cat([mean, variance.clamp_min(1e-6).sqrt()])
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert embedding.shape[1] == model.config.embedding_size


@torch.no_grad()
def test_pooling_by_attention_looks_at_valid_frames_only():
    model = build("whisper", pooling="attention_std", projection_size=6)
    model.head.attention.weight.copy_(torch.randn_like(model.head.attention.weight))
    waveforms = clips()
    alone = torch.cat([answers(model(w[None])) for w in waveforms])
    torch.testing.assert_close(answers(model(**batch(waveforms, padding=3.0))), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pooling": "max"}, "pooling is 'max'; allowed: one of mean, mean_std, attention, attention_std"),
        ({"projection_size": 0}, "projection_size is 0; allowed: None, or at least 1"),
        ({"projection_dropout": 0.1}, "projection_dropout is 0.1; allowed: in .* 0 without a projection_size"),
    ],
)
def test_a_wrong_field_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        PrototypeConfig(**fields)


# ---- given frames ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "layers"),
    [
        ("log-mel", "last"),
        *(
            (name, layers)
            for name in ("whisper", "wav2vec2 group norm", "sew-d")
            for layers in ("last", "weighted_sum")
        ),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_given_frames_are_as_good_as_waveforms(family, encoder, layers):
    model = make(family, encoder, layers=layers)
    inputs = batch(clips((40000, 1, 4000, 62000)))  # of fusion's segments of 1.5 s: two, one, one, three
    frames, lengths = model.encoder_frames(**inputs)
    expected = model(**inputs)
    waveform = inputs if model.needs_waveform else {}
    got = model(**waveform, encoder_frames=frames, encoder_lengths=lengths)
    torch.testing.assert_close(got.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.embedding, expected.embedding, atol=1e-5, rtol=1e-5)
    samples = inputs["attention_mask"].sum(-1)
    assert model.count_frames(samples).tolist() == lengths.tolist()


def test_frames_of_another_model_are_refused():
    model = build("whisper", layers="weighted_sum")
    with pytest.raises(ValueError, match=r"encoder_frames has shape \(1, 1, 5, 16\); allowed: \(B, 3, frames, 16\)"):
        model(encoder_frames=torch.zeros(1, 1, 5, 16), encoder_lengths=torch.tensor([5]))
    with pytest.raises(ValueError, match="got neither input_values nor encoder_frames"):
        model()


def test_a_frozen_encoder_stays_in_evaluation_mode():
    model = build("wav2vec2 group norm", pooling="mean_std")
    assert not model.encoder_is_frozen and model.train().encoder.training
    model.freeze_encoder()
    assert model.encoder_is_frozen and not model.train().encoder.training and model.head.training
    waveform = clips((9000,))[0][None]
    torch.testing.assert_close(model.encode(waveform)[0], model.encode(waveform)[0], atol=0, rtol=0)
    assert not model.eval().head.training


# ---- means of neighbouring frames -----------------------------------------------------------------------------------


def averaged_by_hand(frames, n):
    """One utterance's valid frames (L, T, H) -> their means, group after group."""
    groups = [frames[:, start : start + n] for start in range(0, frames.shape[1], n)]
    return torch.stack([sum(group.unbind(1)) / group.shape[1] for group in groups], dim=1)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 50])
def test_means_of_neighbours_are_those_by_hand_and_padding_is_in_none(n):
    lengths = torch.tensor([7, 1, 4])
    frames = torch.randn(3, 2, 9, 5)
    got, counts = average_neighbours(frames, lengths, n)
    for row, own, count, length in zip(got, frames, counts.tolist(), lengths.tolist(), strict=True):
        expected = averaged_by_hand(own[:, :length], n)
        assert count == expected.shape[1]
        torch.testing.assert_close(row[:, :count], expected)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_answers_on_averaged_frames_do_not_depend_on_the_batch_or_the_cache(family, name):
    model = make(family, name, frames_averaged=3)
    waveforms = clips()
    inputs = batch(waveforms, padding=2.0)
    together = model(**inputs).logits
    frames, counts = model.encoder_frames(**inputs)
    assert counts.tolist() == model.count_frames(torch.tensor([len(one) for one in waveforms])).tolist()
    needed = inputs if model.needs_waveform else {}
    torch.testing.assert_close(model(**needed, encoder_frames=frames, encoder_lengths=counts).logits, together)
    for waveform, logits in zip(waveforms, together, strict=True):
        torch.testing.assert_close(model(waveform[None]).logits[0], logits, atol=1e-4, rtol=1e-4)
    assert frames.shape[2] < make(family, name).encoder_frames(**inputs)[0].shape[2] / 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_card_says_that_frames_are_averaged_also_those_of_the_last_layer(family):
    words = "means of 3 neighbouring frames"
    assert words in make(family, frames_averaged=3).config.describe()
    assert words not in make(family).config.describe()


@pytest.mark.parametrize("value", [0, 1.5, True])
def test_a_number_of_frames_that_cannot_be_averaged_is_refused(value):
    with pytest.raises(ValueError, match="frames_averaged"):
        PrototypeConfig(frames_averaged=value)


# ---- a recurrent layer below the pooling ----------------------------------------------------------------------------


def test_the_recurrent_layer_is_torchs_own_and_knows_the_order_of_frames():
    model = make("prototype", projection_size=6, recurrent_size=4, pooling="mean_std")
    own, torchs = model.head.recurrent, torch.nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, parameter in own.forwards.named_parameters():
            getattr(torchs, name).copy_(parameter)
        for name, parameter in own.backwards.named_parameters():
            getattr(torchs, f"{name}_reverse").copy_(parameter)
        frames = torch.randn(2, 9, 6)
        torch.testing.assert_close(own(frames, torch.tensor([9, 5]))[1, :5], torchs(frames[1:, :5])[0][0])
        order = torch.randperm(9)
        valid = torch.ones(2, 9, dtype=torch.bool)
        encoded = torch.randn(2, 9, model.config.encoder_config.hidden_size)
        assert (model.head.embed(encoded, valid) - model.head.embed(encoded[:, order], valid)).abs().max() > 1e-3
    assert model.head.embed(encoded, valid).shape == (2, model.config.embedding_size)
