import io

import numpy as np
import pytest
import soundfile
from helpers.crema_d_tree import encode, tone

from hf_ambiser.data.audio import (
    DOWNMIXED,
    MIN_DURATION,
    RESAMPLED,
    SILENCE_PEAK,
    AudioProblem,
    CheckedAudio,
    decode,
    inspect_audio,
)
from hf_ambiser.data.schema import REASONS


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_16_khz_mono_clip_keeps_its_bytes(tmp_path, form):
    data = encode(tone(0.5), form=form)
    path = tmp_path / f"clip.{form.lower()}"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        audio = inspect_audio(source)
        assert isinstance(audio, CheckedAudio)
        assert audio.data == data and audio.conversions == () and audio.suffix == f".{form.lower()}"
        assert audio.duration == pytest.approx(0.5)


def test_another_rate_and_stereo_become_16_khz_mono_flac():
    rate, t = 44100, np.arange(44100) / 44100
    left = 0.5 * np.sin(2 * np.pi * 440 * t)
    stereo = np.stack([left, 0.2 * left], axis=1)
    audio = inspect_audio(encode(stereo, rate))
    assert audio.conversions == (DOWNMIXED, RESAMPLED) and audio.suffix == ".flac"
    assert "44100 Hz to 16000 Hz" in audio.detail and "2 channels" in audio.detail
    wave, stored = soundfile.read(io.BytesIO(audio.data))
    assert stored == 16000 and wave.shape == (16000,) and audio.duration == pytest.approx(1.0)
    expected = 0.6 * 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)  # mean of 1 and 0.2 times the tone
    assert np.abs(wave - expected)[200:-200].max() < 2e-3
    assert inspect_audio(encode(stereo, rate)).data == audio.data  # the same input, the same bytes
    assert inspect_audio(audio.data).data == audio.data  # and nothing is converted twice


def test_stereo_at_16_khz_is_averaged_only():
    audio = inspect_audio(encode(tone(0.3, channels=2)))
    assert audio.conversions == (DOWNMIXED,)
    assert decode(audio.data) == pytest.approx(tone(0.3, channels=2).mean(axis=1), abs=2e-4)


def broken(kind: str) -> bytes:
    samples = tone(0.3)
    if kind == "nan":
        samples[5] = np.nan
    if kind == "inf":
        samples[5] = np.inf
    return {
        "no_bytes": lambda: b"",
        "text": lambda: b"this is not audio",
        "truncated": lambda: encode(samples)[:30],
        "empty": lambda: encode(samples[:0]),
        "zeros": lambda: encode(0 * samples),
        "dither": lambda: encode(samples * 0 + np.float32(SILENCE_PEAK / 2), subtype="FLOAT"),
        "opposite": lambda: encode(np.concatenate([samples, -samples], axis=1)),
        "short": lambda: encode(samples[: round(MIN_DURATION * 16000) - 1]),
        "short_44k": lambda: encode(tone(0.09, 44100), 44100),
        "nan": lambda: encode(samples, subtype="FLOAT"),
        "inf": lambda: encode(samples, subtype="FLOAT"),
        "integers": lambda: encode(tone(0.3) * 32768, subtype="FLOAT"),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("no_bytes", "unreadable_audio"),
        ("text", "unreadable_audio"),
        ("truncated", "unreadable_audio"),
        ("empty", "empty_audio"),
        ("zeros", "silent_audio"),
        ("dither", "silent_audio"),
        ("opposite", "silent_audio"),
        ("short", "too_short_audio"),
        ("short_44k", "too_short_audio"),
        ("nan", "invalid_audio"),
        ("inf", "invalid_audio"),
        ("integers", "invalid_audio"),
    ],
)
def test_unusable_audio_is_named(kind, reason):
    problem = inspect_audio(broken(kind))
    assert isinstance(problem, AudioProblem), problem
    assert problem.reason == reason and reason in REASONS and problem.detail
    assert " at 0x" not in problem.detail  # `listed.csv` is the same in each build


def test_a_missing_file_is_unreadable_and_the_minimum_is_inclusive(tmp_path):
    assert inspect_audio(tmp_path / "none.wav").reason == "unreadable_audio"
    exact = encode(tone(0.3)[: round(MIN_DURATION * 16000)])
    assert isinstance(inspect_audio(exact), CheckedAudio)
    assert inspect_audio(exact, min_duration=0.2).reason == "too_short_audio"


def test_decode_gives_float32_and_refuses_what_is_not_16_khz_mono():
    samples = tone(0.3)
    wave = decode(encode(samples))
    assert wave.dtype == np.float32 and wave.shape == (4800,)
    assert wave == pytest.approx(samples[:, 0], abs=1e-4)
    with pytest.raises(ValueError, match="1 channel.*8000 Hz, expected 1 at 16000"):
        decode(encode(samples, 8000))
    for spoilt in (b"", b"no audio", None, bytes(1000)):
        with pytest.raises(ValueError, match="audio of u1 cannot be decoded .* build it again"):
            decode(spoilt, "audio of u1")
