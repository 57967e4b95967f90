"""Make speech-like audio from a voice setting: syllables, a glottal source, moving formants, consonant noise.

It is a source-filter synthesiser without a loop over samples. Glottal pulses (with jitter and shimmer) and noise are
cut into overlapping frames, each frame's spectrum is multiplied by the vocal-tract envelope of that moment, and the
frames are added up again. The result has no words, so it is not speech. It shares with speech the cues that emotion
classifiers use: F0 level, range and contour, energy, rate, pauses, spectral tilt, breathiness, formant scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from hf_ambiser.data.simulated.settings import Speaker, VoiceSetting


SAMPLING_RATE = 16000
MIN_SECONDS, MAX_SECONDS = 1.0, 4.0

_FRAME, _HOP = 512, 128
_MARGIN = 0.06  # seconds of room noise before and after
_BASE_LEVEL = -31.0  # dBFS of the voiced part at energy 0
_BASE_TILT = -7.0  # dB per octave of an average voice above 300 Hz
# F1 to F5 of five vowels in a low voice, in Hz, rounded; F4 and F5 hardly move.
_VOWELS = np.array(
    [
        [730, 1100, 2450, 3500, 4500],
        [280, 2250, 2950, 3600, 4500],
        [310, 870, 2250, 3400, 4400],
        [530, 1830, 2480, 3500, 4500],
        [570, 850, 2400, 3400, 4400],
    ],
    dtype=np.float64,
)
_BANDWIDTHS = np.array([80.0, 100.0, 140.0, 220.0, 300.0])
# Consonants: centre and width of the noise in Hz, and its level in dB relative to the vowel. The last one is a nasal,
# which has hardly any noise.
_CONSONANTS = np.array([[5500, 1500, -8], [3000, 1000, -7], [1800, 1500, -10], [4000, 2500, -14], [1000, 800, -40]])

_FREQUENCIES = np.arange(_FRAME // 2 + 1) * SAMPLING_RATE / _FRAME
_OCTAVES = np.log2(np.maximum(_FREQUENCIES, 300.0) / 300.0)
_WINDOW = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME))
# The group delay rises to 3 ms. With zero phase, all harmonics would peak at once and loud audio would overload.
_DISPERSION = np.exp(-1j * np.pi * 0.003 * _FREQUENCIES**2 / (SAMPLING_RATE / 2))


@dataclass(frozen=True)
class _Syllables:
    """Times in seconds and targets of the S syllables of one utterance."""

    consonant: np.ndarray  # (S,) start of the consonant
    vowel: np.ndarray  # (S,) start of the vowel
    end: np.ndarray  # (S,) end of the vowel
    semitones: np.ndarray  # (S,) F0 target above the speaker's base
    accent: np.ndarray  # (S,) rise and fall inside the vowel, semitones
    gain: np.ndarray  # (S,) dB
    formants: np.ndarray  # (S, 5) Hz
    noise: np.ndarray  # (S, 3) row of _CONSONANTS
    seconds: float


def synthesize(setting: VoiceSetting, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Synthesise one utterance.

    Args:
        setting: Acoustic parameters relative to the speaker.
        speaker: The voice.
        rng: The utterance's own generator; the same state gives the same samples.

    Returns:
        float64 (T,) in [-1, 1] at 16 kHz, 1 to 4 seconds.
    """
    plan = _plan(setting, speaker, rng)
    n_frames = -(-int(plan.seconds * SAMPLING_RATE) // _HOP) + 3
    n_samples = (n_frames - 1) * _HOP + _FRAME
    times = (np.arange(n_frames) * _HOP + _FRAME / 2 - _FRAME) / SAMPLING_RATE
    syllable = np.clip(np.searchsorted(plan.consonant, times, side="right") - 1, 0, len(plan.vowel) - 1)
    place = (times - plan.vowel[syllable]) / (plan.end[syllable] - plan.vowel[syllable])
    voiced = np.sqrt(np.sin(np.pi * np.clip(place, 0.0, 1.0)))
    onset = (times - plan.consonant[syllable]) / (plan.vowel[syllable] - plan.consonant[syllable])
    frication = np.sin(np.pi * np.clip(onset, 0.0, 1.0))

    middle = (plan.vowel + plan.end) / 2
    semitones = np.interp(times, middle, plan.semitones) + plan.accent[syllable] * voiced
    f0 = speaker.f0 * 2.0 ** (semitones / 12.0)
    formants = np.stack([np.interp(times, middle, column) for column in plan.formants.T], axis=1)
    loudness = 10.0 ** (plan.gain[syllable] / 20.0)

    tilt = 10.0 ** ((_BASE_TILT + speaker.tilt + setting.tilt) * _OCTAVES / 20.0)
    tract = _tract(formants, speaker.formants * np.exp(setting.formants))
    breath = 10.0 ** ((setting.breath + speaker.breath) / 20.0)
    # Aspiration is brighter than the voice: half of the tilt.
    noise_filter = tract * np.sqrt(tilt) * (breath * voiced * loudness)[:, None]
    centre, width, level = (plan.noise[syllable, i][:, None] for i in range(3))
    noise_filter += np.exp(-0.5 * ((_FREQUENCIES - centre) / width) ** 2) * (
        10.0 ** (level / 20.0) * 0.35 * (frication * loudness)[:, None]
    )
    voice_filter = tract * tilt * (voiced * loudness)[:, None]

    pulses = _pulses(f0, n_samples, setting, rng)
    white = rng.standard_normal(n_samples)
    spectrum = _spectra(pulses) * (voice_filter * _DISPERSION) + _spectra(white) * noise_filter
    samples = _overlap_add(spectrum)[_FRAME:]
    samples = samples[: int(plan.seconds * SAMPLING_RATE)]
    return _set_level(samples, _BASE_LEVEL + speaker.level + setting.energy, rng)


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Round samples in [-1, 1] to int16, which also hides tiny rounding differences between processors."""
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")


def _plan(setting: VoiceSetting, speaker: Speaker, rng: np.random.Generator) -> _Syllables:
    period = 0.21 * np.exp(-(setting.rate + speaker.rate))
    wanted = rng.uniform(1.2, 3.6)
    # The duration must not reveal the class, so the number of syllables follows the rate and the pauses.
    count = max(3, round(wanted / (period * (1.0 + 1.2 * setting.pause))))
    length = period * np.exp(0.18 * rng.standard_normal(count))
    pause = np.where(rng.random(count) < setting.pause, period * rng.uniform(0.6, 1.8, count), 0.0)
    pause[-1] = 0.0
    total = float(length.sum() + pause.sum())
    scale = np.clip(total, MIN_SECONDS - 2 * _MARGIN + 0.01, MAX_SECONDS - 2 * _MARGIN - 0.01) / total
    length, pause = length * scale, pause * scale
    start = _MARGIN + np.concatenate([[0.0], np.cumsum(length + pause)[:-1]])
    vowel = start + length * rng.uniform(0.22, 0.38, count)

    place = np.linspace(-0.5, 0.5, count)
    semitones = setting.f0_level + setting.f0_slope * place + setting.f0_range * rng.standard_normal(count)
    stressed = rng.random(count) < 0.4
    gain = setting.energy_range * rng.standard_normal(count) + np.where(stressed, 2.0, 0.0)
    formants = _VOWELS[rng.integers(len(_VOWELS), size=count)] * np.exp(0.04 * rng.standard_normal((count, 5)))
    noise = _CONSONANTS[rng.integers(len(_CONSONANTS), size=count)]
    return _Syllables(
        consonant=start,
        vowel=vowel,
        end=start + length,
        semitones=semitones,
        accent=np.where(stressed, setting.accent, 0.0),
        gain=gain,
        formants=formants,
        noise=noise,
        seconds=float(start[-1] + length[-1] + _MARGIN),
    )


def _tract(formants: np.ndarray, scale: float) -> np.ndarray:
    """Compute the vocal-tract magnitude (frames, bins): a floor and one peak per formant."""
    envelope = np.full((len(formants), len(_FREQUENCIES)), 0.06)
    for i, bandwidth in enumerate(_BANDWIDTHS):
        envelope += 1.0 / (1.0 + ((_FREQUENCIES - scale * formants[:, i : i + 1]) / bandwidth) ** 2)
    return envelope


def _pulses(f0: np.ndarray, n_samples: int, setting: VoiceSetting, rng: np.random.Generator) -> np.ndarray:
    """Place glottal pulses of unit power, (n_samples,), at fractional positions, so that F0 is not rounded."""
    sample = np.arange(n_samples)
    hz = np.interp(sample, np.arange(len(f0)) * _HOP + _FRAME / 2, np.clip(f0, 50.0, 600.0))
    phase = np.cumsum(hz) / SAMPLING_RATE
    cycle = np.arange(1, int(phase[-1]))
    position = np.interp(cycle, phase, sample)
    length = SAMPLING_RATE / np.interp(position, sample, hz)
    position = position + setting.jitter * length * rng.standard_normal(len(cycle))
    position = np.clip(position, 0.0, n_samples - 2.0)
    amplitude = np.sqrt(length) * 10.0 ** (setting.shimmer * rng.standard_normal(len(cycle)) / 20.0)
    whole = position.astype(np.int64)
    part = position - whole
    left = np.bincount(whole, amplitude * (1.0 - part), n_samples)
    return left + np.bincount(whole + 1, amplitude * part, n_samples)


def _spectra(samples: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP]
    return fft.rfft(frames * _WINDOW, axis=1)


def _overlap_add(spectrum: np.ndarray) -> np.ndarray:
    frames = fft.irfft(spectrum, n=_FRAME, axis=1) * (_WINDOW * (_HOP / _FRAME * 2))
    parts = _FRAME // _HOP
    out = np.zeros((len(frames) + parts - 1, _HOP))
    for i in range(parts):
        out[i : i + len(frames)] += frames[:, i * _HOP : (i + 1) * _HOP]
    return out.reshape(-1)


def _set_level(samples: np.ndarray, decibels: float, rng: np.random.Generator) -> np.ndarray:
    """Scale to `decibels` (dBFS, over the louder half of the utterance), add room noise, and prevent overload."""
    blocks = samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)
    power = np.sort((blocks**2).mean(axis=1))
    rms = np.sqrt(power[len(power) // 2 :].mean())
    room = 10.0 ** (rng.uniform(-68.0, -58.0) / 20.0)
    samples = samples * (10.0 ** (decibels / 20.0) / rms) + room * rng.standard_normal(len(samples))
    return samples * min(1.0, 0.97 / np.abs(samples).max())
