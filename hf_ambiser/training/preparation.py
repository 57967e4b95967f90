"""Prepares splits from `load_split` for a trainer; the command line and Python users run the same code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor
from tqdm import tqdm

from hf_ambiser.training.augment import AugmentConfig, Augmenter
from hf_ambiser.training.collator import UtteranceCollator
from hf_ambiser.training.dataset import EvaluationSet, TrainingSet
from hf_ambiser.training.frame_cache import FrameCache
from hf_ambiser.training.frames import FRAMES, with_frames
from hf_ambiser.training.places import expanded


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)
# Augmented copies of an utterance whose frames are kept, if nothing else is said.
DEFAULT_COPIES = 4


class Method(Protocol):
    """What a trainer class says of the data that its method needs."""

    name: str
    target: str
    needs_ambiguous: bool
    ambiguous_target: str | None
    needs_augmented: bool


def is_split(data: Any) -> bool:
    """Whether `data` is a `datasets.Dataset` that is not prepared yet; that library need not be installed."""
    return hasattr(data, "column_names")


def frames_once(args: Any, model: Any, extractor: Any) -> Callable[[Any], Any] | None:
    """Return a function that adds the frames of a slow feature extractor to a split, or None.

    Frames are computed once for all epochs and runs. The answer is None, and every epoch reads waveforms, if the
    extractor makes no frames, or if the model learns from segments.
    """
    if not hasattr(extractor, "extract") or segment_seconds(model) is not None:
        return None
    return partial(with_frames, extractor=extractor, max_seconds=args.max_seconds)


def training_frames(method: Method, args: Any, model: Any, extractor: Any) -> Callable[[Any], Any] | None:
    """Return the same for splits that a run learns from: None also if it hears utterances that are changed."""
    return None if augments(method, args) else frames_once(args, model, extractor)


def augments(method: Method, args: Any) -> bool:
    """Whether a run hears utterances that are changed: copies of ambiguous ones, or labelled ones."""
    return method.needs_augmented or args.labelled_augmentation is not None


def frame_cache(args: Any, model: Any, extractor: Any) -> FrameCache | None:
    """Return the cache of a frozen encoder's frames, or None if each step runs the encoder.

    Raises:
        ValueError: If a folder or a type for the cache is given, and the encoder is not frozen or there is no cache.
    """
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    frozen = getattr(bare, "encoder_is_frozen", False)
    if args.feature_cache_dtype != "float32" and (args.feature_cache == "none" or not frozen):
        raise ValueError(
            f"feature_cache_dtype={args.feature_cache_dtype!r} is the type of a frozen encoder's frames on disk, and"
            f" there are none: the encoder is {'' if frozen else 'not '}frozen, and feature_cache is"
            f" {args.feature_cache!r}. Leave feature_cache_dtype out."
        )
    if args.feature_cache == "none":
        return None
    if not frozen:
        if args.feature_cache != "auto":
            raise ValueError(
                f"feature_cache={args.feature_cache!r} keeps the frames of a frozen encoder, and this model's encoder"
                " learns or there is none. Set freeze: encoder (in Python: model.freeze_encoder()), or leave"
                " feature_cache out."
            )
        return None
    folder = None if args.feature_cache == "auto" else expanded("feature_cache", args.feature_cache)
    size, progress = args.per_device_eval_batch_size, not args.disable_tqdm
    return FrameCache(folder, bare, extractor, args.feature_cache_dtype, size, args.device, progress)


def fit_frames(model: Any, data: TrainingSet | None, collate: UtteranceCollator, args: Any) -> None:
    """Compute the statistics of the encoder's frames over a training set, if a model scales frames by them.

    Each rank reads the whole training set, so that all have the same statistics.
    """
    mix = getattr(getattr(model, "head", None), "layer_mix", None)
    if data is None or mix is None or not mix.needs_fit:
        return
    logger.info("computing the statistics of the encoder's frames over the training set.")
    training = model.training
    model.to(args.device).eval()

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        rows = iter(
            tqdm(data.inputs(), "statistics of the encoder's frames", len(data.ids), disable=args.disable_tqdm)
        )
        while some := list(islice(rows, args.per_device_eval_batch_size)):
            batch = {name: values.to(args.device) for name, values in collate([some]).items()}
            if "encoder_frames" in batch:
                yield batch["encoder_frames"], batch["encoder_lengths"]
            else:
                yield model.encoder_frames(batch["input_values"], batch["attention_mask"])

    mix.fit(batches())
    model.train(training)


def segment_seconds(model: Any) -> float | None:
    """Return the length of the segments that a model divides long utterances into; None: it takes them whole."""
    return getattr(model.config, "segment_seconds", None)


def training_set(
    labelled: Dataset, ambiguous: Dataset | None, method: Method, args: Any, model: Any, extractor: Any
) -> TrainingSet:
    """Return the training set of a method.

    Args:
        labelled: Split to learn from with labels.
        ambiguous: Split of ambiguous utterances; ignored if the method does not take them.
        method: The trainer class: which label it reads, and whether it needs augmented copies.
        args: Its arguments.
        model: The model; one with `segment_seconds` learns from segments.
        extractor: Feature extractor. One that needs statistics of the training set is fitted here.

    Raises:
        ValueError: If the method learns from ambiguous utterances and none are given.
    """
    if method.needs_ambiguous and ambiguous is None:
        raise ValueError(
            f"method {method.name!r} also learns from ambiguous utterances, and none were given: set"
            " ambiguous_dataset, for example to load_split(folder, 'ipr-strict', 'd2') (on the command line:"
            " ambiguous_splits)."
        )
    if args.augmentation and not method.needs_augmented:
        raise ValueError(
            f"augmentation={args.augmentation} says how copies of ambiguous utterances are changed, and method"
            f" {method.name!r} makes none. Leave it out; labelled utterances are changed by labelled_augmentation."
        )
    if args.ambiguous_per_labelled is not None and not method.needs_ambiguous:
        raise ValueError(
            f"ambiguous_per_labelled={args.ambiguous_per_labelled} says how many ambiguous utterances a step holds for"
            f" each labelled one, and method {method.name!r} draws none. Leave it out."
        )
    if augments(method, args):
        # What an earlier step made of utterances as they are says nothing of changed ones.
        labelled, ambiguous = _without_frames(labelled), _without_frames(ambiguous)
    add = training_frames(method, args, model, extractor)
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
        labelled_augment=None if args.labelled_augmentation is None else Augmenter(args.labelled_augmentation),
    )
    cache = frame_cache(args, model, extractor)
    if args.cached_copies is not None and (cache is None or not augments(method, args)):
        raise ValueError(
            f"cached_copies={args.cached_copies} is for augmented utterances whose frames a frozen encoder has made,"
            f" and method {method.name!r} keeps none here. Leave it out."
        )
    if cache is not None:
        made.use_frames(cache, args.cached_copies or DEFAULT_COPIES)
    if hasattr(extractor, "fit"):
        first = next(made.waveforms())
        (extractor.fit if first.ndim == 1 else extractor.fit_features)(made.waveforms())
    return made


def evaluation_set(split: Dataset, method: Method, args: Any, model: Any, extractor: Any) -> EvaluationSet:
    """Return a split as a model is scored on it: whole utterances."""
    made = EvaluationSet(_with(split, frames_once(args, model, extractor)), args.max_seconds)
    return with_cached_frames(made, args, model, extractor)


def with_cached_frames(made: EvaluationSet, args: Any, model: Any, extractor: Any) -> EvaluationSet:
    """Return the same set; above a frozen encoder it gives the encoder's frames from now on."""
    cache = frame_cache(args, model, extractor)
    if cache is not None:
        made.use_frames(cache)
    return made


def check_labelled_augmentation(args: Any, data: Any) -> None:
    """Check that a training set which was made before the trainer augments labelled utterances as the arguments say.

    Raises:
        ValueError: If it does not: the arguments, and so the model card, would say what nobody heard.
    """
    if not isinstance(data, TrainingSet):
        return
    wanted = None if args.labelled_augmentation is None else AugmentConfig.from_dict(args.labelled_augmentation)
    if wanted != data.labelled_augmentation:
        raise ValueError(
            f"labelled_augmentation={args.labelled_augmentation}, but the training set was made before the trainer,"
            f" with {data.labelled_augmentation}. Give the trainer the split itself, or make the set with"
            " TrainingSet(..., labelled_augment=Augmenter(...)) and the same fields."
        )


def _without_frames(split: Any) -> Any:
    return split.remove_columns(FRAMES) if split is not None and FRAMES in split.column_names else split


def _with(split: Any, add: Callable[[Any], Any] | None) -> Any:
    return split if add is None or FRAMES in split.column_names else add(split)
