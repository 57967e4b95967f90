"""Models in folders as users have them, noise in place of speech, and answers beside those of the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from helpers.made_data import extractor
from hf_ambiser import predict


RATE = 16000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """`(T,)` float32 at 16 kHz; each seed has a loudness of its own."""
    random = np.random.default_rng(seed)
    return (random.normal(size=round(seconds * RATE)) * random.uniform(0.02, 0.2)).astype(np.float32)


def saved(folder: Path, model: Any, feature_extractor: Any = None) -> Path:
    """Save a model with its feature extractor; the folder."""
    model.save_pretrained(folder)
    (feature_extractor or extractor(model)).save_pretrained(folder)
    return folder


def check_against_the_pipeline(opened: Any, lengths: tuple[float, ...]) -> None:
    """In one batch, alone, and by transformers' pipeline, the answers are the same."""
    waves = [noise(seconds, seed) for seed, seconds in enumerate(lengths)]
    together = predict(waves, opened, sampling_rate=RATE, progress=False, window=60)
    classify = pipeline("audio-classification", model=opened.model, feature_extractor=opened.extractor)
    for wave, found in zip(waves, together, strict=True):
        (alone,) = predict(wave, opened, sampling_rate=RATE, progress=False, batch_size=1, window=60)
        theirs = {one["label"]: one["score"] for one in classify(wave.copy(), top_k=None)}
        assert list(found.probabilities) == list(opened.classes)
        for name in opened.classes:
            assert found.probabilities[name] == pytest.approx(alone.probabilities[name], abs=1e-5)
            assert found.probabilities[name] == pytest.approx(theirs[name], abs=1e-5)
        assert found.emotion == max(theirs, key=theirs.get) and found.status == "answered"
