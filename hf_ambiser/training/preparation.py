"""From splits, as `load_split` gives them, to what a trainer works on, for the command and for Python alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from hf_ambiser.training.augment import Augmenter
from hf_ambiser.training.dataset import EvaluationSet, TrainingSet
from hf_ambiser.training.frames import FRAMES, with_frames


if TYPE_CHECKING:
    from datasets import Dataset


class Method(Protocol):
    """What a trainer class says of the data that its method needs."""

    name: str
    target: str
    needs_ambiguous: bool
    ambiguous_target: str | None
    needs_augmented: bool


def is_split(data: Any) -> bool:
    """Whether this is a `datasets.Dataset` that is not prepared yet; that library need not be installed."""
    return hasattr(data, "column_names")


def frames_once(method: Method, args: Any, model: Any, extractor: Any) -> Callable[[Any], Any] | None:
    """What adds the frames of a slow feature extractor to a split; None where waveforms are read in every epoch.

    Frames are computed once for all epochs and runs. That cannot be where copies are augmented anew in each epoch, or
    where a model learns from segments of its clips.
    """
    if not hasattr(extractor, "extract") or method.needs_augmented or segment_seconds(model) is not None:
        return None
    return partial(with_frames, extractor=extractor, max_seconds=args.max_seconds)


def segment_seconds(model: Any) -> float | None:
    """Length of the pieces in which a model answers about long clips, and learns from them; None: whole clips."""
    return getattr(model.config, "segment_seconds", None)


def training_set(
    labelled: Dataset, ambiguous: Dataset | None, method: Method, args: Any, model: Any, extractor: Any
) -> TrainingSet:
    """What a method trains on.

    Args:
        labelled: Split that is learnt from with labels.
        ambiguous: Split of ambiguous utterances; it is left out where the method does not take them.
        method: The trainer class: which label it reads, and whether it needs augmented copies.
        args: Its arguments.
        model: The model; one that answers piece by piece learns from pieces.
        extractor: Feature extractor. One with statistics of the training set is fitted here.

    Raises:
        ValueError: If the method learns from ambiguous utterances and there are none.
    """
    if method.needs_ambiguous and ambiguous is None:
        raise ValueError(
            f"method {method.name!r} learns from ambiguous utterances, too: give ambiguous_dataset, for example"
            " load_split(folder, 'ipr-strict', 'd2') (on the command line: ambiguous_splits)."
        )
    add = frames_once(method, args, model, extractor)
    made = TrainingSet(
        _with(labelled, add),
        _with(ambiguous, add) if method.needs_ambiguous else None,
        target=args.target or method.target,
        augment=Augmenter(args.augmentation) if method.needs_augmented else None,
        seed=args.seed,
        max_seconds=args.max_seconds,
        cache_gb=args.audio_cache_gb,
        ambiguous_target=method.ambiguous_target,
        segment_seconds=segment_seconds(model),
    )
    if hasattr(extractor, "fit"):
        first = next(made.clips())
        (extractor.fit if first.ndim == 1 else extractor.fit_features)(made.clips())
    return made


def evaluation_set(split: Dataset, method: Method, args: Any, model: Any, extractor: Any) -> EvaluationSet:
    """What a model is scored on: whole utterances."""
    return EvaluationSet(_with(split, frames_once(method, args, model, extractor)), args.max_seconds)


def _with(split: Any, add: Callable[[Any], Any] | None) -> Any:
    return split if add is None or FRAMES in split.column_names else add(split)
