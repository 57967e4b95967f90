"""The extractor of 32 features: batches, statistics, bad input, saving with and without the package, speed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from helpers.made_voice import RATE, noise, tone, utterance
from transformers import AutoFeatureExtractor, PreTrainedConfig

from hf_ambiser.models.feature_extraction_acoustic32 import (
    FEATURE_EXTRACTOR,
    FEATURE_NAMES,
    Acoustic32FeatureExtractor,
)


COPIED = {
    *("acoustic32_pitch.py", "acoustic32_spectrum.py", "feature_extraction_acoustic32.py"),
    *("valid_frames.py", "waveform_check.py"),
}


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    waves = [utterance(seed) for seed in range(4)]
    return [*waves, waves[0][:5000], noise(0.3)]


@pytest.fixture(scope="module")
def fitted(clips) -> Acoustic32FeatureExtractor:
    return Acoustic32FeatureExtractor().fit(clips)


def test_dimensions_are_what_their_names_say():
    extractor = Acoustic32FeatureExtractor()
    assert extractor.feature_names == FEATURE_NAMES and len(set(FEATURE_NAMES)) == extractor.feature_size == 32
    assert FEATURE_NAMES[12:16] == ("loudness", "f0", "voicing_probability", "zero_crossing_rate")
    assert FEATURE_NAMES[:12] == tuple(f"mfcc_{i}" for i in range(1, 13))
    assert FEATURE_NAMES[16:] == tuple(f"{name}_delta" for name in FEATURE_NAMES[:16])
    wave, _ = tone((150, 300), 0.5)
    features = dict(zip(FEATURE_NAMES, extractor.extract(wave).T, strict=True))
    f0, rate = features["f0"], features["zero_crossing_rate"]
    assert 145 < f0.min() < f0.max() < 305 and features["voicing_probability"].min() > 0.9
    assert float((rate - 2 * f0 / RATE).abs().max()) < 0.01
    torch.testing.assert_close(features["f0_delta"][2:-2], (f0[3:-1] - f0[1:-3]) * 0.5, rtol=0.2, atol=0.2)


def test_a_clip_is_the_same_alone_and_in_a_batch(fitted, clips):
    batch = fitted(clips, sampling_rate=RATE)
    features, mask = batch["input_features"], batch["attention_mask"]
    lengths = fitted.frame_lengths(torch.tensor([len(clip) for clip in clips]))
    assert features.shape == (6, int(lengths.max()), 32) and features.dtype == torch.float32
    assert mask.sum(1).tolist() == lengths.tolist() and len(set(lengths.tolist())) > 3
    for clip, row, length in zip(clips, features, lengths.tolist(), strict=True):
        alone = fitted(clip, sampling_rate=RATE)
        assert torch.equal(alone["input_features"][0], row[:length])
        assert alone["attention_mask"].tolist() == [[1] * length]
        assert not row[length:].any()


@pytest.mark.parametrize("samples,frames", [(1, 1), (399, 1), (400, 1), (559, 1), (560, 2), (RATE, 98)])
def test_frames_lie_inside_and_short_clips_have_one(samples, frames):
    extractor = Acoustic32FeatureExtractor()
    wave = utterance()[4000 : 4000 + samples]
    features = extractor.extract(wave)
    assert features.shape == (frames, 32) and features.isfinite().all()
    assert extractor.frame_lengths(torch.tensor([samples])).tolist() == [frames]
    if samples < 400:
        assert torch.equal(features, extractor.extract(np.pad(wave, (0, 400 - samples))))


def test_what_may_be_given(fitted, clips):
    wave = clips[4]
    expected = fitted(wave, sampling_rate=RATE)["input_features"]
    read_only = wave.copy()
    read_only.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in (torch.from_numpy(wave), wave.astype(np.float64), wave.tolist(), [wave], wave[None], read_only):
            got = fitted(one, sampling_rate=RATE)["input_features"]
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    cut = fitted(clips, RATE, padding="max_length", max_length=24, truncation=True, return_tensors="np")
    assert isinstance(cut["input_features"], np.ndarray) and cut["input_features"].shape == (6, 24, 32)
    assert "attention_mask" not in fitted(wave, RATE, return_attention_mask=False)


def test_raw_features_can_be_kept_and_collated_later(fitted, clips):
    raw = [fitted.extract(clip) for clip in clips]
    batch, expected = fitted.collate(raw), fitted(clips, RATE)
    assert all(torch.equal(batch[key], expected[key]) for key in expected)
    again = Acoustic32FeatureExtractor().fit_features(raw)
    assert (again.mean, again.std) == (fitted.mean, fitted.std)


def test_fit_gives_the_statistics_of_all_frames_in_any_order(fitted, clips):
    frames = np.concatenate([fitted.extract(clip).double().numpy() for clip in clips])
    np.testing.assert_allclose(fitted.mean, frames.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fitted.std, frames.std(0), rtol=1e-9)
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 5, 1, 3, 4]):
        other = Acoustic32FeatureExtractor().fit((clips[i] for i in order), sampling_rate=RATE)
        np.testing.assert_allclose(other.mean, fitted.mean, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(other.std, fitted.std, rtol=1e-6)
    batch = fitted(clips, RATE)
    valid = batch["input_features"][batch["attention_mask"].bool()]
    torch.testing.assert_close(valid.mean(0), torch.zeros(32), rtol=0, atol=1e-4)
    torch.testing.assert_close(valid.std(0, correction=0), torch.ones(32), rtol=1e-4, atol=0)


def test_a_large_mean_does_not_swallow_the_deviation():
    raw = [torch.full((50, 32), 1e6, dtype=torch.float64) + torch.rand(50, 32, dtype=torch.float64) for _ in range(9)]
    got = Acoustic32FeatureExtractor().fit_features(raw)
    np.testing.assert_allclose(got.std, torch.cat(raw).std(0, correction=0), rtol=1e-6)


def test_a_dimension_that_never_varied_becomes_zero(clips):
    silent = Acoustic32FeatureExtractor().fit([np.zeros(4000, np.float32)])
    assert silent.std == [0.0] * 32
    assert not silent(clips[0], RATE)["input_features"].any()


def test_before_fit_features_are_raw_with_one_warning(clips, caplog):
    extractor = Acoustic32FeatureExtractor()
    # "Once" is per process, and another test may have been first.
    logging.Logger.warning_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            batch = extractor(clips[0])
    assert not extractor.is_fitted and extractor.mean is None
    assert torch.equal(batch["input_features"][0], extractor.extract(clips[0]))
    said = [record.getMessage() for record in caplog.records]
    assert sum("not normalised. Call fit()" in line for line in said) == 1
    assert sum("got no sampling_rate" in line for line in said) == 1


@pytest.mark.parametrize(
    "wave,words",
    [
        (np.zeros(0, np.float32), r"shape \(0,\); allowed: \(samples,\)"),
        (np.zeros(800, np.int16), "int16; allowed: floating point .* Divide 16-bit integers by 32768"),
        (np.array([0.1, np.nan] * 400, np.float32), "NaN or infinite"),
        ([np.zeros((2, 800), np.float32)], r"shape \(2, 800\); allowed"),
        ([], "got 0 utterances; allowed: 1 or more"),
    ],
)
def test_bad_waveforms(wave, words):
    with pytest.raises(ValueError, match=words) as error:
        Acoustic32FeatureExtractor()(wave, RATE)
    assert "\n" not in str(error.value)


def test_bad_calls(fitted, clips):
    for call in (fitted, fitted.extract):
        with pytest.raises(ValueError, match="sampling_rate is 8000; allowed: 16000, .* Resample"):
            call(clips[0], sampling_rate=8000)
    with pytest.raises(ValueError, match=r"shape \(3, 16\); allowed: \(T, 32\), as extract"):
        fitted.collate([torch.zeros(3, 16)])
    with pytest.raises(ValueError, match="fit got 0 utterances"):
        Acoustic32FeatureExtractor().fit([])


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"sampling_rate": 4000}, "sampling_rate is 4000; allowed: at least 8000"),
        ({"frame_length": 1}, "frame_length is 1"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"f0_min": 0}, "f0_min is 0; allowed: above 0"),
        ({"f0_max": 40}, r"f0_max is 40; allowed: above f0_min \(50.0\)"),
        ({"f0_max": 4001}, "f0_max is 4001"),
        ({"voicing_threshold": 1}, "voicing_threshold is 1"),
        ({"mean": [0.0] * 32}, "std is None; allowed: given together with mean"),
        ({"mean": [0.0] * 16, "std": [1.0] * 16}, "allowed: None or 32 numbers"),
        ({"mean": [0.0] * 32, "std": [-1.0] * 32}, "allowed: numbers of at least 0"),
        ({"padding_value": 1.0}, "padding_value is 1.0; allowed: 0.0 only"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Acoustic32FeatureExtractor(**settings)


def test_fingerprint_is_of_what_raw_features_depend_on(fitted):
    plain = Acoustic32FeatureExtractor()
    assert plain.fingerprint == fitted.fingerprint and len(plain.fingerprint) == 12
    others = ({"f0_min": 60.0}, {"f0_max": 400.0}, {"hop_length": 80}, {"voicing_threshold": 0.4})
    assert len({plain.fingerprint, *(Acoustic32FeatureExtractor(**other).fingerprint for other in others)}) == 5


# Saved and loaded

# Runs where neither the package nor torchaudio can be imported.
ELSEWHERE = """
import sys
sys.modules["hf_ambiser"] = sys.modules["torchaudio"] = None
import numpy as np
from transformers import AutoFeatureExtractor
folder = sys.argv[1]
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
assert type(extractor).__name__ == "Acoustic32FeatureExtractor" and extractor.is_fitted
assert "hf_ambiser" not in type(extractor).__module__, type(extractor)
waves = list(np.load(folder + "/../waves.npz").values())
features = extractor(waves, sampling_rate=16000)["input_features"]
np.testing.assert_allclose(features.numpy(), np.load(folder + "/../features.npy"), atol=1e-5)
extractor.save_pretrained(folder + "/../again")
print("all equal")
"""


class Acoustic32TestConfig(PreTrainedConfig):
    """Stands for the configuration of a model that takes these features."""

    model_type = "ambiser_acoustic32_test"


@pytest.fixture(scope="module")
def saved(fitted, clips, tmp_path_factory):
    AutoFeatureExtractor.register(Acoustic32TestConfig, FEATURE_EXTRACTOR, exist_ok=True)
    root = tmp_path_factory.mktemp("saved")
    fitted.save_pretrained(root / "model")
    np.savez(root / "waves.npz", *clips)
    np.save(root / "features.npy", fitted(clips, RATE)["input_features"].numpy())
    return root


def test_saved_folder_has_the_statistics_and_exactly_the_code_it_needs(saved, fitted):
    assert {path.name for path in (saved / "model").iterdir()} == {*COPIED, "preprocessor_config.json"}
    written = json.loads((saved / "model" / "preprocessor_config.json").read_text())
    name = "feature_extraction_acoustic32.Acoustic32FeatureExtractor"
    assert written["auto_map"] == {"AutoFeatureExtractor": name}
    assert (written["mean"], written["std"]) == (fitted.mean, fitted.std)


@pytest.mark.parametrize("trust", [None, False, True])
def test_with_the_package_its_own_class_loads(saved, fitted, clips, trust):
    loaded = AutoFeatureExtractor.from_pretrained(saved / "model", trust_remote_code=trust)
    assert type(loaded) is Acoustic32FeatureExtractor
    assert loaded.fingerprint == fitted.fingerprint
    assert torch.equal(loaded(clips, RATE)["input_features"], fitted(clips, RATE)["input_features"])


def test_unfitted_and_other_settings_come_back(tmp_path):
    Acoustic32FeatureExtractor(f0_min=70.0, hop_length=80).save_pretrained(tmp_path)
    loaded = Acoustic32FeatureExtractor.from_pretrained(tmp_path)
    assert not loaded.is_fitted and (loaded.f0_min, loaded.hop_length) == (70.0, 80)


def test_loads_without_the_package(saved, fitted, tmp_path):
    variables = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "OMP_NUM_THREADS": "1"}
    variables.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", ELSEWHERE, str(saved / "model")]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "all equal" in done.stdout
    # Saved again by a process that only had the folder: here the package's own class reads it.
    assert COPIED <= {path.name for path in (saved / "again").iterdir()}
    again = AutoFeatureExtractor.from_pretrained(saved / "again")
    assert type(again) is Acoustic32FeatureExtractor and again.mean == fitted.mean


@pytest.mark.slow
def test_two_hundred_times_faster_than_real_time_on_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extractor, waves = Acoustic32FeatureExtractor(), [utterance(seed) for seed in range(20)]
        factors = []
        for _ in range(4):
            start = time.process_time()
            for wave in waves:
                extractor.extract(wave)
            factors.append(sum(map(len, waves)) / RATE / (time.process_time() - start))
    finally:
        torch.set_num_threads(threads)
    assert max(factors[1:]) > 200, factors
