"""A model that begins with the weights of a trained one: of a Hub model, of a finished run, of a system of a study."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_ambiser.inference.load_model import load_model, place_of
from hf_ambiser.run_folder.layout import RunFolder, is_name
from hf_ambiser.run_folder.reference import read_reference
from hf_ambiser.training.places import expanded


logger = logging.getLogger(__name__)


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


def learnt_before(source: str, run: Path, corpus: str) -> set[str] | None:
    """Return the utterances of a corpus that a trained model has learnt from, and that its own beginning has.

    Args:
        source: The value of `pretrained`.
        run: The folder of the run that began with it.
        corpus: The corpus' name.

    Returns:
        Their ids; None if they are not known, because the model does not lie in the folder of its run.
    """
    try:
        place = Path(place_of_begin(source, run))
    except ValueError:  # it has been moved since
        return None
    folder = RunFolder(place.parent)
    data = folder.read_data()
    if folder.model != place or data is None:
        return None
    ids = set(read_reference(folder.path)["row"]) if data["corpus"] == corpus else set()
    earlier = folder.read_arguments().get("pretrained")
    if earlier is None:
        return ids
    before = learnt_before(str(earlier), folder.path, corpus)
    return None if before is None else ids | before


def trained_model(place: str, classes: Sequence[str]) -> Any:
    """Load a trained model for the classes of a data set; a class that it does not have begins at random.

    Args:
        place: Folder or Hub name. An adapter is merged into the model that it belongs to.
        classes: Class names in the order of their index.

    Raises:
        ValueError: If there is no such model, or it cannot be used.
    """
    model = load_model(place).float()
    had = list(model.config.id2label.values())
    if had == list(classes):
        return model
    made = with_classes(model, classes)
    logger.warning(
        "the model of %s answers %s, and this data set has %s: what belongs to a class follows its name, %s at random,"
        " and %s left out.",
        place,
        had,
        list(classes),
        _listed([name for name in classes if name not in had], "begins", "begin"),
        _listed([name for name in had if name not in classes], "is", "are"),
    )
    return made


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
    if other:
        raise ValueError(
            f"pretrained={source!r} holds a network of another architecture ({len(other)} tensors differ, the first is"
            f" {other[0]}). Give the model and encoder fields that it was trained with, or none of them: then the"
            " architecture is that of the trained model."
        )
    model.load_state_dict(weights)


def with_classes(model: Any, classes: Sequence[str]) -> Any:
    """Return a model of the same architecture with other classes, or with the same ones in another order.

    Weights of a class follow its name. What belongs to a new class is drawn anew, and so is a tensor that depends on
    the number of classes in another way than by a row or column for each class. All other weights are kept.

    Args:
        model: A trained model.
        classes: The new class names in the order of their index.
    """
    made = type(model)(_config(model, classes))
    with torch.device("meta"):
        grown = type(model)(_config(model, [*classes, "one more"])).state_dict()
    had = list(model.config.id2label.values())
    kept = [name for name in classes if name in had]
    here, there = ([names.index(name) for name in kept] for names in (list(classes), had))
    own = made.state_dict()
    for name, old in model.state_dict().items():
        of_class = [here_ != there_ for here_, there_ in zip(own[name].shape, grown[name].shape, strict=True)]
        if not any(of_class):
            own[name].copy_(old)
        elif all(size == len(classes) for size, by_class in zip(own[name].shape, of_class, strict=True) if by_class):
            own[name][_places(own[name], of_class, here)] = old[_places(old, of_class, there)]
        else:
            logger.warning("%s begins at random: it depends on the classes, and not by a row of each.", name)
    made.load_state_dict(own)
    return made


def _places(tensor: Tensor, of_class: Sequence[bool], rows: Sequence[int]) -> tuple[Tensor, ...]:
    """Return an index of the values of some classes, in each dimension that is one of classes."""
    chosen = [rows if by_class else range(n) for n, by_class in zip(tensor.shape, of_class, strict=True)]
    return tuple(torch.from_numpy(values) for values in np.ix_(*(np.array(values, int) for values in chosen)))


def _config(model: Any, classes: Sequence[str]) -> Any:
    config = copy.deepcopy(model.config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    return config


def _listed(names: Sequence[str], one: str, many: str) -> str:
    return f"{', '.join(names) or 'none'} {one if len(names) == 1 else many}"
