"""What a model may be given: integers, NaN, stereo and silence, at every family's extractor, model and pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_encoders import ENCODERS
from transformers import pipeline

from hf_ambiser.data.audio import LOUDEST, MIN_DURATION, SILENCE_PEAK
from hf_ambiser.models import available_families, load_family, waveform_check
from hf_ambiser.training.collator import Example, UtteranceCollator


SPEECH = (np.random.default_rng(0).normal(size=8000) * 0.1).astype(np.float32)
# What is wrong -> the samples, and the words that say it.
WRONG = {
    "int16": ((SPEECH * 32767).astype(np.int16), "has type torch.int16; allowed: floating point"),
    "int32": ((SPEECH * 2**31).astype(np.int32), "has type torch.int32; allowed: floating point"),
    "uint8": ((SPEECH * 100 + 128).astype(np.uint8), "has type torch.uint8; allowed: floating point"),
    "floats on the scale of int16": (SPEECH * 32767, "Divide samples on the scale of 16-bit integers"),
    "NaN": (np.where(np.arange(8000) == 7000, np.nan, SPEECH), "NaN or infinite"),
    "infinity": (np.where(np.arange(8000) == 7000, -np.inf, SPEECH), "NaN or infinite"),
}
NOTHING = {"zeros": SPEECH * 0, "dither": SPEECH * 1e-4, "too short": SPEECH[:1000]}


def tiny(family: str) -> tuple[Any, Any]:
    """A small model of a family with its feature extractor."""
    cls = load_family(family)
    torch.manual_seed(0)
    small = {"image_side": 63, "classifier_hidden_size": 8} if family == "alexnet" else {}  # else 57 million weights
    model = cls(cls.config_class(num_labels=3, **small)).eval()
    extractor = model.make_feature_extractor()
    if hasattr(extractor, "fit"):
        extractor.fit([SPEECH])
    return model, extractor


def answers(door: str, family: str, samples: Any, folder: Path) -> Any:
    model, extractor = tiny(family)
    if door == "pipeline":
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
        return pipeline("audio-classification", model=str(folder))(samples, top_k=None)
    if door == "extractor and model":
        return model(**extractor(samples, sampling_rate=16000, return_tensors="pt"))
    if door == "collator and model":
        batch = UtteranceCollator(extractor)([[Example(SPEECH, 0), Example(samples, 1)]])
        return model(**{name: batch[name] for name in (model.main_input_name, "attention_mask")})
    if not hasattr(extractor, "extract"):
        return model(torch.as_tensor(samples)[None])
    return extractor.extract(samples)


DOORS = ("pipeline", "extractor and model", "collator and model", "model")


# The pipeline is an extractor and a model; it gets one wrong input of each kind.
CASES = [(what, door) for what in WRONG for door in DOORS if door != "pipeline" or what in ("int16", "NaN")]


@pytest.mark.parametrize("family", available_families())
@pytest.mark.parametrize("what,door", CASES)
def test_samples_without_a_known_scale_are_refused_at_every_door(what, family, door, tmp_path):
    samples, words = WRONG[what]
    with pytest.raises(ValueError, match=words):
        answers(door, family, samples, tmp_path)


@pytest.mark.parametrize("family", available_families())
def test_channels_are_no_batch(family, tmp_path):
    stereo = np.stack([SPEECH, SPEECH])
    with pytest.raises(ValueError, match="single channel"):
        answers("pipeline", family, stereo, tmp_path)
    model, extractor = tiny(family)
    with pytest.raises(ValueError, match="looks like \\(samples, channels\\)|mono"):
        if hasattr(extractor, "extract"):
            extractor.extract(stereo)
        else:
            model(**extractor(stereo.T, sampling_rate=16000, return_tensors="pt"))


@pytest.mark.parametrize("family", available_families())
@pytest.mark.parametrize("what", NOTHING)
def test_nothing_to_hear_is_said_in_evaluation(what, family, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(waveform_check.logger, "warning", said.append)
    answers("pipeline", family, SPEECH, tmp_path)
    assert not said
    answers("pipeline", family, NOTHING[what], tmp_path)
    assert said and all("1 of 1 waveforms have nothing to hear" in line for line in said)
    model, extractor = tiny(family)
    inputs = extractor(NOTHING[what], sampling_rate=16000, return_tensors="pt")
    said.clear()
    model.train()(**inputs)
    assert not said  # else every epoch would say it


def test_what_is_too_loud_or_nothing_to_hear_is_the_same_for_models_and_builds():
    assert waveform_check.LARGEST_PEAK == LOUDEST
    assert waveform_check.SILENCE_PEAK == SILENCE_PEAK
    assert waveform_check.SHORTEST == MIN_DURATION * 16000


def test_padding_is_not_looked_at():
    """Only samples of an utterance count: what stands in its padding is no fault, and is not heard."""
    model, _ = tiny("prototype")
    wave = torch.zeros(2, 8000)
    wave[0], wave[1, :4000] = torch.from_numpy(SPEECH), torch.from_numpy(SPEECH[:4000])
    mask = torch.ones(2, 8000, dtype=torch.long)
    mask[1, 4000:] = 0
    expected = model(wave, mask).logits
    wave[1, 4000:] = 1e5
    torch.testing.assert_close(model(wave, mask).logits, expected)


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_refuses_nan_and_integers(kind):
    cls = load_family("prototype")
    model = cls(cls.config_class(encoder_config=ENCODERS[kind], num_labels=3)).eval()
    for what in ("NaN", "int16"):
        samples, words = WRONG[what]
        with pytest.raises(ValueError, match=words):
            model(torch.as_tensor(samples)[None])
