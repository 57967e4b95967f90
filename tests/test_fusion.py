"""The fusion model: stages in the paper's shapes, a literal transcription, segments, no regard to padding."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from hf_ambiser.models import LogMelConfig
from hf_ambiser.models.configuration_fusion import VARIANTS, FusionConfig
from hf_ambiser.models.kaldi_log_mel import KaldiLogMel
from hf_ambiser.models.modeling_fusion import FusionForAudioClassification


WAV2VEC2 = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "initializer_range": 0.5,
}  # fmt: skip
ENCODERS = {
    "log-mel": LogMelConfig(hidden_size=16, conv_channels=(4, 8), conv_strides=((2, 2), (2, 4)), n_mels=20),
    "wav2vec2": Wav2Vec2Config(feat_extract_norm="group", **WAV2VEC2),
}
SMALL = {"num_labels": 3, "fusion_size": 8, "fusion_hidden_size": 12, "classifier_hidden_size": 10}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def build(encoder="log-mel", **fields):
    return FusionForAudioClassification(FusionConfig(ENCODERS[encoder], **{**SMALL, **fields})).eval()


def clip(samples, seed=0):
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(samples, generator=noise) * (0.1 + 0.05 * torch.linspace(0, 9, samples).sin())


def padded(clips, longest=None):
    longest = longest or max(map(len, clips))
    values, mask = torch.full((len(clips), longest), 0.7), torch.zeros(len(clips), longest, dtype=torch.long)
    for i, wave in enumerate(clips):
        values[i, : len(wave)], mask[i, : len(wave)] = wave, 1
    return values, mask


# ---- front end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [640, 641, 799, 800, 24000, 31337])
def test_the_log_mel_front_end_is_kaldis_of_each_clip_alone(samples):
    import torchaudio

    front = KaldiLogMel(16000, 640, 160, 40, 0.97)
    front.reset_parameters()
    clips = [clip(samples, seed) * 10.0**-seed + 0.02 for seed in range(3)]  # loud and soft, off zero
    values, _ = padded(clips, samples + 700)
    got = front(values)
    for i, wave in enumerate(clips):
        expected = torchaudio.compliance.kaldi.fbank(
            wave[None], window_type="hamming", num_mel_bins=40, frame_length=40, frame_shift=10, dither=0.0
        )
        frames = int(front.frame_lengths(torch.tensor(samples)))
        assert len(expected) == frames
        torch.testing.assert_close(got[i, :frames], expected, rtol=0, atol=2e-4)


def test_the_filters_stay_float32_and_the_front_end_too():
    model = build().to(torch.bfloat16)
    front = model.head.spatial.frontend
    assert front.window.dtype == front.mel.dtype == torch.float32 and model.head.dense.weight.dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert front(clip(8000)[None]).dtype == torch.float32
    assert torch.isfinite(model(clip(30000)[None]).logits).all()


# ---- shapes and formulas -----------------------------------------------------------------------------------------


def test_every_stage_has_the_papers_shape():
    model, seen = FusionForAudioClassification(FusionConfig(num_labels=4)).eval(), {}
    branch = model.head.spatial
    for name, module in {"X_in": branch.frontend, **{f"block{i}": b for i, b in enumerate(branch.blocks)}}.items():
        module.register_forward_hook(lambda m, given, out, name=name: seen.update({name: tuple(out.shape)}))
    branch.register_forward_hook(lambda m, given, out: seen.update(X_s=tuple(out.shape)))
    model(clip(7 * 16000)[None])
    f, mel = 697, 40  # 7 s in windows of 40 ms every 10 ms
    assert seen["X_in"] == (1, f, mel)
    assert seen["block0"] == (1, 24, f // 2, mel // 2)  # Eq. 21
    assert seen["block5"] == seen["block4"][:1] + (96, f // 32, mel // 32) == (1, 96, 21, 1)  # Eq. 22
    assert seen["block4"][2:] == seen["block5"][2:], "the last convolution does not halve"
    assert seen["X_s"] == (1, 96)  # Eq. 23
    kernels = [tuple(c.kernel_size) for block in branch.blocks for c in block.kernels]
    assert kernels == [(11, 1), (1, 9), (5, 5)] + 5 * [(3, 3)]


def literal_spatial(branch, wave):
    """Eq. 21-23 of one segment, place by place where that is affordable."""
    features = (branch.frontend(wave[None])[0] - branch.mean) / branch.std
    hidden = features[None, None]
    for number, block in enumerate(branch.blocks):
        parts = [
            torch.nn.functional.conv2d(
                torch.nn.functional.pad(hidden, (c.kernel_size[1] // 2,) * 2 + (c.kernel_size[0] // 2,) * 2),
                c.weight, c.bias,
            )
            for c in block.kernels
        ]  # fmt: skip
        hidden = torch.cat(parts, 1)
        mean, var = hidden.mean(1, keepdim=True), hidden.var(1, unbiased=False, keepdim=True)
        scale, shift = block.layer_norm.weight[None, :, None, None], block.layer_norm.bias[None, :, None, None]
        hidden = ((hidden - mean) / (var + block.layer_norm.eps).sqrt() * scale + shift).clamp_min(0)
        if number < 5:
            _, _, t, m = hidden.shape
            halved = torch.zeros(*hidden.shape[:2], t // 2, m // 2)
            for i in range(t // 2):
                for j in range(m // 2):
                    halved[:, :, i, j] = hidden[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3))
            hidden = halved
    return hidden[0].mean((1, 2))


def literal_temporal(head, frames, softmax):
    """Eq. 27-28 of one segment."""
    scores = [float(frame @ head.frame_weight.weight[0]) for frame in frames]
    if not softmax:
        scores = [s + float(head.frame_weight.bias[0]) for s in scores]
    else:
        total = sum(math.exp(s) for s in scores)
        scores = [math.exp(s) / total for s in scores]
    return sum(s * frame for s, frame in zip(scores, frames, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("frame_weights", ["softmax", "none"])
@pytest.mark.parametrize("fusion_activation", ["softmax", "none"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_model_is_the_papers_formulas(variant, fusion_activation, frame_weights):
    model = build(variant=variant, fusion_activation=fusion_activation, frame_weights=frame_weights)
    head, wave = model.head, clip(26000)
    vectors = []
    if variant != "temporal":
        vectors.append(literal_spatial(head.spatial, wave))
    if variant != "spatial":
        frames = model.encoder(wave[None]).last_hidden_state[0]
        vectors.append(literal_temporal(head, frames, frame_weights == "softmax"))
    fused = torch.cat(vectors)
    if variant == "multi_fusion":
        w1, w2, w3 = head.fusion
        inner = w3(w2(w1(fused).clamp_min(0)).clamp_min(0))  # Eq. 29
        fused = head.from_spatial(vectors[0]) + head.from_temporal(vectors[1]) + inner  # Eq. 30
        if fusion_activation == "softmax":
            fused = fused.exp() / fused.exp().sum()
    logits = head.out_proj(head.dense(fused).clamp_min(0))
    answer = model(wave[None])
    torch.testing.assert_close(answer.logits[0], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answer.embedding[0], fused, rtol=1e-4, atol=1e-5)


def test_fusion_starts_with_a_signal_that_the_classifier_can_see():
    """Softmax over d_t numbers gives 1 / d_t in the mean; the classifier's first layer makes up for it."""
    answers = {}
    for activation in ("softmax", "none"):
        torch.manual_seed(0)
        model = FusionForAudioClassification(FusionConfig(num_labels=4, fusion_activation=activation)).eval()
        with torch.no_grad():
            answers[activation] = torch.cat([model(clip(32000, seed)[None] * 3.0**seed).logits for seed in range(4)])
    spread = {name: float(logits.std(dim=0).mean()) for name, logits in answers.items()}
    assert spread["softmax"] > spread["none"] / 10, spread


