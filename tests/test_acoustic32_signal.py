"""MFCC, loudness, zero-crossing rate, derivatives, F0 and voicing against references and signals of known pitch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.made_voice import RATE, VOWELS, noise, tone, utterance, vowel

from hf_ambiser.models.acoustic32_pitch import (
    PASS_BELOW,
    STOP_FROM,
    PitchSettings,
    best_path,
    normalized_autocorrelation,
    track_pitch,
)
from hf_ambiser.models.acoustic32_spectrum import cut_frames, derivatives, loudness, mfcc, zero_crossing_rate


SETTINGS = PitchSettings(RATE, 400, 160, f0_min=50.0, f0_max=500.0, voicing_threshold=0.5)


def frames_of(wave: np.ndarray) -> torch.Tensor:
    return cut_frames(torch.from_numpy(wave), 400, 160)


def pitch(wave: np.ndarray, settings: PitchSettings = SETTINGS) -> tuple[np.ndarray, np.ndarray]:
    f0, voicing = track_pitch(torch.from_numpy(wave), len(frames_of(wave)), settings)
    return f0.numpy(), voicing.numpy()


def cents(f0: np.ndarray, hertz: np.ndarray, edge: int = 0) -> np.ndarray:
    """Error of every voiced frame against the F0 at its centre, without `edge` frames at both ends."""
    centres = hertz[np.arange(len(f0)) * 160 + 200]
    f0, centres = f0[edge : len(f0) - edge], centres[edge : len(centres) - edge]
    return np.abs(1200 * np.log2(f0[f0 > 0] / centres[f0 > 0]))


# Spectrum and time


def test_mfcc_are_kaldis_with_htks_choices():
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    for wave in (utterance(), noise(0.5), vowel(180)[0]):
        expected = kaldi.mfcc(
            torch.from_numpy(wave)[None] * 32768,  # coefficients 1 to 12 do not depend on scale
            sample_frequency=RATE,
            frame_length=25.0,
            frame_shift=10.0,
            preemphasis_coefficient=0.97,
            window_type="hamming",
            remove_dc_offset=False,
            dither=0.0,
            round_to_power_of_two=True,
            num_mel_bins=26,
            low_freq=0.0,
            high_freq=0.0,
            num_ceps=13,
            cepstral_lifter=22.0,
            use_energy=False,
            snip_edges=True,
        )[:, 1:]
        got = mfcc(frames_of(wave), RATE)
        assert got.shape == (1 + (len(wave) - 400) // 160, 12) and got.std() > 1
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=5e-3)


def test_mfcc_of_digital_silence_are_zero():
    torch.testing.assert_close(mfcc(torch.zeros(3, 400), RATE), torch.zeros(3, 12), rtol=0, atol=1e-3)


def test_loudness_is_its_formula_and_grows_with_level():
    frames = frames_of(utterance())
    window = np.array([0.54 - 0.46 * math.cos(2 * math.pi * n / 399) for n in range(400)])
    for frame, got in zip(frames[::20].double().numpy(), loudness(frames)[::20], strict=True):
        intensity = sum(w * x * x for w, x in zip(window, frame, strict=True)) / sum(window)
        assert float(got) == pytest.approx((intensity / 1e-6) ** 0.3, rel=1e-5)
    levels = torch.stack([loudness(frames * level) for level in (0.01, 0.1, 1.0)])
    assert (levels.diff(dim=0) > 0).all()
    torch.testing.assert_close(levels[2], levels[1] * 10**0.6, rtol=1e-4, atol=0)
    assert float(loudness(torch.zeros(1, 400))) == 0
    full_scale = loudness(frames_of(tone(200, level=1.0)[0]))
    assert float(full_scale.mean()) == pytest.approx(5e5**0.3, rel=0.02)


def test_zero_crossing_rate():
    for hertz in (100, 440, 3000):
        rate = zero_crossing_rate(frames_of(tone(hertz)[0]))
        assert float((rate - 2 * hertz / RATE).abs().max()) <= 2 / 400
    frames = frames_of(noise(0.2))
    by_hand = [sum((a < 0) != (b < 0) for a, b in itertools.pairwise(frame)) / 400 for frame in frames.tolist()]
    np.testing.assert_allclose(zero_crossing_rate(frames), by_hand, rtol=1e-6)
    assert float(zero_crossing_rate(torch.zeros(1, 400))) == 0
    assert float(zero_crossing_rate(torch.full((1, 400), -0.1))) == 0


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 30])
def test_derivatives_are_the_regression(frames):
    values = np.random.default_rng(frames).standard_normal((frames, 3))
    expected = np.zeros_like(values)
    for t in range(frames):
        for d in range(3):
            for n in (1, 2):
                after, before = values[min(t + n, frames - 1), d], values[max(t - n, 0), d]
                expected[t, d] += n * (after - before) / (2 * (1**2 + 2**2))
    np.testing.assert_allclose(derivatives(torch.from_numpy(values)), expected, atol=1e-6)


def test_derivative_of_a_ramp_is_its_slope_per_frame():
    ramp = torch.arange(20.0)[:, None] * 3 + 7
    torch.testing.assert_close(derivatives(ramp)[2:-2], torch.full((16, 1), 3.0))


# F0


@pytest.mark.parametrize("hertz", [55, 80, 137.7, 250, 399, 490])
def test_f0_of_tones(hertz):
    f0, voicing = pitch(tone(hertz, 0.5)[0])
    assert (f0 > 0).all() and voicing.min() > 0.98
    assert np.abs(1200 * np.log2(f0 / hertz)).max() < 1


@pytest.mark.parametrize("name", VOWELS)
@pytest.mark.parametrize("hertz", [80, 100, 130, 177, 220, 293, 351, 400])
def test_f0_of_vowels(name, hertz):
    wave, true = vowel(hertz, name, 0.5)
    f0, voicing = pitch(wave)
    assert (f0 > 0).all() and voicing.min() > 0.9
    error = cents(f0, true)
    assert error.max() < 5 and np.median(error) < 1


@pytest.mark.parametrize("sweep", [(80, 400), (400, 80), (120, 180)])
@pytest.mark.parametrize("signal", [tone, vowel])
def test_f0_of_sweeps(sweep, signal):
    wave, true = signal(sweep, seconds=1.5)
    f0, _ = pitch(wave)
    assert (f0 > 0).all()
    # At the ends the window is moved inwards: up to 27.5 ms, 3 frames and 51 cents of the fastest sweep.
    assert cents(f0, true).max() < 60
    assert cents(f0, true, edge=3).max() < 30 and np.median(cents(f0, true, edge=3)) < 6


@pytest.mark.parametrize("decibel,most_gross,most_cents", [(20, 0, 1), (10, 0, 2), (3, 0.01, 5)])
def test_f0_of_vowels_in_noise(decibel, most_gross, most_cents):
    errors = []
    for seed, hertz in enumerate((90, 140, 200, 310)):
        wave, true = vowel(hertz, seconds=0.5)
        wave = wave + noise(0.5, np.sqrt(np.mean(wave**2) * 10 ** (-decibel / 10)), seed)
        f0, _ = pitch(wave)
        assert (f0 > 0).mean() > 0.95
        errors.append(cents(f0, true))
    error = np.concatenate(errors)
    assert (error > 1200 * math.log2(1.2)).mean() <= most_gross and np.median(error) < most_cents


def test_no_octave_errors():
    t = np.arange(RATE // 2) / RATE
    harmonics = {k: np.cos(2 * np.pi * 150 * k * t + k) for k in range(1, 12)}
    without_fundamental = sum(harmonics[k] for k in range(2, 12)).astype(np.float32) * 0.03
    strong_second = (0.05 * harmonics[1] + 0.3 * harmonics[2] + 0.05 * harmonics[3]).astype(np.float32)
    shaken = vowel(150, seconds=0.5)[0] * (1 + 0.05 * np.cos(2 * np.pi * 75 * t)).astype(np.float32)
    for wave in (without_fundamental, strong_second, shaken):
        f0, _ = pitch(wave)
        assert (f0 > 0).all() and np.abs(1200 * np.log2(f0 / 150)).max() < 20


def test_voicing_follows_speech_and_pauses():
    wave = np.concatenate([vowel(140, seconds=0.4)[0], noise(0.4, 0.02), vowel(210, "i", 0.4)[0], np.zeros(6400)])
    f0, voicing = pitch(wave.astype(np.float32))
    parts = [slice(40 * i + 3, 40 * i + 35) for i in range(4)]
    for part, hertz in zip(parts[::2], (140, 210), strict=True):
        assert np.abs(f0[part] / hertz - 1).max() < 0.01 and voicing[part].min() > 0.9
    for part in parts[1::2]:
        assert (f0[part] == 0).all() and voicing[part].max() < 0.3


def test_noise_silence_and_offsets_are_unvoiced():
    for wave in (noise(), noise(level=1e-4), np.zeros(RATE, np.float32), np.full(RATE, 0.3, np.float32)):
        f0, voicing = pitch(wave)
        assert (f0 == 0).all() and 0 <= voicing.min() and voicing.max() < 0.3
    assert pitch(np.zeros(RATE, np.float32))[1].max() == 0


def test_f0_depends_on_neither_level_nor_offset():
    wave = utterance(3)
    f0, voicing = pitch(wave)
    assert 0.2 < (f0 > 0).mean() < 0.9
    for other in (wave * np.float32(0.001), wave + np.float32(0.2)):
        again, again_voicing = pitch(other)
        np.testing.assert_allclose(again, f0, rtol=1e-3)
        np.testing.assert_allclose(again_voicing, voicing, atol=2e-3)


def test_range_is_kept():
    narrow = PitchSettings(RATE, 400, 160, f0_min=100.0, f0_max=300.0, voicing_threshold=0.5)
    f0, _ = pitch(utterance(), narrow)
    assert ((f0 == 0) | ((f0 >= 100) & (f0 <= 300))).all()
    np.testing.assert_allclose(pitch(tone(450, 0.3)[0], narrow)[0], 225, rtol=0.01)  # its period is too short


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_other_sampling_rates(rate):
    settings = PitchSettings(rate, rate // 40, rate // 100, f0_min=50.0, f0_max=500.0, voicing_threshold=0.5)
    wave = 0.1 * torch.sin(2 * math.pi * 170 * torch.arange(rate // 2) / rate)
    f0, _ = track_pitch(wave, len(cut_frames(wave, rate // 40, rate // 100)), settings)
    torch.testing.assert_close(f0, torch.full_like(f0, 170), rtol=1e-3, atol=0)


def test_autocorrelation_against_a_literal_one():
    """Filter the windowed frame, then sum products, one lag after the other."""
    wave = utterance(1)
    frame = 60
    got, level = normalized_autocorrelation(torch.from_numpy(wave), len(frames_of(wave)), SETTINGS)
    start = frame * 160 + 200 - 480
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(960) / 960)
    cut = (wave[start : start + 960] - wave[start : start + 960].mean()) * window
    spectrum = np.fft.fft(cut, 16384)
    hertz = np.abs(np.fft.fftfreq(16384, 1 / RATE))
    slope = np.clip((STOP_FROM - hertz) / (STOP_FROM - PASS_BELOW), 0, 1)
    # The weights are of power, hence the root.
    low = np.fft.ifft(spectrum * np.sqrt(0.5 - 0.5 * np.cos(np.pi * slope))).real
    assert float(level[frame]) == pytest.approx(np.sqrt(np.sum(cut**2)), rel=1e-5)
    for lag in (0, 1, 40, 100, 200, 320):
        own = np.sum(window[: 960 - lag] * window[lag:]) / np.sum(window**2)
        expected = np.sum(low * np.roll(low, lag)) / np.sum(cut**2) / own
        assert float(got[frame, lag]) == pytest.approx(expected, abs=2e-3)


# The path


def literal_viterbi(scores: np.ndarray, costs: np.ndarray) -> list[int]:
    states, frames = scores.shape
    total, back = [list(scores[:, 0])], []
    for t in range(1, frames):
        ways = [[total[-1][i] - costs[i, j, t - 1] for i in range(states)] for j in range(states)]
        back.append([int(np.argmax(way)) for way in ways])
        total.append([max(way) + scores[j, t] for j, way in enumerate(ways)])
    path = [int(np.argmax(total[-1]))]
    for step in reversed(back):
        path.append(step[path[-1]])
    return path[::-1]


@pytest.mark.parametrize("frames", [1, 2, 3, 8, 9, 100])
def test_best_path_is_viterbis(frames):
    rng = np.random.default_rng(frames)
    scores, costs = rng.random((6, frames)), rng.random((6, 6, frames - 1))
    assert best_path(torch.from_numpy(scores), torch.from_numpy(costs)).tolist() == literal_viterbi(scores, costs)


def test_best_path_is_the_best_of_all():
    rng = np.random.default_rng(0)
    scores, costs = rng.random((3, 6)), rng.random((3, 3, 5))

    def worth(path: tuple[int, ...]) -> float:
        steps = sum(costs[a, b, t] for t, (a, b) in enumerate(itertools.pairwise(path)))
        return sum(scores[s, t] for t, s in enumerate(path)) - steps

    best = max(itertools.product(range(3), repeat=6), key=worth)
    assert tuple(best_path(torch.from_numpy(scores), torch.from_numpy(costs)).tolist()) == best
