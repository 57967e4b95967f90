"""Resampling of audio that comes in blocks, with libsoxr: time and memory do not depend on how odd a rate is."""

from __future__ import annotations

import numpy as np

from hf_ambiser.data.sound_file import HIGHEST, LOWEST
from hf_ambiser.inference.no_audio import NoAudio


class Resampler:
    """Changes the sampling rate of mono blocks that come one after the other.

    How the audio is divided into blocks does not matter. Audio that already has the wanted rate passes as it is.

    Args:
        rate: Sampling rate of the blocks in Hz, `LOWEST` to `HIGHEST`.
        wanted: Sampling rate of the result in Hz.

    Raises:
        NoAudio: If `rate` is out of range.
    """

    def __init__(self, rate: int, wanted: int) -> None:
        if not LOWEST <= rate <= HIGHEST:
            raise NoAudio("invalid", f"its sampling rate is {rate} Hz; allowed: {LOWEST} to {HIGHEST} Hz")
        self._stream = None
        if rate == wanted:
            return
        # Imported here: most recordings have the model's rate already.
        import soxr

        self._stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32")

    def feed(self, block: np.ndarray) -> np.ndarray:
        """Return the samples that are ready after a block `(T,)` float32; some come only with the next one."""
        return block if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(block))

    def finish(self) -> np.ndarray:
        """Return the last samples; there is no block after it."""
        empty = np.zeros(0, dtype=np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)
