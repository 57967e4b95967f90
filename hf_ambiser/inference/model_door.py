"""Which model is meant, and how it is opened: a folder, a run folder, a Hub name, or the model that we ship."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hf_ambiser.models
from hf_ambiser.files.read import exists
from hf_ambiser.inference.load_model import check_files, load_model, place_of
from hf_ambiser.inference.onnx_model import exported_folder, open_onnx
from hf_ambiser.inference.opened_model import OpenedModel, Outputs
from hf_ambiser.inference.windows import WINDOW
from hf_ambiser.untrusted.code_fields import in_our_words


if TYPE_CHECKING:
    import torch

__all__ = ["OpenedModel", "Outputs", "open_model"]

# Beside the package in a checkout; a wheel does not have it.
SHIPPED = Path(hf_ambiser.models.__file__).parents[2] / "model_cards" / "crema_d_whisper_tiny"


def open_model(model: Any = None, device: str = "auto", *, extractor: Any = None) -> OpenedModel:
    """Open a trained model.

    Args:
        model: Folder of a model, folder of a finished run, or Hub name; folder or `model.onnx` of an exported model,
            which onnxruntime runs without torch; or a model that is loaded already, such as one of a trainer, which is
            put on the device and into evaluation mode. None: the model that the repository ships.
        device: "auto" (a CUDA GPU if there is one), "cpu", "cuda", "cuda:1" and so on.
        extractor: The feature extractor of a model that is loaded already.

    Raises:
        ValueError: If there is no such model or device, the model does not choose among classes, or an extractor is
            given without a loaded model or the reverse.
    """
    # Whoever has a loaded model has imported torch.
    is_loaded = (torch := sys.modules.get("torch")) is not None and isinstance(model, torch.nn.Module)
    if is_loaded != (extractor is not None):
        found = f"{type(model).__name__} {'without' if is_loaded else 'with'} an extractor"
        raise ValueError(
            f"model is {found}; allowed: a loaded model with its feature extractor, or the place of a model alone."
        )
    if (exported := exported_folder(model)) is not None:
        return open_onnx(exported, device)
    if is_loaded:
        place, loaded = type(model).__name__, model
    else:
        place = _shipped() if model is None else place_of(str(model))
        loaded, extractor = _loaded(place)
    config = loaded.config
    classes = tuple(str(config.id2label[i]) for i in range(config.num_labels))
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


def _shipped() -> str:
    if not SHIPPED.is_dir():
        raise ValueError(
            "the model that hf_ambiser ships is not part of an installed package, only of a checkout of the repository"
            " (model_cards/crema_d_whisper_tiny). Give a model: a folder, a run folder or a Hub name."
        )
    return str(SHIPPED)


def _loaded(place: str) -> tuple[Any, Any]:
    """Return model and feature extractor of a folder or Hub name.

    Raises:
        ValueError: If they cannot be loaded, need code of their own, or are no audio classifier with trained weights.
    """
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    folder = Path(place)
    if exists(folder / "adapter_config.json"):
        return load_model(place), AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False)
    if folder.is_dir():
        if not exists(folder / "config.json"):
            raise ValueError(
                f"model {folder}: the folder holds no model (no config.json). Give the folder of a model or of a"
                " finished run."
            )
        check_files(folder)  # transformers does not name the one that is spoilt
    try:
        loaded, info = AutoModelForAudioClassification.from_pretrained(
            place, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True
        )
        extractor = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False)
    except ValueError as error:
        if "Unrecognized configuration class" in str(error):
            raise ValueError(
                f"model {place} is of a kind that has no audio classifier. Give a model that was trained to classify"
                " audio."
            ) from None
        if "trust_remote_code" in str(error):
            raise in_our_words(error, f"model {place!r}") from None
        raise ValueError(f"model {place} cannot be loaded: {_line(error)}") from None
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(
            f"model {place!r} cannot be loaded: it is neither a folder with a trained model and its feature extractor"
            f" nor a Hub model that can be reached from here ({_line(error)})"
        ) from None
    if info["mismatched_keys"]:
        others = sorted(str(name) for name, *_ in info["mismatched_keys"])
        raise ValueError(
            f"model {place} has {len(others)} weights of another shape than its config.json says, {others[0]!r} the"
            " first of them. Give it the config.json that was saved with these weights."
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"model {place} has no trained audio classifier: it lacks {len(missing)} weights, {missing[0]!r} the first"
            " of them, and they would be random. Give a model that was trained to classify audio."
        )
    return loaded, extractor


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
            f"device {name!r} is not here ({_line(error)}); allowed: auto, cpu, cuda, cuda:1 ..."
        ) from None
    return device


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
