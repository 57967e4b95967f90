"""A model that begins with the weights of a trained one: of a Hub model, of a finished run, of a system of a study."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_ambiser.files.digest import file_digest
from hf_ambiser.files.read import FileError
from hf_ambiser.inference.load_model import load_model, place_of
from hf_ambiser.inference.model_digest import weights_digest
from hf_ambiser.models import class_names, family_of
from hf_ambiser.run_folder.layout import RunFolder, is_name
from hf_ambiser.run_folder.reference import read_reference
from hf_ambiser.training.places import expanded


logger = logging.getLogger(__name__)
# Fields of configurations that change no answer of a trained model, or that say where it lies and who wrote it.
_NO_ANSWER = frozenset(
    """
    _name_or_path architectures auto_map custom_pipelines decision dtype id2label label2id transformers_version
    encoder_config apply_spec_augment problem_type return_dict output_hidden_states use_cache
    """.split()
)


def place_of_begin(source: str, run: Path) -> str:
    """Return the folder or Hub name of the trained model that `pretrained` means.

    Args:
        source: The folder of a finished run or of a model, a Hub name, or the name of a system. The last means that
            system's cell of the same fold and seed as `run`, in the layout of a study (`<system>/<fold>/<seed>`).
        run: The folder of the run that begins.

    Raises:
        ValueError: If a system or a folder of that name has no model.
    """
    place = expanded("pretrained", source)
    if is_name(place):
        sibling = RunFolder(run).sibling(place).model
        if sibling.is_dir():
            return str(sibling)
        if not Path(place).is_dir():
            raise ValueError(
                f"pretrained={source!r}: there is no model in {sibling} or {place}. Give the folder of a finished run"
                " or of a model, or a Hub name; or run that system of the study first."
            )
    try:
        return place_of(place)
    except ValueError as error:
        raise ValueError(f"pretrained={source!r}: {error}") from None


def trained_model(place: str, classes: Sequence[str] | None = None, fields: Mapping[str, Any] | None = None) -> Any:
    """Load a trained model to train it further, for the classes of a data set.

    A class that it does not have begins at random, and the log says so. All of it learns, whatever was frozen before.

    Args:
        place: Folder of a model or of a finished run, or Hub name. An adapter is merged into its base model.
        classes: Class names in the order of their index, as `read_dataset_info(...)["classes"]` gives them. The
            default is those of the model.
        fields: Fields of the model's configuration to change, such as dropouts. All weights must fit.

    Returns:
        A model in float32. Its attribute `begun_with` says what it is, for the run folder and the card.

    Raises:
        ValueError: If there is no such model, it cannot be used, or it is of no family of this package.
    """
    try:
        place = place_of(place)
        model = load_model(place).float()
    except ValueError as error:
        raise ValueError(f"pretrained={place!r}: {error}") from None
    try:
        family_of(model.config)
    except ValueError as error:
        hint = "Its encoder may be of use: give it as `encoder`."
        raise ValueError(f"pretrained={place!r}: {error} {hint}") from None
    had = class_names(model.config)
    made = with_classes(model, had if classes is None else classes, fields, place)
    made.begun_with = beginning_of(place, _digest(place, model), fields)
    if classes is not None and had != list(classes):
        logger.warning(
            "the model of %s answers %s, and this data set has %s: what belongs to a class follows its name, %s at"
            " random, and %s left out.",
            place,
            had,
            list(classes),
            _listed([name for name in classes if name not in had], "begins", "begin"),
            _listed([name for name in had if name not in classes], "is", "are"),
        )
    return made


def _digest(place: str, model: Any) -> str:
    """Return what tells a model's weights from others.

    Of an adapter that is its own file, because the last digit of a merged weight depends on the processor.
    """
    adapter = Path(place, "adapter_model.safetensors")
    return file_digest(adapter) if adapter.is_file() else weights_digest(model)


def beginning_of(place: str, weights: str | None = None, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a run folder keeps of the trained model that a run began with, in `begun_with.json`.

    Args:
        place: Folder of a model, or Hub name.
        weights: Digest of its weights; None: they are not known any more.
        fields: Fields of its configuration that were changed.

    Returns:
        `name`, what a card calls it; `on_hub`, whether that is a Hub name; `place`; `weights`; `learnt_from`, see
        `heard_by`; and `fields`.
    """
    on_hub = not Path(place).is_dir()
    return {
        "name": _name(place),
        "on_hub": on_hub,
        "place": place,
        "weights": weights,
        "learnt_from": heard_by(place),
        "fields": dict(fields or {}),
    }


def heard_by(place: str) -> dict[str, list[str]] | None:
    """Return the utterances that a trained model has learnt from, and those of the model that it began with.

    Returns:
        Corpus -> their ids; None if they are not known, because the model does not lie in the folder of its run.
    """
    folder = RunFolder(Path(place).parent)
    try:
        data = folder.read_data()
        if not Path(place).is_dir() or folder.model != Path(place) or data is None:
            return None
        before: Mapping[str, list[str]] | None = {}
        if folder.read_arguments().get("pretrained") is not None:
            begun = folder.read_begun_with()
            before = None if begun is None else begun["learnt_from"]
        ids = read_reference(folder.path)["row"]
    except FileError as error:
        logger.warning("what the model of %s has learnt from cannot be read: %s", place, error)
        return None
    if before is None:
        return None
    return {**before, data["corpus"]: sorted({*before.get(data["corpus"], ()), *ids})}


