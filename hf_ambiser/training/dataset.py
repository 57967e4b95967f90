"""Torch data sets over built splits: the utterances that a run learns from, and those that it is scored on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from hf_ambiser.data.audio import decode
from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.data.split_source import sources_of
from hf_ambiser.labels.votes import top_shares
from hf_ambiser.training.collator import AMBIGUOUS, AUGMENTED, LABELLED, Example
from hf_ambiser.training.frame_cache import FrameCache, Wanted, content_key
from hf_ambiser.training.frames import FRAMES, read_frames
from hf_ambiser.training.sampler import StepKey


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)
Augment = Callable[..., np.ndarray]


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
        augment: `augment(waveform, seed, epoch, key) -> waveform`, or None for no augmented copies.
        seed: Seed of the augmentation.
        max_seconds, cache_gb, segment_seconds: See `UtteranceStore`.

    `labelled_sources` and `ambiguous_sources` name the splits of a built data set that the utterances come from.
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
        ambiguous_target: str | None = None,
        segment_seconds: float | None = None,
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
        self._augment: Any = augment
        self._seed = seed
        self._copies: list[list[Wanted]] = []

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
            copies: Augmented copies of each ambiguous utterance, if there is an augmentation. Epoch e uses copy
                (seed + e) mod `copies`, so runs with other seeds share them.
        """
        wanted = self._labelled.use_frames(cache)
        if self._ambiguous is not None:
            wanted += self._ambiguous.use_frames(cache)
            if self._augment is not None:
                rows = range(self.n_ambiguous)
                self._copies = [[self._wanted_copy(j, copy) for j in rows] for copy in range(copies)]
                wanted += chain.from_iterable(self._copies)
        cache.fill(wanted)

    @property
    def copies(self) -> int | None:
        """Return the number of cached augmented copies of an utterance; None: each epoch makes its own."""
        return len(self._copies) or None

    def _wanted_copy(self, j: int, copy: int) -> Wanted:
        assert self._ambiguous is not None and self._augment is not None
        name = self.ids[self.n_labelled + j]
        how = self._augment.config.to_dict() if hasattr(self._augment, "config") else repr(self._augment)
        key = content_key(self._ambiguous.keys[j].encode(), "augmented", how, name, copy)
        return Wanted(key, self._ambiguous.samples(j), partial(self._copy, j, 0, copy))

    def _copy(self, j: int, seed: int, epoch: int) -> np.ndarray:
        assert self._ambiguous is not None and self._augment is not None
        return self._augment(self._ambiguous[j], seed=seed, epoch=epoch, key=self.ids[self.n_labelled + j])

    def __getitem__(self, key: StepKey) -> list[Example]:
        rows = [self._labelled.example(key.labelled, key.labelled, LABELLED)]
        for j in key.ambiguous:
            assert self._ambiguous is not None  # else the sampler draws none
            row = self.n_labelled + j
            rows.append(self._ambiguous.example(j, row, AMBIGUOUS))
            if self._augment is not None:
                rows.append(self._augmented(j, row, key.epoch))
        return rows

    def _augmented(self, j: int, row: int, epoch: int) -> Example:
        cache = self.frames
        if cache is None:
            return Example(self._copy(j, self._seed, epoch), row, AUGMENTED)
        wanted = self._copies[(self._seed + epoch) % len(self._copies)][j]
        waveform = wanted.waveform() if cache.model.needs_waveform else None
        return Example(waveform, row, AUGMENTED, encoded=cache.read(wanted.key))


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
        **({"utterances_before_cutting": training.n_utterances} if segments > training.n_utterances else {}),
        "left_out_without_target": len(training.left_out),
        "left_out_ids": training.left_out,
        "cut_at_max_seconds": training.n_cut,
    }
