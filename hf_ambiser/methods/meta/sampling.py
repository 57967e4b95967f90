"""Over- and under-sampling: epochs in which all classes have the same number of utterances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hf_ambiser.training.sampler import StepKey, StepSampler


class BalancedSampler(StepSampler):
    """A `StepSampler` over utterances that are drawn anew for each epoch, the same number of each class.

    Over-sampling takes all utterances and fills up each class to the size of the largest, drawing with replacement.
    Under-sampling draws from each class, without replacement, as many as the rarest class has. The draws depend on
    seed and epoch only. An utterance that is drawn twice may occur twice in one step.

    Args:
        labels: Class of each labelled utterance, `(N,)`.
        kind: `over` or `under`.
        lengths: Length of each labelled utterance, `(N,)`.
        **options: Arguments of `StepSampler`.
    """

    def __init__(self, labels: np.ndarray, kind: str, lengths: np.ndarray, **options: Any) -> None:
        self.members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
        sizes = [len(m) for m in self.members]
        self.per_class = max(sizes) if kind == "over" else min(sizes)
        self.options = options
        super().__init__(np.zeros(self.per_class * len(sizes)), [], **options)
        self.lengths = np.asarray(lengths, dtype=np.float64)

    def drawn(self, epoch: int) -> np.ndarray:
        """Return the utterances of an epoch, class by class."""
        rng = np.random.default_rng((self.seed, epoch, 3))  # StepSampler uses streams 0 to 2
        parts = []
        for members in self.members:
            missing = self.per_class - len(members)
            more = rng.choice(members, missing) if missing > 0 else rng.permutation(members)[: self.per_class]
            parts.append(np.concatenate([members, more]) if missing > 0 else more)
        return np.concatenate(parts)

    def __iter__(self) -> Iterator[StepKey]:
        chosen = self.drawn(self.epoch)
        order = StepSampler(self.lengths[chosen], [], **self.options)
        order.set_epoch(self.epoch)
        for key in order:
            yield key._replace(labelled=int(chosen[key.labelled]))
