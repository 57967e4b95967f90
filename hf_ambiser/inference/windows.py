"""Overlapping windows of audio that comes in blocks of any size."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np

from hf_ambiser.data.audio import MIN_DURATION


SHORTEST = MIN_DURATION  # seconds: no utterance is shorter that a model has learnt from
# Seconds of a window, where the model does not say one. The shipped model has learnt from utterances of 1.3 to 4.9 s,
# 2.5 s on average, so each of these is one window.
WINDOW = 6.0


@dataclass(frozen=True)
class Window:
    """A part of a recording.

    Args:
        start: Index of its first sample in the recording.
        samples: `(T,)` float32.
    """

    start: int
    samples: np.ndarray


@dataclass(frozen=True)
class WindowSizes:
    """Length and step of windows in samples.

    A recording that is not longer than a window is one window. A longer one has a window at 0, hop, 2 hop ... as long
    as a whole one fits; if samples are left after the last of them, one more window begins a hop later and ends with
    the recording, so it is shorter.
    """

    window: int
    hop: int

    @classmethod
    def of(cls, window: float, hop: float | None, rate: int) -> WindowSizes:
        """Return the sizes of windows that are given in seconds; without a hop, half of each window is new.

        Raises:
            ValueError: If a window is shorter than `SHORTEST`, or the hop is not above 0 and at most a window.
        """
        if not (isinstance(window, Real) and SHORTEST <= window < float("inf")):
            raise ValueError(f"window is {window!r} s; allowed: {SHORTEST} or more, in seconds.")
        hop = window / 2 if hop is None else hop
        if not (isinstance(hop, Real) and 0 < hop <= window) or round(hop * rate) < 1:
            raise ValueError(
                f"hop is {hop!r} s; allowed: from one sample (1/{rate} s) up to the window ({window:g} s), or what"
                " lies between windows would not be heard."
            )
        return cls(round(window * rate), round(hop * rate))


class WindowCutter:
    """Cuts the windows out of blocks as they come; it holds the samples of about one window and one block."""

    def __init__(self, sizes: WindowSizes) -> None:
        self.sizes = sizes
        self.received = 0  # samples
        self._next = 0  # where the next window begins
        self._covered = 0  # where the last one ended
        self._blocks: list[np.ndarray] = []
        self._held = 0

    def feed(self, block: np.ndarray) -> list[Window]:
        """Return the windows that are whole after a block `(T,)`."""
        self._blocks.append(block)
        self._held += len(block)
        self.received += len(block)
        if self._held < self.sizes.window:
            return []
        held = np.concatenate(self._blocks)
        found, at = [], 0
        while len(held) - at >= self.sizes.window:
            # A copy: a view would keep the whole block in memory.
            found.append(Window(self._next, held[at : at + self.sizes.window].copy()))
            self._covered = self._next + self.sizes.window
            self._next += self.sizes.hop
            at += self.sizes.hop
        self._blocks, self._held = [held[at:].copy()], len(held) - at
        return found

    def finish(self) -> list[Window]:
        """Return the last window if samples are left that no window has had."""
        if self.received == self._covered:
            return []
        self._covered = self.received
        return [Window(self._next, np.concatenate(self._blocks))]
