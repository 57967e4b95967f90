"""Torch data sets over built splits: the labelled and ambiguous clips of a run, and the clips it is scored on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from hf_ambiser.data.audio import decode
from hf_ambiser.data.collator import AMBIGUOUS, AUGMENTED, LABELLED, Clip
from hf_ambiser.data.sampler import StepKey
from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.labels import soft_labels


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)
Augment = Callable[..., np.ndarray]


class ClipStore:
    """Decoded clips of one split, kept in memory up to a budget, decoded again beyond it.

    Args:
        dataset: A built split with an `audio` column of encoded bytes.
        max_seconds: Longer clips are cut at their end; None keeps them whole. Cut clips are counted in `n_cut`.
        cache_gb: Memory for decoded clips, in GB.
    """

    def __init__(self, dataset: Dataset, max_seconds: float | None = None, cache_gb: float = 2.0) -> None:
        self._audio = dataset.select_columns(["audio"])
        self._limit = None if max_seconds is None else round(max_seconds * SAMPLING_RATE)
        self._budget = cache_gb * 1e9
        self._cache: dict[int, np.ndarray] = {}
        self.durations = np.asarray(dataset["duration"], dtype=np.float64)
        # In samples: a duration is stored as float32, so 1.1 s would be longer than 1.1 s.
        samples = np.rint(self.durations * SAMPLING_RATE)
        self.n_cut = 0 if self._limit is None else int((samples > self._limit).sum())

    def __len__(self) -> int:
        return len(self.durations)

    def __getitem__(self, i: int) -> np.ndarray:
        if i in self._cache:
            return self._cache[i]
        waveform = decode(self._audio[i]["audio"]["bytes"])
        if self._limit is not None and len(waveform) > self._limit:
            waveform = waveform[: self._limit].copy()  # a view would keep the whole clip in memory
        self._budget -= waveform.nbytes
        if self._budget > 0:
            self._cache[i] = waveform
        return waveform


class TrainingSet(TorchDataset):
    """What a step's keys point to: labelled clips, ambiguous clips and, where a method wants them, augmented copies.

    Rows of the label table are the labelled utterances first, then the ambiguous ones. Only the columns a trainer may
    learn from are read (`id`, `audio`, `duration`, `label`, `soft_label`): never a `reference_*` column.

    Args:
        labelled: Split whose labels are learnt from.
        ambiguous: Split that is learnt from without labels, or None.
        target: `label` for one-hot consensus labels (utterances without one are left out and listed in `left_out`),
            `soft_label` for vote shares (utterances without a vote are left out).
        augment: `augment(waveform, seed, epoch, key) -> waveform`, or None for no augmented copies.
        seed: Seed of the augmentation.
        max_seconds, cache_gb: See `ClipStore`.
    """

    def __init__(
        self,
        labelled: Dataset,
        ambiguous: Dataset | None = None,
        target: str = "label",
        augment: Augment | None = None,
        seed: int = 0,
        max_seconds: float | None = None,
        cache_gb: float = 2.0,
    ) -> None:
        targets, usable = _targets(labelled, target)
        ids = np.asarray(labelled["id"])
        self.left_out = [str(i) for i in ids[~usable]]
        if self.left_out:
            logger.info("%d labelled utterances have no %s and are left out.", len(self.left_out), target)
            labelled = labelled.select(np.flatnonzero(usable))
        self.n_labelled = len(labelled)
        self.n_ambiguous = 0 if ambiguous is None else len(ambiguous)
        self.observed = np.concatenate([targets[usable], np.zeros((self.n_ambiguous, targets.shape[1]))])
        self.ids = [*map(str, ids[usable]), *([] if ambiguous is None else map(str, ambiguous["id"]))]
        self._labelled = ClipStore(labelled, max_seconds, cache_gb)
        self._ambiguous = None if ambiguous is None else ClipStore(ambiguous, max_seconds, cache_gb)
        self._augment = augment
        self._seed = seed

    @property
    def labelled_durations(self) -> np.ndarray:
        """`(n_labelled,)` seconds."""
        return self._labelled.durations

    @property
    def ambiguous_durations(self) -> np.ndarray:
        """`(n_ambiguous,)` seconds."""
        return np.zeros(0) if self._ambiguous is None else self._ambiguous.durations

    @property
    def n_cut(self) -> int:
        """Clips cut at `max_seconds`."""
        return self._labelled.n_cut + (0 if self._ambiguous is None else self._ambiguous.n_cut)

    def __len__(self) -> int:
        return self.n_labelled

    def __getitem__(self, key: StepKey) -> list[Clip]:
        clips = [Clip(self._labelled[key.labelled], key.labelled, LABELLED)]
        for j in key.ambiguous:
            assert self._ambiguous is not None  # the sampler draws none otherwise
            row, waveform = self.n_labelled + j, self._ambiguous[j]
            clips.append(Clip(waveform, row, AMBIGUOUS))
            if self._augment is not None:
                copy = self._augment(waveform, seed=self._seed, epoch=key.epoch, key=self.ids[row])
                clips.append(Clip(copy, row, AUGMENTED))
        return clips


def _targets(dataset: Dataset, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Targets `(N, K)` and which rows have one `(N,)`."""
    soft = np.asarray(dataset["soft_label"], dtype=np.float64)
    if target == "soft_label":
        return soft, soft.sum(axis=1) > 0
    if target != "label":
        raise ValueError(f"target={target!r} is not one of ['label', 'soft_label'].")
    label = np.asarray(dataset["label"], dtype=np.int64)
    usable = label >= 0
    return np.eye(soft.shape[1])[np.where(usable, label, 0)] * usable[:, None], usable


class EvaluationSet(TorchDataset):
    """Clips with the raters' answer, for scoring only.

    `votes (N, K)` are the raters' counts and `consensus (N,)` their consensus class or -1; both come from the
    `reference_*` columns, so an unlabelled split can be scored too. `agreement (N,)` tells clear from ambiguous clips.
    """

    def __init__(self, dataset: Dataset, max_seconds: float | None = None, cache_gb: float = 0.5) -> None:
        self.ids: Sequence[str] = [str(i) for i in dataset["id"]]
        self.speakers: Sequence[str] = [str(s) for s in dataset["speaker"]]
        self.votes = np.asarray(dataset["reference_votes"], dtype=np.float64)
        self.consensus = np.asarray(dataset["reference_label"], dtype=np.int64)
        # Hidden (NaN) where a split's labels are: the share among the votes for the classes is what is left.
        known = np.asarray(dataset["agreement"], dtype=np.float64)
        self.agreement = np.where(np.isnan(known), soft_labels(self.votes).max(axis=1, initial=0.0), known)
        self._store = ClipStore(dataset, max_seconds, cache_gb)

    @property
    def durations(self) -> np.ndarray:
        """`(N,)` seconds."""
        return self._store.durations

    @property
    def n_cut(self) -> int:
        """Clips cut at `max_seconds`."""
        return self._store.n_cut

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> list[Clip]:
        return [Clip(self._store[i], i, LABELLED, self.votes[i], int(self.consensus[i]))]


def describe(training: TrainingSet) -> dict[str, Any]:
    """Counts for the run folder: what is trained on, what was left out."""
    return {
        "labelled": training.n_labelled,
        "ambiguous": training.n_ambiguous,
        "left_out_without_target": len(training.left_out),
        "left_out_ids": training.left_out,
        "cut_at_max_seconds": training.n_cut,
    }
