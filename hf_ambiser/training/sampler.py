"""Which utterances each optimiser step sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class StepKey(NamedTuple):
    """One labelled utterance, the ambiguous ones that go with it, and the epoch, which decides the augmentation.

    The epoch is part of the key because loader workers and prefetching hold copies of the data set, which would learn
    of a new epoch too late.
    """

    epoch: int
    labelled: int
    ambiguous: tuple[int, ...]


class StepSampler(Sampler[StepKey]):
    """The order of an epoch, as a function of seed, epoch and effective batch only.

    The keys of one optimiser step stand together, so the step is the same however it is divided into micro-batches
    and ranks. An epoch passes over the labelled utterances once; the first ones of the epoch fill up its last step.
    With length grouping, a step holds utterances of similar length: keys are sorted by length inside windows of
    `window` steps, and then the steps are shuffled.

    Args:
        labelled_lengths: Length of each labelled utterance, in any unit.
        ambiguous_lengths: Length of each ambiguous utterance; empty if the method takes none.
        effective_batch: Labelled utterances per optimiser step, over micro-batches and ranks.
        ambiguous_per_step: Epoch -> number of ambiguous utterances per optimiser step.
        seed: Seed of the order.
        length_grouping: Whether to group by length.
        window: Largest number of steps in a window of length grouping. A window is smaller if it would hold more than
            half of the utterances.
    """

    def __init__(
        self,
        labelled_lengths: Sequence[float] | np.ndarray,
        ambiguous_lengths: Sequence[float] | np.ndarray,
        effective_batch: int,
        ambiguous_per_step: Callable[[int], int],
        seed: int,
        length_grouping: bool = True,
        window: int = 32,
    ) -> None:
        if len(labelled_lengths) == 0:
            raise ValueError(
                "there is no labelled utterance to train on: the training split is empty; choose another split, or a"
                " target that its utterances have."
            )
        self.labelled_lengths = np.asarray(labelled_lengths, dtype=np.float64)
        self.ambiguous_lengths = np.asarray(ambiguous_lengths, dtype=np.float64)
        self.effective_batch = effective_batch
        self.ambiguous_per_step = ambiguous_per_step
        self.seed = seed
        self.length_grouping = length_grouping
        self.window = window
        self.epoch = 0
        self.steps = -(-len(self.labelled_lengths) // effective_batch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.effective_batch

    def __iter__(self) -> Iterator[StepKey]:
        per_step = self.ambiguous_per_step(self.epoch) if len(self.ambiguous_lengths) else 0
        labelled = self._draw(self.labelled_lengths, self.effective_batch, stream=0)
        ambiguous = self._draw(self.ambiguous_lengths, per_step, stream=1)
        order = np.random.default_rng((self.seed, self.epoch, 2)).permutation(self.steps)
        batch = self.effective_batch
        for step in order:
            for i in range(batch):
                mine = ambiguous[step, i * per_step // batch : (i + 1) * per_step // batch]
                yield StepKey(self.epoch, int(labelled[step, i]), tuple(int(j) for j in mine))

    def _draw(self, lengths: np.ndarray, per_step: int, stream: int) -> np.ndarray:
        """Return `(steps, per_step)` indices: one permutation, repeated until every step is full."""
        needed = self.steps * per_step
        if needed == 0:
            return np.zeros((self.steps, 0), dtype=np.int64)
        rng = np.random.default_rng((self.seed, self.epoch, stream))
        # Repeat the same permutation: then any `per_step` in a row are different, as long as there are that many.
        drawn = np.resize(rng.permutation(len(lengths)), (self.steps, per_step))
        if self.length_grouping:
            # Sort at most half of the utterances at a time: sorting all would make the same steps in every epoch, and
            # would put an utterance that is drawn twice into one step.
            window = min(self.window, max(len(lengths) // (2 * per_step), 1))
            for start in range(0, self.steps, window):
                part = drawn[start : start + window].ravel()
                part = part[np.argsort(lengths[part], kind="stable")]
                drawn[start : start + window] = part.reshape(-1, per_step)
        return drawn
