"""Recordings that users really have and that are none, or unusual ones; and what every door must say of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from helpers.made_model import RATE, noise


# Name -> status of the answer, and words of its reason.
EXPECTED = {
    "a_text.wav": ("unreadable", "libsndfile cannot read it"),
    "empty.wav": ("unreadable", "the file is empty (0 bytes)"),
    "nan.wav": ("invalid", "samples are NaN or infinite"),
    "no_sample.wav": ("unreadable", "no sample"),
    "of_20_ms.wav": ("too short", "0.020 s are shorter than 0.1 s"),
    "silence.wav": ("silent", "dB of full scale"),
    "eight_channels.wav": ("answered", ""),
    "eight_bit.wav": ("answered", ""),
    "of_192_khz.wav": ("answered", ""),
}


def bad_recordings(folder: Path) -> Path:
    """Write all of them into a new folder; none has ffmpeg's help, so set PATH in the test."""
    folder.mkdir(parents=True)
    wave = 4 * noise(0.6)
    spoilt = wave.copy()
    spoilt[100] = np.nan
    (folder / "a_text.wav").write_text("no audio")
    (folder / "empty.wav").touch()
    for name, samples, rate, kind in (
        ("nan", spoilt, RATE, "FLOAT"),
        ("no_sample", wave[:0], RATE, "PCM_16"),
        ("of_20_ms", wave[: RATE // 50], RATE, "PCM_16"),
        ("silence", 0 * wave, RATE, "PCM_16"),
        ("eight_channels", np.stack([wave] * 8, axis=1), RATE, "PCM_16"),
        ("eight_bit", wave, RATE, "PCM_U8"),
        ("of_192_khz", np.repeat(wave, 12), 192_000, "PCM_16"),
    ):
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype=kind)
    return folder


def check(statuses: dict[str, tuple[str, str]]) -> None:
    """Compare what a door says, name -> (status, reason), with what it must say."""
    assert set(statuses) == set(EXPECTED)
    for name, (status, words) in EXPECTED.items():
        said, reason = statuses[name]
        assert said == status and words in reason and "\n" not in reason, (name, said, reason)
