"""Whisper as an encoder: spectrogram, frames beside those of transformers, segments, what is loaded and saved."""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_encoders import TINY_WHISPER, answers, batch, build, clips
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from hf_ambiser.models import PrototypeConfig, PrototypeForAudioClassification, register
from hf_ambiser.models.whisper_log_mel import WhisperLogMel


REAL = Path(os.environ.get("AMBISER_ENCODERS", "")) / "whisper-tiny.en"
needs_real = pytest.mark.skipif(
    "AMBISER_ENCODERS" not in os.environ, reason="set AMBISER_ENCODERS to a folder that has whisper-tiny.en"
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    register()


def from_real(**encoder_kwargs) -> PrototypeForAudioClassification:
    return PrototypeForAudioClassification.from_encoder(REAL, num_labels=3, encoder_kwargs=encoder_kwargs).eval()


def speechlike() -> list[torch.Tensor]:
    """Noise of several lengths, one with silence at its end, one silent."""
    loud = clips((400, 799, 16000, 25001, 40000))
    return [*loud, torch.cat([loud[2], torch.zeros(8000)]), torch.zeros(3000)]


# ---- the spectrogram ---------------------------------------------------------------------------------------------


def literal_log_mel(wave: np.ndarray, bands: int) -> np.ndarray:
    """Step by step in float64: mirrored ends, Hann window, power, Slaney's mel filters, log10, eight decades."""
    size, hop = 400, 160
    mirrored = np.concatenate([wave[200:0:-1], wave, wave[-2:-202:-1]])
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / size) for n in range(size)])
    turn = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(size)) / size)

    def hertz(mel):  # linear up to 1 kHz, then 27 mels for each factor of 6.4
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top = 15 + 27 * math.log(8000 / 1000) / math.log(6.4)
    edges = [hertz(top * i / (bands + 1)) for i in range(bands + 2)]
    frequencies = [40 * k for k in range(201)]
    rows = []
    for frame in range(len(wave) // hop):
        power = np.abs(turn @ (mirrored[frame * hop : frame * hop + size] * window)) ** 2
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            weights = [max(0, min((f - left) / (centre - left), (right - f) / (right - centre))) for f in frequencies]
            energy = float(np.dot(weights, power)) * 2 / (right - left)
            row.append(math.log10(max(energy, 1e-10)))
        rows.append(row)
    rows = np.array(rows)
    return (np.maximum(rows, rows.max() - 8) + 4) / 4


@pytest.mark.parametrize("bands", [80, 128])
def test_the_spectrogram_is_the_literal_one_and_that_of_transformers_of_each_utterance_alone(bands):
    waveforms = speechlike()
    frontend = WhisperLogMel(bands)
    values = batch(waveforms)["input_values"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        together = frontend.to(torch.bfloat16)(values, torch.tensor([len(w) for w in waveforms]))
    assert together.dtype == torch.float32
    extractor = WhisperFeatureExtractor(feature_size=bands)
    for wave, row in zip(waveforms, together, strict=True):
        theirs = extractor(wave.numpy(), sampling_rate=16000, padding=True, return_tensors="pt").input_features[0].T
        assert len(theirs) == len(wave) // 160
        torch.testing.assert_close(row[: len(theirs)], theirs, atol=1e-5, rtol=0)
        assert not row[len(theirs) :].any()
    np.testing.assert_allclose(together[1][:4], literal_log_mel(waveforms[1].double().numpy(), bands), atol=1e-4)


def test_a_gradient_reaches_the_waveform():
    wave = clips((4000,))[0][None].requires_grad_(True)
    WhisperLogMel(80)(wave, torch.tensor([4000])).sum().backward()
    assert torch.isfinite(wave.grad).all() and wave.grad.any()


# ---- the frames --------------------------------------------------------------------------------------------------


def their_frames(model: PrototypeForAudioClassification, waveforms: list[torch.Tensor]) -> torch.Tensor:
    """What transformers' own encoder makes of each utterance, padded as Whisper was trained."""
    config = model.config.encoder_config
    encoder = WhisperEncoder(config).eval()
    encoder.load_state_dict(model.encoder.state_dict())
    seconds = config.max_source_positions // 50
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds)
    features = extractor([w.numpy() for w in waveforms], sampling_rate=16000, return_tensors="pt").input_features
    return encoder(features).last_hidden_state


def check_frames(model: PrototypeForAudioClassification, waveforms: list[torch.Tensor]) -> None:
    expected = their_frames(model, waveforms)
    frames, valid = model.encode(**batch(waveforms))
    for wave, got, mask, theirs in zip(waveforms, frames, valid, expected, strict=True):
        n = int(mask.sum())
        assert n == (max(len(wave), 400) // 160 + 1) // 2
        torch.testing.assert_close(got[:n], theirs[:n], atol=1e-4, rtol=1e-5)
        assert not got[n:].any()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_padded_to_the_full_length_frames_are_those_of_transformers(attention):
    model = build("whisper padded")
    model.set_attn_implementation(attention)
    check_frames(model, clips((400, 4000, 15999, 16000)))


@needs_real
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_the_real_encoder_padded_to_30_seconds_gives_the_frames_of_transformers(attention):
    check_frames(from_real(pad_to_30_seconds=True, attn_implementation=attention), speechlike()[4:6])


@needs_real
@torch.no_grad()
def test_cut_positions_change_the_real_frames_a_little():
    waveforms = speechlike()[3:5]
    padded, valid = from_real(pad_to_30_seconds=True).encode(**batch(waveforms))
    cut, same = from_real().encode(**batch(waveforms))
    assert torch.equal(valid, same)
    cosine = torch.nn.functional.cosine_similarity(padded[valid], cut[valid], dim=-1)
    assert 0.8 < cosine.mean() < 0.9999


@torch.no_grad()
def test_positions_are_cut_and_nothing_beyond_an_utterance_counts():
    model = build("whisper")
    seen = []
    model.encoder.layers[0].register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[1]))
    model(clips((4000,))[0][None])
    assert seen == [13]  # 25 spectrogram frames
    padded = build("whisper padded")
    padded.load_state_dict(model.state_dict())
    wave = clips((4000,))[0][None]
    assert (padded(wave).embedding - model(wave).embedding).abs().max() > 1e-3


