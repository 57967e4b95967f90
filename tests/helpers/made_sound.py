"""A tone, and what becomes of a recording: all its samples, or why there are none."""

from __future__ import annotations

import numpy as np
import pytest

from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording


RATE = 16000


def tone(seconds: float = 1.0, rate: int = RATE, pitch: float = 220.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def read(recording: Recording) -> np.ndarray:
    return np.concatenate([*recording.blocks(RATE), np.zeros(0, np.float32)])


def problem(recording: Recording) -> NoAudio:
    with pytest.raises(NoAudio) as caught:
        read(recording)
    return caught.value
