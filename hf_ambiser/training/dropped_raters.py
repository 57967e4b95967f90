"""Label augmentation: in each epoch some raters' votes are left out of an utterance's soft label, drawn at random.

An utterance with n votes has the soft label `c / n`, where `c (K,)` counts its votes. With probability p each vote is
left out, independently of the others; at least one stays. The label is then the shares of the votes that stayed. All
votes have the same chance to stay, so the label's expectation over the epochs is still `c / n`.

The draw depends on `(seed, epoch, utterance)` only, as in `training/augment.py`: not on the batch, the rank or the
order. So a run that is resumed within an epoch sees the same labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.training.augment import keyed_generator


if TYPE_CHECKING:
    from hf_ambiser.training.dataset import TrainingSet

# Soft labels are stored as float32.
_TOLERANCE = 1e-5
# The number of a segment, at the end of its name. All segments of an utterance have the same label.
_SEGMENT = re.compile(r"#\d+$")


def kept_votes(votes: np.ndarray, probability: float, seed: int, epoch: int, utterance: str) -> np.ndarray:
    """Return the votes `(K,)` that stay of the votes `(K,)` of one utterance in one epoch.

    Args:
        votes: Whole numbers, at least one vote.
        probability: Probability in [0, 1) with which a vote is left out.
        seed: The run's seed.
        epoch: The epoch, from 0.
        utterance: The utterance's id.
    """
    each = np.repeat(np.arange(len(votes)), votes.astype(np.int64))
    # Another key than the utterance's own, with which its waveform is augmented.
    drawn = keyed_generator(seed, epoch, f"drop_raters {utterance}").random(len(each))
    stays = drawn >= probability
    if not stays.any():
        stays[drawn.argmax()] = True
    return np.bincount(each[stays], minlength=len(votes)).astype(np.float64)


class DroppedRaters:
    """The raters' targets of each epoch, with `drop_raters`.

    Args:
        ids: N names of rows of the label table.
        observed: `(N, K)` targets of the data set.
        votes: `(N, K)` the votes of rows whose target is their shares; zeros for rows whose target stays as it is.
        probability: Probability in [0, 1) with which a vote is left out.
        seed: The run's seed.
    """

    def __init__(
        self, ids: Sequence[str], observed: np.ndarray, votes: np.ndarray, probability: float, seed: int
    ) -> None:
        self.utterances = [_SEGMENT.sub("", name) for name in ids]
        self.observed, self.votes = observed, votes
        self.probability, self.seed = probability, seed
        self._last: tuple[int, Tensor] | None = None

    def __call__(self, epoch: int) -> Tensor:
        """Return the targets `(N, K)` of an epoch, float32; those of the last epoch asked for are kept."""
        if self._last is None or self._last[0] != epoch:
            targets = np.array(self.observed, dtype=np.float64)
            for i in np.flatnonzero(self.votes.sum(axis=1) > 1):
                kept = kept_votes(self.votes[i], self.probability, self.seed, epoch, self.utterances[i])
                targets[i] = soft_labels(kept)
            self._last = epoch, torch.as_tensor(targets, dtype=torch.float32)
        return self._last[1]


def dropped_raters(data: TrainingSet, method: str, probability: float, seed: int) -> DroppedRaters:
    """Return the targets of each epoch of a training set.

    Raises:
        ValueError: If votes cannot be left out of its targets: these are consensus labels, or come from a model of
            the raters, or the votes are fractions.
    """
    asked, votes = f"drop_raters={probability}", data.votes
    if not (votes.sum(axis=1) > 1).any():
        raise ValueError(
            f"{asked} leaves votes out of soft labels, and method {method!r} learns here from no soft label with two"
            " votes or more. Leave drop_raters out, or take a method that learns from vote shares: soft_vote, slc, or"
            " meta with initial_labels='soft'."
        )
    voted = votes.sum(axis=1) > 0
    broken = voted & (votes != np.rint(votes)).any(axis=1)
    if broken.any():
        raise ValueError(
            f"{asked} leaves out whole votes, and {broken.sum()} utterances have fractions of votes, the first is"
            f" {data.ids[int(broken.argmax())]!r}: the label policy divides a rater's vote among several labels"
            " (multi_label='fractional'). Leave drop_raters out, or build the data set with 'first' or 'each'."
        )
    other = voted & (np.abs(soft_labels(votes) - data.observed) > _TOLERANCE).any(axis=1)
    if other.any():
        raise ValueError(
            f"{asked} needs soft labels that are the shares of the votes, and those of {other.sum()} utterances are"
            f" not, the first is {data.ids[int(other.argmax())]!r}: the label policy takes them from a model of the"
            " raters (aggregation). Leave drop_raters out, or build the data set with aggregation='shares'."
        )
    return DroppedRaters(data.ids, data.observed, votes, probability, seed)
