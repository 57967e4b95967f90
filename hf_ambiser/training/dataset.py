"""Torch data sets over built splits: the utterances that a run learns from, and those that it is scored on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from hf_ambiser.data.split_source import sources_of
from hf_ambiser.labels.votes import top_shares
from hf_ambiser.training.augment import AugmentConfig, Augmenter
from hf_ambiser.training.augmented_copies import AugmentedCopies
from hf_ambiser.training.collator import AMBIGUOUS, AUGMENTED, LABELLED, Example
from hf_ambiser.training.frame_cache import FrameCache
from hf_ambiser.training.sampler import StepKey
from hf_ambiser.training.utterance_store import UtteranceStore


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


class TrainingSet(TorchDataset):
    """The utterances of a training run: labelled ones, ambiguous ones and, if the method needs them, augmented copies.

    A key (`StepKey`) gives one labelled utterance with its ambiguous ones. In the label table the labelled utterances
    come first, then the ambiguous ones. Only the columns that a trainer may learn from are read (`id`, `audio`,
    `duration`, `label`, `soft_label`, and `votes` if a trainer asks for them), never a `reference_*` column. With
    `segment_seconds`, a longer utterance has one row per segment, all with the same target.

    Args:
        labelled: Split to learn from with labels.
        ambiguous: Split of ambiguous utterances, or None.
        target: `label` for one-hot consensus labels (utterances without one are left out and listed in `left_out`),
            `soft_label` for vote shares (utterances without a vote are left out).
        ambiguous_target: As `target`, for the ambiguous split; None: its labels are not read.
        augment: What changes the augmented copy of an ambiguous utterance, or None for no such copies.
        labelled_augment: What changes labelled utterances, anew in each epoch; None: they are heard as they are.
        seed: Seed of both.
        max_seconds, cache_gb, segment_seconds: See `UtteranceStore`.

    `labelled_sources` and `ambiguous_sources` name the splits of a built data set that the utterances come from.
    """

    def __init__(
        self,
        labelled: Dataset,
        ambiguous: Dataset | None = None,
        target: str = "label",
        augment: Augmenter | None = None,
        seed: int = 0,
        max_seconds: float | None = None,
        cache_gb: float = 2.0,
        ambiguous_target: str | None = None,
        segment_seconds: float | None = None,
        labelled_augment: Augmenter | None = None,
    ) -> None:
        self.labelled_sources = sources_of(labelled)
        self.ambiguous_sources = [] if ambiguous is None else sources_of(ambiguous)
        self.left_out: list[str] = []
        labelled, targets = self._with_target(labelled, target, "labelled")
        self._labelled = UtteranceStore(labelled, max_seconds, cache_gb, segment_seconds)
        self.ids = self._labelled.names(labelled["id"])
        self.observed = targets[self._labelled.utterance]
        self._soft = [(0, self._labelled, labelled)] if target == "soft_label" else []
        self.n_utterances = len(labelled)
        self._ambiguous: UtteranceStore | None = None
        if ambiguous is not None:
            targets = np.zeros((len(ambiguous), targets.shape[1]))
            if ambiguous_target is not None:
                ambiguous, targets = self._with_target(ambiguous, ambiguous_target, "ambiguous")
            self._ambiguous = UtteranceStore(ambiguous, max_seconds, cache_gb, segment_seconds)
            self.ids += self._ambiguous.names(ambiguous["id"])
            self.observed = np.concatenate([self.observed, targets[self._ambiguous.utterance]])
            if ambiguous_target == "soft_label":
                self._soft.append((len(self._labelled), self._ambiguous, ambiguous))
            self.n_utterances += len(ambiguous)
        self.n_labelled = len(self._labelled)
        self.n_ambiguous = 0 if self._ambiguous is None else len(self._ambiguous)
        self._changed: AugmentedCopies | None = None
        if labelled_augment is not None:
            names = self.ids[: self.n_labelled]
            self._changed = AugmentedCopies(self._labelled, names, labelled_augment, seed)
        self._copies: AugmentedCopies | None = None
        if self._ambiguous is not None and augment is not None:
            self._copies = AugmentedCopies(self._ambiguous, self.ids[self.n_labelled :], augment, seed)

    def _with_target(self, split: Dataset, target: str, what: str) -> tuple[Dataset, np.ndarray]:
        """Return the utterances that have a target, and their targets `(N, K)`; add the others to `left_out`."""
        targets, usable = _targets(split, target)
        if usable.all():
            return split, targets
        left_out = np.asarray(split["id"])[~usable].tolist()
        logger.info("%d %s utterances have no %s and are left out.", len(left_out), what, target)
        self.left_out += left_out
        return split.select(np.flatnonzero(usable)), targets[usable]

    @property
    def labelled_durations(self) -> np.ndarray:
        """`(n_labelled,)` seconds."""
        return self._labelled.durations

    @property
    def ambiguous_durations(self) -> np.ndarray:
        """`(n_ambiguous,)` seconds."""
        return np.zeros(0) if self._ambiguous is None else self._ambiguous.durations

    @property
    def votes(self) -> np.ndarray:
        """`(N, K)` the votes behind targets that are soft labels, read now; rows with another target have zeros."""
        votes = np.zeros_like(self.observed)
        for first, store, split in self._soft:
            votes[first : first + len(store)] = np.asarray(split["votes"], dtype=np.float64)[store.utterance]
        return votes

    @property
    def ratings(self) -> list[list[dict[str, Any]]]:
        """N lists of the ratings behind targets that are soft labels, as they are stored; [] for any other row.

        They are read now. A rating has `rater`, `labels` and `self_report` (`data/schema.py`).
        """
        ratings: list[list[dict[str, Any]]] = [[] for _ in self.ids]
        for first, store, split in self._soft:
            of_split = split["ratings"][:]
            ratings[first : first + len(store)] = [of_split[int(u)] for u in store.utterance]
        return ratings

    def row(self, index: int) -> Example:
        """Return a row of the label table as an example, without its labels and not augmented."""
        if index < self.n_labelled:
            return self._labelled.example(index, index, LABELLED)
        assert self._ambiguous is not None
        return self._ambiguous.example(index - self.n_labelled, index, AMBIGUOUS)

    def waveforms(self) -> Iterator[np.ndarray]:
        """Yield the waveform (or frames) of every row of the label table, in its order."""
        for store in (self._labelled, self._ambiguous):
            yield from (store[i] for i in range(len(store) if store is not None else 0))  # type: ignore[index]

    def inputs(self) -> Iterator[Example]:
        """Yield every row of the label table without its labels, in its order."""
        for store in (self._labelled, self._ambiguous):
            yield from (store.example(i, 0, LABELLED) for i in range(len(store) if store is not None else 0))  # type: ignore[union-attr]

    @property
    def n_cut(self) -> int:
        """Return the number of utterances that were cut at `max_seconds`."""
        return self._labelled.n_cut + (0 if self._ambiguous is None else self._ambiguous.n_cut)

    def __len__(self) -> int:
        return self.n_labelled

    @property
    def frames(self) -> FrameCache | None:
        """Return the cache that holds a frozen encoder's frames of these utterances, or None."""
        return self._labelled.frames

    def use_frames(self, cache: FrameCache, copies: int) -> None:
        """Compute the frames of a frozen encoder where they are missing, and give them instead of waveforms.

        Args:
            cache: Where they are kept.
            copies: Augmented copies of each utterance that is augmented; epochs take turns with them.
        """
        wanted = self._labelled.use_frames(cache)
        if self._ambiguous is not None:
            wanted += self._ambiguous.use_frames(cache)
        for augmented in (self._changed, self._copies):
            if augmented is not None:
                wanted += augmented.use_frames(copies)
        cache.fill(wanted)

    @property
    def labelled_augmentation(self) -> AugmentConfig | None:
        """Return how labelled utterances are changed; None: they are heard as they are."""
        return None if self._changed is None else self._changed.augment.config

    @property
    def copies(self) -> int | None:
        """Return the number of cached augmented copies of an ambiguous utterance; None: each epoch makes its own."""
        return None if self._copies is None else self._copies.cached

    @property
    def labelled_copies(self) -> int | None:
        """The same of a labelled utterance; None also where they are heard as they are."""
        return None if self._changed is None else self._changed.cached

    def __getitem__(self, key: StepKey) -> list[Example]:
        i = key.labelled
        if self._changed is None:
            rows = [self._labelled.example(i, i, LABELLED)]
        else:
            rows = [self._changed.example(i, i, LABELLED, key.epoch)]
        for j in key.ambiguous:
            assert self._ambiguous is not None  # else the sampler draws none
            row = self.n_labelled + j
            rows.append(self._ambiguous.example(j, row, AMBIGUOUS))
            if self._copies is not None:
                rows.append(self._copies.example(j, row, AUGMENTED, key.epoch))
        return rows


