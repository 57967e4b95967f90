"""Utterances that are changed before a model hears them: anew in each epoch, or cached frames of a few copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain

import numpy as np

from hf_ambiser.training.augment import Augmenter
from hf_ambiser.training.collator import Example
from hf_ambiser.training.frame_cache import FrameCache, Wanted, content_key
from hf_ambiser.training.utterance_store import UtteranceStore


class AugmentedCopies:
    """Augmented copies of the utterances of a store.

    Args:
        store: The utterances.
        ids: The id of each, which decides its draws together with the seed and the epoch.
        augment: How they are changed. A copy that became longer than the store lets an utterance be is cut there.
        seed: The run's seed.
    """

    def __init__(self, store: UtteranceStore, ids: Sequence[str], augment: Augmenter, seed: int) -> None:
        self._store, self._ids, self.augment, self._seed = store, ids, augment, seed
        self._cached: list[list[Wanted]] = []

    def use_frames(self, copies: int) -> Iterable[Wanted]:
        """Read a frozen encoder's frames from now on; return what the store's cache must be filled with before that.

        Args:
            copies: Copies of each utterance. Epoch e uses copy (seed + e) mod `copies`, so that runs with other seeds
                share them.
        """
        rows = range(len(self._store))
        self._cached = [[self._wanted(i, copy) for i in rows] for copy in range(copies)]
        return chain.from_iterable(self._cached)

    @property
    def cached(self) -> int | None:
        """The number of cached copies of an utterance; None: each epoch makes its own."""
        return len(self._cached) or None

    def example(self, i: int, index: int, role: int, epoch: int) -> Example:
        """Return the copy of a row that belongs to an epoch."""
        cache = self._store.frames
        if cache is None:
            return Example(self._waveform(i, self._seed, epoch), index, role)
        return self._cached_example(cache, i, index, role, epoch)

    def _cached_example(self, cache: FrameCache, i: int, index: int, role: int, epoch: int) -> Example:
        wanted = self._cached[(self._seed + epoch) % len(self._cached)][i]
        waveform = wanted.waveform() if cache.model.needs_waveform else None
        return Example(waveform, index, role, encoded=cache.read(wanted.key))

    def _wanted(self, i: int, copy: int) -> Wanted:
        samples = self.augment.samples(self._store.samples(i), 0, copy, self._ids[i])
        key = content_key(self._store.keys[i].encode(), "augmented", self.augment.config.acting(), self._ids[i], copy)
        return Wanted(key, self._cut(samples), partial(self._waveform, i, 0, copy))

    def _waveform(self, i: int, seed: int, epoch: int) -> np.ndarray:
        changed = self.augment(self._store[i], seed=seed, epoch=epoch, key=self._ids[i])
        return changed[: self._cut(len(changed))]

    def _cut(self, samples: int) -> int:
        longest = self._store.longest
        return samples if longest is None else min(samples, longest)
