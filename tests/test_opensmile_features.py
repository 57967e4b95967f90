"""Our 32 features beside openSMILE's, where that is installed (`pip install "hf-ambiser[opensmile]"`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.made_voice import utterance

from hf_ambiser.models.feature_extraction_acoustic32 import FEATURE_NAMES, Acoustic32FeatureExtractor
from hf_ambiser.training import opensmile_features as module
from hf_ambiser.training.opensmile_features import OpenSmileError, opensmile_features


# openSMILE's pitch frames begin with the 25 ms frame and ours are centred on it: 17.5 ms, nearly two frames.
PITCH_DELAY = 2
PITCH = [i for i, name in enumerate(FEATURE_NAMES) if name.startswith(("f0", "voicing"))]


def both(waves: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Our and openSMILE's features of the same frames, each `(frames, 32)`, pitch aligned in time."""
    extractor, ours, theirs = Acoustic32FeatureExtractor(), [], []
    for wave in waves:
        mine, smile = extractor.extract(wave).numpy(), opensmile_features(wave)
        assert mine.shape == smile.shape
        aligned = mine[:-PITCH_DELAY].copy()
        aligned[:, PITCH] = mine[PITCH_DELAY:, PITCH]
        ours.append(aligned)
        theirs.append(smile[:-PITCH_DELAY])
    return np.concatenate(ours), np.concatenate(theirs)


def compare(waves: list[np.ndarray]) -> dict[str, float]:
    """Correlation of each dimension, and what F0 and voicing agree on; printed with `pytest -s`."""
    ours, theirs = both(waves)
    figures = {name: float(np.corrcoef(ours[:, i], theirs[:, i])[0, 1]) for i, name in enumerate(FEATURE_NAMES)}
    f0 = FEATURE_NAMES.index("f0")
    a, b = ours[:, f0], theirs[:, f0]
    voiced = (a > 0) & (b > 0)
    figures["voiced, ours"], figures["voiced, openSMILE"] = float((a > 0).mean()), float((b > 0).mean())
    figures["voicing agrees"] = float(((a > 0) == (b > 0)).mean())
    figures["f0 where both voiced"] = float(np.corrcoef(a[voiced], b[voiced])[0, 1])
    figures["f0 within 20 % where both voiced"] = float((np.abs(a[voiced] / b[voiced] - 1) < 0.2).mean())
    for name, value in figures.items():
        print(f"{name:35s} {value:.4f}")
    return figures


@pytest.mark.parametrize("wave", [np.zeros((2, 800), np.float32), np.zeros(0, np.float32), np.zeros(800, np.int16)])
def test_bad_waveforms(wave):
    with pytest.raises(OpenSmileError, match=r"allowed: \(samples,\)"):
        opensmile_features(wave)


def test_without_opensmile_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    module._smile.cache_clear()
    with pytest.raises(OpenSmileError, match=r"pip install .*opensmile.* non-commercial.* Acoustic32FeatureExtractor"):
        opensmile_features(np.zeros(800, np.float32))


@pytest.mark.parametrize("samples", [1, 400, 559, 560, 8000])
def test_same_frames_as_ours(samples):
    pytest.importorskip("opensmile")
    wave = utterance()[:samples]
    features = opensmile_features(wave)
    assert features.shape == tuple(Acoustic32FeatureExtractor().extract(wave).shape) and np.isfinite(features).all()


def test_agrees_on_made_speech():
    pytest.importorskip("opensmile")
    # openSMILE reads 16-bit samples.
    figures = compare([(np.round(utterance(seed) * 32768) / 32768).astype(np.float32) for seed in range(4)])
    assert min(value for name, value in figures.items() if name.startswith("mfcc")) > 0.9999
    assert figures["loudness"] > 0.99 and figures["zero_crossing_rate"] > 0.99 and figures["voicing agrees"] > 0.9
    assert figures["f0 where both voiced"] > 0.99 and figures["f0 within 20 % where both voiced"] > 0.99


@pytest.mark.slow
@pytest.mark.skipif("CREMA_D_ROOT" not in os.environ, reason="CREMA_D_ROOT is not set")
def test_agrees_on_crema_d():
    pytest.importorskip("opensmile")
    import soundfile

    paths = sorted(Path(os.environ["CREMA_D_ROOT"]).rglob("*.flac")) or sorted(
        Path(os.environ["CREMA_D_ROOT"]).rglob("*.wav")
    )
    waves = [soundfile.read(path, dtype="float32")[0] for path in paths[:: max(len(paths) // 100, 1)][:100]]
    figures = compare(waves)
    assert min(value for name, value in figures.items() if name.startswith("mfcc")) > 0.999
    assert figures["loudness"] > 0.99 and figures["zero_crossing_rate"] > 0.95
    assert figures["voicing agrees"] > 0.75 and figures["f0 where both voiced"] > 0.9