# ---- segments ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_long_utterance_is_encoded_in_segments_of_its_own_spectrogram():
    model = build("whisper")
    wave = clips((41000,))[0]  # 2.56 segments of a second
    features = model.encoder.frontend(wave[None], torch.tensor([41000]))[0]
    assert len(features) == 256
    pieces = [
        model.encoder._encode_segments(part[None], torch.tensor([len(part)]))[-1][0] for part in features.split(100)
    ]
    frames, valid = model.encode(wave[None])
    assert frames.shape[1] == 128 and valid.all()
    torch.testing.assert_close(frames[0], torch.cat(pieces), atol=1e-5, rtol=1e-5)
    for name in ("whisper", "whisper padded"):
        model = build(name)
        waveforms = clips((41000, 16000, 16159, 16160, 48000))
        alone = torch.cat([answers(model(w[None])) for w in waveforms])
        torch.testing.assert_close(answers(model(**batch(waveforms))), alone, atol=1e-5, rtol=0)


# ---- what is loaded and saved ------------------------------------------------------------------------------------


def with_decoder() -> WhisperConfig:
    sizes = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 60}
    tokens = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1}
    return WhisperConfig(**TINY_WHISPER, **sizes, **tokens, suppress_tokens=None, begin_suppress_tokens=None)


@pytest.mark.parametrize("kind", ["generation", "model", "encoder"])
@torch.no_grad()
def test_only_the_encoder_is_loaded_and_saved(kind, tmp_path, caplog, capfd):
    whole = WhisperForConditionalGeneration(with_decoder()).to(torch.float16)
    inner = {"generation": whole, "model": whole.model, "encoder": whole.model.encoder}[kind]
    inner.save_pretrained(tmp_path / "whisper")
    WhisperFeatureExtractor().save_pretrained(tmp_path / "whisper")
    capfd.readouterr()
    with caplog.at_level(logging.WARNING):
        model = PrototypeForAudioClassification.from_encoder(tmp_path / "whisper", num_labels=3)
    assert not caplog.records and "UNEXPECTED" not in "".join(capfd.readouterr())
    assert model.dtype == torch.float32, "a checkpoint in half precision is trained in single"
    own = whole.model.encoder.state_dict()
    assert model.encoder.state_dict().keys() == own.keys()
    assert all(torch.equal(value, own[key].float()) for key, value in model.encoder.state_dict().items())
    assert not any("decoder" in key for key, _ in model.named_parameters())
    assert not model.make_feature_extractor().do_normalize
    model.save_pretrained(tmp_path / "saved")
    assert "auto_map" not in json.loads((tmp_path / "saved" / "config.json").read_text())["encoder_config"]


def test_missing_weights_and_wrong_fields_are_named(tmp_path):
    model = WhisperModel(with_decoder())
    weights = {key: value for key, value in model.state_dict().items() if key != "encoder.conv1.bias"}
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(ValueError, match=r"lacks 1 weights of a Whisper encoder, for example conv1.bias"):
        PrototypeForAudioClassification.from_encoder(tmp_path, num_labels=3)
    with pytest.raises(ValueError, match="pad_to_30_second'.*allowed: .*pad_to_30_seconds"):
        PrototypeForAudioClassification.from_encoder(tmp_path, num_labels=3, encoder_kwargs={"pad_to_30_second": True})
    with pytest.raises(ValueError, match="pad_to_30_seconds is 'no'; allowed: True, False"):
        PrototypeForAudioClassification(PrototypeConfig(WhisperConfig(**TINY_WHISPER, pad_to_30_seconds="no")))