# ---- padding and segments ----------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["log-mel", "wav2vec2"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_alone_padded_and_in_company_is_one_answer(variant, encoder):
    if (variant, encoder) == ("spatial", "wav2vec2"):
        pytest.skip("the spatial variant has no encoder, so that is the other case again")
    model = build(encoder, variant=variant, segment_seconds=2.0)
    lengths = (1, 300, 23999, 24000, 31999, 32000, 32001, 70000)
    clips = [clip(n, seed) for seed, n in enumerate(lengths)]
    together = model(*padded(clips))
    backwards = model(*padded(clips[::-1], 80000))
    for i, wave in enumerate(clips):
        alone = model(wave[None]).logits[0]
        torch.testing.assert_close(together.logits[i], alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(backwards.logits[-1 - i], alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(*padded([wave], 90000)).logits[0], alone, rtol=1e-5, atol=1e-5)
    assert np.ptp(together.logits.numpy(), axis=0).max() > 1e-3, "the model says the same about every clip"


@torch.no_grad()
@pytest.mark.parametrize(("samples", "pieces"), [(32000, 1), (32001, 2), (64000, 2), (70000, 3)])
def test_a_long_clip_is_the_mean_of_its_pieces(samples, pieces):
    model, wave = build("wav2vec2", segment_seconds=2.0), clip(samples)
    answer = model(wave[None])
    by_hand = [model(piece[None]) for piece in wave.split(32000)]
    assert answer.segment_clip.tolist() == [0] * pieces and len(by_hand) == pieces
    torch.testing.assert_close(answer.segment_logits, torch.cat([part.logits for part in by_hand]), atol=1e-5, rtol=0)
    torch.testing.assert_close(answer.logits, answer.segment_logits.mean(0, keepdim=True))
    torch.testing.assert_close(
        answer.embedding[0], torch.cat([p.embedding for p in by_hand]).mean(0), atol=1e-5, rtol=0
    )
    never = build("wav2vec2", segment_seconds=None)(wave[None])
    assert len(never.segment_logits) == 1


@torch.no_grad()
def test_a_short_clip_is_padded_with_zeros_that_count():
    model, wave = build(), clip(5000)
    by_hand = torch.nn.functional.pad(wave, (0, 24000 - 5000))
    torch.testing.assert_close(model(wave[None]).logits, model(by_hand[None]).logits, atol=1e-6, rtol=0)
    assert not torch.allclose(model(wave[None]).logits, build(minimum_seconds=1.0)(wave[None]).logits, atol=1e-5)


@torch.no_grad()
def test_each_piece_is_scaled_for_the_temporal_branch_alone():
    model, seen = build("wav2vec2"), {}
    assert model.config.normalize_waveform and not build().config.normalize_waveform
    model.encoder.register_forward_pre_hook(lambda m, given: seen.update(temporal=given[0]))
    model.head.spatial.frontend.register_forward_pre_hook(lambda m, given: seen.update(spatial=given[0]))
    wave = clip(20000) + 0.3
    model(wave[None])
    scaled = seen["temporal"][0, :20000]
    assert abs(float(scaled.mean())) < 1e-4 and float(scaled.std()) == pytest.approx(1, abs=1e-2)
    assert (seen["temporal"][0, 20000:] == 0).all()
    torch.testing.assert_close(seen["spatial"][0, :20000], wave)


# ---- configuration, encoders, training ---------------------------------------------------------------------------


def test_a_pretrained_encoder_says_how_it_wants_its_waveforms(tmp_path):
    encoder = Wav2Vec2Model(ENCODERS["wav2vec2"])
    encoder.save_pretrained(tmp_path / "plain")
    encoder.save_pretrained(tmp_path / "unscaled")
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path / "unscaled")
    for folder, scaled in (("plain", True), ("unscaled", False)):
        model = FusionForAudioClassification.from_encoder(tmp_path / folder, num_labels=3)
        assert model.config.normalize_waveform is scaled
        extractor = model.make_feature_extractor(str(tmp_path / folder))
        assert extractor.do_normalize is False and extractor.return_attention_mask
        for name, value in encoder.state_dict().items():
            if "feature_extractor.conv_layers.0.layer_norm" not in name:
                assert torch.equal(model.encoder.state_dict()[name], value), name
    with pytest.raises(ValueError, match="'spatial' has no encoder"):
        FusionForAudioClassification.from_encoder(tmp_path / "plain", num_labels=3, variant="spatial")