def _targets(dataset: Dataset, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Return targets `(N, K)` and whether each row has one, `(N,)` bool."""
    soft = np.asarray(dataset["soft_label"], dtype=np.float64)
    if target == "soft_label":
        return soft, soft.sum(axis=1) > 0
    if target != "label":
        raise ValueError(f"target={target!r} is not one of ['label', 'soft_label'].")
    label = np.asarray(dataset["label"], dtype=np.int64)
    usable = label >= 0
    return np.eye(soft.shape[1])[np.where(usable, label, 0)] * usable[:, None], usable


class EvaluationSet(TorchDataset):
    """Utterances with the raters' votes, for scoring only.

    `votes (N, K)` are the raters' votes and `consensus (N,)` their consensus class or -1. Both come from the
    `reference_*` columns, so a split with hidden labels can be scored, too. `agreement (N,)` separates clear from
    ambiguous utterances. With `segment_seconds`, N counts segments (see `UtteranceStore`), which have the votes of
    their utterance. `sources` says from which split of a built data set the utterances are.
    """

    def __init__(
        self,
        dataset: Dataset,
        max_seconds: float | None = None,
        cache_gb: float = 0.5,
        segment_seconds: float | None = None,
    ) -> None:
        self.sources = sources_of(dataset)
        self._store = UtteranceStore(dataset, max_seconds, cache_gb, segment_seconds)
        rows = self._store.utterance
        self.ids: Sequence[str] = self._store.names(dataset["id"])
        self.speakers: Sequence[str] = [str(s) for s in np.asarray(dataset["speaker"])[rows]]
        self.votes = np.asarray(dataset["reference_votes"], dtype=np.float64)[rows]
        self.consensus = np.asarray(dataset["reference_label"], dtype=np.int64)[rows]
        # A split with hidden labels has no agreement (NaN): use the top share among the votes for the classes.
        known = np.asarray(dataset["agreement"], dtype=np.float64)[rows]
        self.agreement = np.where(np.isnan(known), top_shares(self.votes), known)

    @property
    def durations(self) -> np.ndarray:
        """`(N,)` seconds."""
        return self._store.durations

    @property
    def n_cut(self) -> int:
        """Return the number of utterances that were cut at `max_seconds`."""
        return self._store.n_cut

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> list[Example]:
        return [self._store.example(i, i, LABELLED, votes=self.votes[i], consensus=int(self.consensus[i]))]

    def use_frames(self, cache: FrameCache) -> None:
        """Compute the frames of a frozen encoder where they are missing, and give them instead of waveforms."""
        cache.fill(self._store.use_frames(cache))


def describe(training: TrainingSet) -> dict[str, Any]:
    """Return the counts for the run folder: what the run trains on, and what was left out."""
    segments = training.n_labelled + training.n_ambiguous
    return {
        "labelled": training.n_labelled,
        "ambiguous": training.n_ambiguous,
        **({"augmented_copies": training.copies} if training.copies is not None else {}),
        **({"labelled_copies": training.labelled_copies} if training.labelled_copies is not None else {}),
        **({"utterances_before_cutting": training.n_utterances} if segments > training.n_utterances else {}),
        "left_out_without_target": len(training.left_out),
        "left_out_ids": training.left_out,
        "cut_at_max_seconds": training.n_cut,
    }
