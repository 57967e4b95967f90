"""Recordings that occur twice: what is found under other volume, silence and coding, what is not, and how fast."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
import soundfile
from helpers.babble import RATE, babble

from hf_ambiser.data.overlap import audio_print as prints
from hf_ambiser.data.overlap.audio_print import CUTS, LENGTHS, THRESHOLD, audio_print, identical_groups, near_groups


def quiet(n: int, level: float = 0.0) -> np.ndarray:
    return (level * np.random.default_rng(n).normal(size=n)).astype(np.float32)


def noisy(wave: np.ndarray, decibels: float) -> np.ndarray:
    power = float((wave**2).mean()) / 10 ** (decibels / 10)
    return wave + quiet(len(wave), power**0.5)


def mp3(wave: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="MP3")
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def coded(wave: np.ndarray) -> np.ndarray:
    """What a lossy codec does, made by hand: every spectrum of 32 ms in steps of a tenth of its loudest frequency."""
    pieces = wave[: len(wave) // 512 * 512].reshape(-1, 512)
    spectrum = np.fft.rfft(pieces, axis=1)
    step = np.abs(spectrum).max(axis=1, keepdims=True) / 10 + 1e-9
    rounded = step * (np.round(spectrum.real / step) + 1j * np.round(spectrum.imag / step))
    return np.fft.irfft(rounded, 512, axis=1).ravel().astype(np.float32)


COPIES = {
    "louder": lambda wave: 2.5 * wave,
    "much softer, 16 bits": lambda wave: np.round(0.02 * wave * 32768).astype(np.float32) / 32768,
    "silence at both ends": lambda wave: np.concatenate([quiet(12345), wave, quiet(5000)]),
    "hiss at both ends": lambda wave: np.concatenate([quiet(12345, 3e-4), wave, quiet(5000, 3e-4)]),
    "noise": lambda wave: noisy(wave, 25),
    "steps of a codec": coded,
    "all of it": lambda wave: coded(np.concatenate([quiet(7777), 0.3 * noisy(wave, 30), quiet(3333)])),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_found_whatever_was_done_to_it(change):
    waves = [babble(seed) for seed in range(20)]
    made = [audio_print(wave) for wave in [*waves, *(COPIES[change](wave) for wave in waves)]]
    groups = near_groups(made)
    assert len(set(groups[:20])) == len(set(groups[20:])) == 20  # nothing is taken for another recording
    assert (groups[:20] == groups[20:]).sum() >= 19
    assert len(set(identical_groups(made))) == 40  # none of them has the same samples


@pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="this libsndfile writes no MP3")
def test_a_copy_through_a_real_mp3_is_found():
    waves = [babble(seed) for seed in range(8)]
    groups = near_groups([audio_print(wave) for wave in [*waves, *map(mp3, waves)]])
    assert groups[:8].tolist() == groups[8:].tolist() and len(set(groups)) == 8


def test_what_it_cannot_find_and_what_it_does_not_compare():
    wave = babble(0)
    slower = np.interp(np.arange(0, len(wave), 0.94), np.arange(len(wave)), wave).astype(np.float32)
    for other in (wave[: len(wave) // 2], slower, wave + 2 * babble(1)):
        assert len(set(near_groups([audio_print(wave), audio_print(other)]))) == 2
    steady = [np.sin(np.arange(RATE) * 0.1).astype(np.float32), quiet(RATE, 0.1), quiet(RATE + 1, 0.1)]
    short = [wave[:300], wave[: int(0.2 * RATE)], np.zeros(RATE, np.float32)]
    assert not any(audio_print(one).comparable for one in [*steady, *short])
    twice = [audio_print(one) for one in [*steady, *short, *steady]]
    # Those are compared by their samples alone.
    assert near_groups(twice).tolist() == identical_groups(twice).tolist() and len(set(near_groups(twice))) == 6


def test_a_group_is_closed_and_groups_are_those_of_all_pairs():
    """The blocks by length against a loop over all pairs."""
    waves = [babble(seed, 1.0 + 0.01 * (seed % 7)) for seed in range(30)]
    waves += [0.5 * waves[3], noisy(waves[3], 25), waves[9], noisy(waves[9], 30), waves[9].copy()]
    made = [audio_print(wave) for wave in waves]
    slow = list(range(len(made)))

    def alike(a, b) -> bool:
        if a.digest == b.digest:
            return True
        for cut in range(len(CUTS)):
            one, other = a.pictures[cut], b.pictures[cut]
            short, long = sorted((a.frames[cut], b.frames[cut]))
            if one is not None and other is not None and long <= max(short * (1 + LENGTHS), short + 2):
                if float(one.astype(np.float64) @ other.astype(np.float64)) >= THRESHOLD:
                    return True
        return False

    for i, one in enumerate(made):
        for j in range(i):
            if alike(one, made[j]) and slow[i] != slow[j]:
                slow = [slow[j] if group == slow[i] else group for group in slow]
    fast = near_groups(made).tolist()
    pairs = {(i, j) for i in range(len(made)) for j in range(i) if fast[i] == fast[j]}
    assert pairs == {(i, j) for i in range(len(made)) for j in range(i) if slow[i] == slow[j]}
    assert pairs == {(30, 3), (31, 3), (31, 30), *((i, j) for i in (32, 33, 34) for j in (9, 32, 33) if j < i)}


def test_a_picture_is_what_steps_three_and_four_say():
    """Cell by cell, from the powers of the frames."""
    power = np.random.default_rng(0).exponential(size=(41, prints.BANDS)) ** 3
    cells = np.zeros((prints.PARTS, prints.BANDS))
    for part in range(prints.PARTS):
        start = max(0.0, (part - 0.5) * 41 / prints.PARTS)
        stop = min(41.0, (part + 1.5) * 41 / prints.PARTS)
        for frame in range(41):
            cells[part] += max(0.0, min(stop, frame + 1) - max(start, frame)) / (stop - start) * power[frame]
    floor = cells.max() / 10**3.5
    decibels = np.array([[10 * np.log10(max(cell, floor)) for cell in row] for row in cells])
    for band in range(prints.BANDS):
        decibels[:, band] -= decibels[:, band].sum() / prints.PARTS
    expected = decibels.ravel() / np.sqrt((decibels**2).sum())
    assert np.abs(prints._picture(power).astype(float) - expected).max() < 1e-4


def test_four_thousand_pictures_take_seconds():
    rng = np.random.default_rng(0)
    size = prints.PARTS * prints.BANDS
    pictures = rng.normal(size=(4000, size)).astype(np.float32)
    pictures = (pictures / np.linalg.norm(pictures, axis=1, keepdims=True)).astype(np.float16)
    pictures[3999] = pictures[7]
    lengths = rng.integers(60, 200, 4000)
    lengths[3999] = lengths[7]
    made = [
        prints.AudioPrint(f"{i:016d}".encode(), (int(n),) * len(CUTS), (picture,) * len(CUTS))
        for i, (n, picture) in enumerate(zip(lengths, pictures, strict=True))
    ]
    start = time.process_time()
    groups = near_groups(made)
    assert time.process_time() - start < 10
    assert groups[7] == groups[3999] and len(set(groups.tolist())) == 3999