def test_the_spatial_variant_has_nothing_to_freeze_or_adapt():
    model = build(variant="spatial")
    assert model.encoder is None
    for refused in (model.freeze_encoder, model.freeze_feature_encoder, model.lora_target_modules):
        with pytest.raises(ValueError, match="a model with an encoder; this FusionForAudioClassification has none"):
            refused()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_its_own_parts_under_the_same_names(variant):
    names = {name for name, _ in build(variant=variant).named_parameters()}
    whole = {name: tuple(p.shape) for name, p in build().named_parameters()}
    parts = {"encoder.": variant != "spatial", "head.frame_weight.": variant != "spatial"}
    parts |= {"head.spatial.": variant != "temporal", "head.fusion.": variant == "multi_fusion"}
    for part, there in parts.items():
        assert any(name.startswith(part) for name in names) is there, part
        if there:
            assert {n for n in names if n.startswith(part)} == {n for n in whole if n.startswith(part)}
    model = build(variant=variant).train()
    model(clip(30000)[None].repeat(2, 1), labels=torch.tensor([0, 2])).loss.backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_and_loaded_is_the_same(variant, tmp_path):
    model, wave = build(variant=variant), clip(30000)[None]
    model.save_pretrained(tmp_path)
    again = FusionForAudioClassification.from_pretrained(tmp_path)
    assert again.config.variant == variant
    torch.testing.assert_close(again(wave).logits, model(wave).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variant", "both"),
        ("segment_seconds", 1.0),
        ("minimum_seconds", 0.2),
        ("frame_weights", "mean"),
        ("sampling_rate", 8000),
        ("fusion_activation", "relu"),
        ("n_mels", 31),
        ("spatial_channels", (32, 48, 64, 96)),
        ("spatial_channels", (32, 48, 64, 80, 95)),
        ("classifier_dropout", 1.0),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_what_is_allowed(field, value):
    with pytest.raises(ValueError, match=rf"FusionConfig.{field} is .*; allowed: .+"):
        FusionConfig(**{field: value})


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "seconds"), [(1, 1.94), (8, 5.0)])
def test_the_front_end_takes_at_most_a_twentieth_of_a_forward_pass_with_the_papers_encoder(batch, seconds):
    config = FusionConfig(encoder_config={"model_type": "wav2vec2", "apply_spec_augment": False})  # the base size
    model = FusionForAudioClassification(config).eval()
    spent = [0.0]
    frontend = model.head.spatial.frontend
    forward = frontend.forward

    def timed(*args, **kwargs):
        start = time.process_time()
        result = forward(*args, **kwargs)
        spent[0] += time.process_time() - start
        return result

    frontend.forward = timed
    waveforms = 0.1 * torch.randn(batch, round(16000 * seconds))
    shares = []
    with torch.inference_mode():
        for _ in range(4):  # the first fills caches; the least disturbed counts
            spent[0], start = 0.0, time.process_time()
            model(waveforms, torch.ones_like(waveforms, dtype=torch.long))
            shares.append(spent[0] / (time.process_time() - start))
    assert 0 < min(shares[1:]) <= 0.05
