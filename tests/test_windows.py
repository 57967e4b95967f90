"""Windows of a recording, and the gate for speech: beside literal transcriptions of what their docstrings say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hf_ambiser.inference.speech import FLOOR, RANGE, has_speech, level
from hf_ambiser.inference.windows import SHORTEST, Window, WindowCutter, WindowSizes


def places_by_the_docstring(length: int, window: int, hop: int) -> list[tuple[int, int]]:
    """(begin, end) of each window, one after the other."""
    if length == 0:
        return []
    if length <= window:
        return [(0, length)]
    places, begin = [], 0
    while begin + window <= length:
        places.append((begin, begin + window))
        begin += hop
    if places[-1][1] < length:
        places.append((places[-1][0] + hop, length))
    return places


def cut(samples: np.ndarray, sizes: WindowSizes, cuts: list[int]) -> list[Window]:
    cutter = WindowCutter(sizes)
    found = [window for block in np.split(samples, cuts) for window in cutter.feed(block)]
    assert cutter.received == len(samples)
    return found + cutter.finish()


@pytest.mark.parametrize("seed", range(60))
def test_windows_are_where_the_docstring_says_whatever_the_blocks_are(seed):
    random = np.random.default_rng(seed)
    window = int(random.integers(1, 50))
    hop = int(random.integers(1, window + 1))
    length = int(random.choice([0, 1, window - 1, window, window + 1, window + hop, random.integers(0, 400)]))
    samples = np.arange(length, dtype=np.float32)
    cuts = sorted(random.integers(0, length + 1, size=int(random.integers(0, 40))).tolist())
    found = cut(samples, WindowSizes(window, hop), cuts)
    places = places_by_the_docstring(length, window, hop)
    assert [(one.start, one.start + len(one.samples)) for one in found] == places
    for one in found:
        np.testing.assert_array_equal(one.samples, samples[one.start : one.start + len(one.samples)])
    heard = {i for begin, end in places for i in range(begin, end)}
    assert heard == set(range(length))


def test_the_cutter_holds_no_more_than_a_window_and_a_block():
    cutter = WindowCutter(WindowSizes(600, 300))
    most = 0
    for _ in range(1000):
        cutter.feed(np.zeros(100, dtype=np.float32))
        most = max(most, sum(block.base.size if block.base is not None else block.size for block in cutter._blocks))
    assert most <= 700


@pytest.mark.parametrize(
    ("window", "hop", "words"),
    [
        (0.05, None, f"window is 0.05 s; allowed: {SHORTEST} or more"),
        (math.nan, None, "window is nan s"),
        (math.inf, None, "window is inf s"),
        ("1", None, "window is '1' s"),
        (1.0, "1", "hop is '1' s"),
        (6.0, 0.0, r"hop is 0.0 s; allowed: from one sample \(1/\d+ s\) up to the window"),
        (6.0, 6.1, "hop is 6.1 s"),
        (6.0, math.nan, "hop is nan s"),
        (6.0, 1e-9, "hop is 1e-09 s"),
    ],
)
def test_sizes_that_leave_something_out_are_refused(window, hop, words):
    with pytest.raises(ValueError, match=words):
        WindowSizes.of(window, hop, 16000)


def test_half_of_each_window_is_new_if_no_hop_is_given():
    assert WindowSizes.of(6.0, None, 16000) == WindowSizes(96000, 48000)


def level_by_the_docstring(samples: np.ndarray, rate: int) -> float:
    size = rate * 25 // 1000
    levels = []
    for begin in range(0, len(samples) - size + 1, size):
        frame = [float(value) for value in samples[begin : begin + size]]
        mean = sum(frame) / size
        power = sum((value - mean) ** 2 for value in frame) / size
        levels.append(20 * math.log10(max(math.sqrt(power), 1e-10)))
    loudest = sorted(levels, reverse=True)
    return loudest[min(10, max(1, len(levels) // 2)) - 1]


@pytest.mark.parametrize(("seconds", "rate"), [(0.1, 16000), (0.3, 16000), (0.49, 16000), (2.0, 16000), (1.0, 8000)])
def test_the_level_is_what_the_docstring_says(seconds, rate):
    random = np.random.default_rng(round(100 * seconds))
    samples = random.normal(size=round(seconds * rate)) * np.abs(np.sin(np.arange(round(seconds * rate)) / 3000))
    found = level(samples.astype(np.float32) + 0.2, rate)
    assert found == pytest.approx(level_by_the_docstring(samples, rate), abs=1e-3)


def test_silence_a_constant_and_a_click_are_no_speech_and_the_level_is_that_of_full_scale():
    assert level(np.zeros(16000, dtype=np.float32), 16000) == -200
    assert level(np.full(16000, 0.7, dtype=np.float32), 16000) < FLOOR
    click = np.zeros(16000, dtype=np.float32)
    click[8000] = 1.0
    assert level(click, 16000) < FLOOR
    assert level(np.zeros(0, dtype=np.float32), 16000) == -200
    square = np.where(np.arange(16000) // 20 % 2, 1.0, -1.0)
    assert level(square.astype(np.float32), 16000) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("one", "loudest", "speech"),
    [(-20, -20, True), (-49, -20, True), (-51, -20, False), (-55, -50, True), (-61, -50, False), (-200, -200, False)],
)
def test_speech_is_loud_enough_and_not_far_below_the_loudest(one, loudest, speech):
    assert (RANGE, FLOOR) == (30, -60)
    assert has_speech(one, loudest) is speech
