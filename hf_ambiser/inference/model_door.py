"""Which model is meant, and how it is opened: a folder, a run folder, a Hub name, or the model that we ship."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hf_ambiser.models
from hf_ambiser.inference.load_model import load_extractor, load_model, place_of
from hf_ambiser.inference.onnx_model import OpenedOnnx, exported_folder, open_onnx
from hf_ambiser.inference.opened_model import OpenedModel, Outputs
from hf_ambiser.inference.several_models import SeveralModels
from hf_ambiser.inference.windows import WINDOW
from hf_ambiser.untrusted.printed import in_one_line


if TYPE_CHECKING:
    import torch

__all__ = ["OpenedModel", "Outputs", "open_model"]

# Beside the package in a checkout; a wheel does not have it.
SHIPPED = Path(hf_ambiser.models.__file__).parents[2] / "model_cards" / "crema_d_whisper_tiny"


def open_model(model: Any = None, device: str = "auto", *, extractor: Any = None) -> OpenedModel:
    """Open a trained model.

    Args:
        model: Folder of a model, folder of a finished run, or Hub name; folder or `model.onnx` of an exported model,
            which onnxruntime runs without torch; a list of these, whose distributions are averaged; or a model that is
            loaded already, such as one of a trainer, which is put on the device and into evaluation mode. None: the
            model that the repository ships.
        device: "auto" (a CUDA GPU if there is one), "cpu", "cuda", "cuda:1" and so on. A model of a list that is
            opened already stays where it is.
        extractor: The feature extractor of a model that is loaded already.

    Raises:
        ValueError: If there is no such model or device, the model does not choose among classes, an extractor is given
            without a loaded model or the reverse, or the models of a list have other classes or sampling rates.
    """
    if isinstance(model, list | tuple):
        if extractor is not None:
            raise ValueError("extractor is given beside a list of models; allowed: beside one loaded model.")
        return _open_several(model, device)
    # Whoever has a loaded model has imported torch.
    is_loaded = (torch := sys.modules.get("torch")) is not None and isinstance(model, torch.nn.Module)
    if is_loaded != (extractor is not None):
        found = f"{type(model).__name__} {'without' if is_loaded else 'with'} an extractor"
        raise ValueError(
            f"model is {found}; allowed: a loaded model with its feature extractor, or the place of a model alone."
        )
    if not (model is None or is_loaded or isinstance(model, str | os.PathLike)):
        raise ValueError(
            f"model is a {type(model).__name__}; allowed: the place of a model, a list or tuple of places, a loaded"
            " model, or None for the shipped one."
        )
    if (exported := exported_folder(model)) is not None:
        return open_onnx(exported, device)
    if is_loaded:
        place, loaded = type(model).__name__, model
    else:
        place = _shipped() if model is None else place_of(str(model))
        loaded, extractor = load_model(place), load_extractor(place)
    config = loaded.config
    classes = tuple(hf_ambiser.models.class_names(config))
    if len(classes) < 2 or config.problem_type in ("multi_label_classification", "regression"):
        raise ValueError(
            f"model {place} does not choose one of several classes ({len(classes)} labels, problem_type"
            f" {config.problem_type!r}); allowed: a classifier whose answer is a distribution over 2 or more classes."
        )
    rate = getattr(extractor, "sampling_rate", None)
    if not isinstance(rate, int):
        raise ValueError(f"model {place}: its feature extractor has no sampling rate, so it does not take audio.")
    return OpenedModel(
        name=place,
        model=loaded.eval().to(_device(device)),
        extractor=extractor,
        classes=classes,
        rate=rate,
        window=getattr(config, "segment_seconds", None) or WINDOW,
        ours=config.model_type.startswith("ambiser_"),
    )


def _open_several(models: Sequence[Any], device: str) -> OpenedModel:
    if not models:
        raise ValueError("model is an empty list; allowed: a model, a list of models, or None for the shipped one.")
    # One that is opened already stays where it is; an exported one needs no torch.
    if device != "auto" and any(isinstance(one, OpenedModel) and not isinstance(one, OpenedOnnx) for one in models):
        _device(device)
    opened = [one if isinstance(one, OpenedModel) else open_model(one, device) for one in models]
    return opened[0] if len(opened) == 1 else SeveralModels.of(opened)


def _shipped() -> str:
    if not SHIPPED.is_dir():
        raise ValueError(
            "the model that hf_ambiser ships is not part of an installed package, only of a checkout of the repository"
            " (model_cards/crema_d_whisper_tiny). Give a model: a folder, a run folder or a Hub name."
        )
    return str(SHIPPED)


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if re.fullmatch(r"cpu|(cuda|mps|xpu)(:\d+)?", name) is None:
            raise RuntimeError("no such name")
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} is not here ({in_one_line(error)}); allowed: auto, cpu, cuda, cuda:1 ..."
        ) from None
    return device