def copy_weights(model: Any, trained: Any, source: str) -> None:
    """Copy the weights of a trained model into one of the same architecture.

    Raises:
        ValueError: If it has another architecture.
    """
    own, weights = model.state_dict(), trained.state_dict()
    other = sorted(
        name for name in {*own, *weights} if name not in own or name not in weights
        or own[name].shape != weights[name].shape
    )  # fmt: skip
    cure = (
        "Give the model and encoder fields that it was trained with, or no family, encoder and fields: then the"
        " architecture is that of the trained model. Fields of a config file are left out with"
        " `--model_fields '{}' --encoder_fields '{}'`."
    )
    if other:
        raise ValueError(
            f"pretrained={source!r} holds a network of another architecture ({len(other)} tensors differ, the first is"
            f" {other[0]}). {cure}"
        )
    if fields := _other_answers(model.config, trained.config):
        raise ValueError(f"pretrained={source!r} was trained with {', '.join(fields)}. {cure}")
    model.load_state_dict(weights)
    model.begun_with = trained.begun_with


def _other_answers(config: Any, trained: Any) -> list[str]:
    """Say which fields differ with which the same weights would answer otherwise."""
    found = []
    parts = [(config, trained, ""), *_inner(config, trained)]
    for one, other, what in parts:
        ours, theirs = one.to_dict(), other.to_dict()
        for name in sorted(ours.keys() & theirs.keys() - _NO_ANSWER):
            if ours[name] != theirs[name] and "drop" not in name and not name.startswith("mask_"):
                found.append(f"{what}{name}={theirs[name]!r} (here {ours[name]!r})")
    return found


def _inner(config: Any, trained: Any) -> list[tuple[Any, Any, str]]:
    ours, theirs = getattr(config, "encoder_config", None), getattr(trained, "encoder_config", None)
    return [] if ours is None or theirs is None else [(ours, theirs, "the encoder's ")]


def with_classes(
    model: Any, classes: Sequence[str], fields: Mapping[str, Any] | None = None, what: str = "the model"
) -> Any:
    """Return a new model of the same architecture with other classes, or with the same ones in another order.

    Weights of a class follow its name. What belongs to a new class is drawn anew, and so is a tensor that depends on
    the number of classes in another way than by a row or column for each class. All other weights are kept.

    Args:
        model: A trained model.
        classes: The new class names in the order of their index.
        fields: Fields of its configuration to change.
        what: What a message calls the model.

    Raises:
        ValueError: If with `fields` it has other weights.
    """
    made = type(model)(_config(model, classes, fields))
    with torch.device("meta"):
        grown = type(model)(_config(model, [*classes, "one more"], fields)).state_dict()
    own, trained = made.state_dict(), model.state_dict()
    had = class_names(model.config)
    kept = [name for name in classes if name in had]
    here, there = ([names.index(name) for name in kept] for names in (list(classes), had))
    for name in sorted(own.keys() | trained.keys()):
        of_class = [a != b for a, b in zip(own[name].shape, grown[name].shape, strict=True)] if name in own else []
        sizes = [None if name not in there_ else _but_classes(there_[name], of_class) for there_ in (trained, own)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"{what} has other weights with the fields {dict(fields or {})}: {name} is {sizes[0]} in the trained"
                f" model and {sizes[1]} here. Change only fields that keep all weights, such as dropouts."
            )
        if not any(of_class):
            own[name].copy_(trained[name])
        elif all(size == len(classes) for size, by_class in zip(own[name].shape, of_class, strict=True) if by_class):
            own[name][_places(own[name], of_class, here)] = trained[name][_places(trained[name], of_class, there)]
        else:
            logger.warning("%s begins at random: it depends on the classes, and not by a row of each.", name)
    made.load_state_dict(own)
    return made


def _but_classes(tensor: Tensor, of_class: Sequence[bool]) -> list[int]:
    """Return a tensor's size without its dimensions of classes."""
    return [n for i, n in enumerate(tensor.shape) if not (i < len(of_class) and of_class[i])]


def _places(tensor: Tensor, of_class: Sequence[bool], rows: Sequence[int]) -> tuple[Tensor, ...]:
    """Return an index of the values of some classes, in each dimension that is one of classes."""
    chosen = [rows if by_class else range(n) for n, by_class in zip(tensor.shape, of_class, strict=True)]
    return tuple(torch.from_numpy(values) for values in np.ix_(*(np.array(values, int) for values in chosen)))


def _config(model: Any, classes: Sequence[str], fields: Mapping[str, Any] | None) -> Any:
    """Return a model's configuration with other classes, without when it abstains, which training makes untrue."""
    given = {name: value for name, value in model.config.to_dict().items() if name != "decision"}
    names = {"id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)}}
    return type(model.config).from_dict({**given, **copy.deepcopy(dict(fields or {})), **names})


def _name(place: str) -> str:
    """What a card calls a model: its Hub name, its run's system, or the name of its folder."""
    path = Path(place)
    if not path.is_dir():
        return place
    path = path.resolve()
    run = RunFolder(path.parent)
    if run.model.resolve() == path and run.is_finished:
        return str(run.read_results()["system"])
    return path.parent.name if path.name == "model" else path.name


def _listed(names: Sequence[str], one: str, many: str) -> str:
    return f"{', '.join(names) or 'none'} {one if len(names) == 1 else many}"
