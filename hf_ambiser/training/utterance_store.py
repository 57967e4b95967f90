"""The decoded utterances of one split, or the frames that a frozen encoder made of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ambiser.data.audio import decode
from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.training.collator import Example
from hf_ambiser.training.frame_cache import FrameCache, Wanted, content_key
from hf_ambiser.training.frames import FRAMES, read_frames


if TYPE_CHECKING:
    from datasets import Dataset


class UtteranceStore:
    """Decoded utterances of one split: kept in memory up to a budget, decoded again beyond it.

    Args:
        dataset: A built split with an `audio` column of encoded bytes. If it has a column `frames`, that is read
            instead.
        max_seconds: Longer utterances are cut at their end and counted in `n_cut`; None keeps them whole.
        cache_gb: Memory for decoded utterances, in GB.
        segment_seconds: Longer utterances are divided into segments of this length, the last one shorter. The length
            of the store, indices and `durations` then count segments; `utterance` is a segment's row in the split,
            `segment` its number within the utterance, from 0. None: each utterance is one segment.
    """

    def __init__(
        self,
        dataset: Dataset,
        max_seconds: float | None = None,
        cache_gb: float = 2.0,
        segment_seconds: float | None = None,
    ) -> None:
        self._kind = FRAMES if FRAMES in dataset.column_names else "audio"
        self._stored = dataset.select_columns([self._kind])
        self._limit = None if max_seconds is None else round(max_seconds * SAMPLING_RATE)
        self._budget = cache_gb * 1e9
        self._cache: dict[int, np.ndarray] = {}
        self.frames: FrameCache | None = None
        self.keys: list[str] = []
        durations = np.asarray(dataset["duration"], dtype=np.float64)
        # Compare samples, not seconds: durations are stored as float32, in which 1.1 s is more than 1.1 s.
        samples = np.rint(durations * SAMPLING_RATE).astype(np.int64)
        self.n_cut = 0 if self._limit is None else int((samples > self._limit).sum())
        kept = samples if self._limit is None else np.minimum(samples, self._limit)
        self._size = None if segment_seconds is None else round(segment_seconds * SAMPLING_RATE)
        n = np.ones_like(kept) if self._size is None else np.maximum(-(-kept // self._size), 1)
        self.utterance = np.repeat(np.arange(len(n)), n)
        self.segment = np.arange(len(self.utterance)) - np.repeat(np.cumsum(n) - n, n)
        self.durations = durations[self.utterance]
        if self._size is not None:
            left = (kept[self.utterance] - self.segment * self._size) / SAMPLING_RATE
            self.durations = np.minimum(left, self._size / SAMPLING_RATE)

    def __len__(self) -> int:
        return len(self.utterance)

    def __getitem__(self, i: int) -> np.ndarray:
        whole = self._whole(int(self.utterance[i]))
        if self._size is None:
            return whole
        start = self.segment[i] * self._size
        return whole[start : start + self._size]

    def use_frames(self, cache: FrameCache) -> list[Wanted]:
        """Let `example` read a frozen encoder's frames; return what the cache must be filled with before that."""
        stored = (self._stored[u][self._kind]["bytes"] for u in range(len(self._stored)))
        contents = [content_key(encoded, self._limit, self._size) for encoded in stored]
        self.keys = [
            contents[u] if s == 0 else content_key(contents[u].encode(), s)
            for u, s in zip(self.utterance.tolist(), self.segment.tolist(), strict=True)
        ]
        self.frames = cache
        return [Wanted(key, self.samples(i), partial(self.__getitem__, i)) for i, key in enumerate(self.keys)]

    @property
    def longest(self) -> int | None:
        """The most samples that a row may have; None: there is no limit."""
        limits = [limit for limit in (self._limit, self._size) if limit is not None]
        return min(limits, default=None)

    def samples(self, i: int) -> int:
        """Return the length of a row's waveform."""
        n = round(float(self.durations[i]) * SAMPLING_RATE)
        return n if self._limit is None else min(n, self._limit)

    def example(self, i: int, index: int, role: int, **labels: Any) -> Example:
        """Return a row as an example; with the frames of a frozen encoder where there are any."""
        if self.frames is None:
            return Example(self[i], index, role, **labels)
        waveform = self[i] if self.frames.model.needs_waveform else None
        return Example(waveform, index, role, encoded=self.frames.read(self.keys[i]), **labels)

    def names(self, ids: Sequence[str]) -> list[str]:
        """Return an id for each segment: the utterance's id, with `#<number>` for all segments but the first."""
        every = ids[:]  # at once: a column of `datasets` would select and read a row for each index
        return [
            f"{every[u]}#{s}" if s else str(every[u])
            for u, s in zip(self.utterance.tolist(), self.segment.tolist(), strict=True)
        ]

    def _whole(self, i: int) -> np.ndarray:
        if i in self._cache:
            return self._cache[i]
        stored = self._stored[i][self._kind]
        try:
            signal = decode(stored["bytes"]) if self._kind == "audio" else read_frames(stored)
        except ValueError as error:
            name = stored["path"] if self._kind == "audio" else None
            raise ValueError(f"{name or f'row {i}'}: {error}") from error
        if self._kind == "audio" and self._limit is not None and len(signal) > self._limit:
            signal = signal[: self._limit].copy()  # a view would keep the whole waveform in memory
        self._budget -= signal.nbytes
        if self._budget > 0:
            self._cache[i] = signal
        return signal
