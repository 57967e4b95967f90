"""Which model is meant, and how it is opened: a folder, a run folder, a Hub name, or the model that we ship."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import torch

import hf_ambiser.models
from hf_ambiser.files.read import exists
from hf_ambiser.inference.load_model import check_files, load_model, place_of
from hf_ambiser.inference.windows import WINDOW
from hf_ambiser.untrusted.code_fields import in_our_words


# Beside the package in a checkout; a wheel does not have it.
SHIPPED = Path(hf_ambiser.models.__file__).parents[2] / "model_cards" / "crema_d_whisper_tiny"


class Outputs(NamedTuple):
    """What a model says about N waveforms.

    Args:
        probabilities: `(N, K)` float64, the softmax of logits / temperature.
        similarities: `(N, K)` float64, cosines to the class prototypes; None if the model has none.
        embeddings: `(N, D)` float64, what the model's last layer classifies; None if the model does not say it.
    """

    probabilities: np.ndarray
    similarities: np.ndarray | None
    embeddings: np.ndarray | None


@dataclass(frozen=True)
class OpenedModel:
    """A model that answers for waveforms. `open_model` makes it; it can be used for any number of `predict` calls.

    Args:
        name: Folder or Hub name.
        model: In evaluation mode, on its device.
        extractor: Its feature extractor.
        classes: Names of the K classes.
        rate: Sampling rate of its waveforms in Hz.
        window: Length of the windows of long recordings in seconds, if the caller gives none.
        ours: Whether it is a model of hf_ambiser, whose answers do not depend on padding. Others get one waveform at
            a time.
    """

    name: str
    model: Any
    extractor: Any
    classes: tuple[str, ...]
    rate: int
    window: float
    ours: bool

    def probabilities(self, waveforms: Sequence[np.ndarray], temperature: float = 1.0) -> Outputs:
        """Answer for N waveforms `(T,)` float32 at the model's rate.

        Args:
            waveforms: The waveforms; one batch for a model of ours.
            temperature: Divides the logits.
        """
        batches = [list(waveforms)] if self.ours else [[one] for one in waveforms]
        outputs = [self._forward(batch) for batch in batches]
        logits = np.concatenate([_numbers(output.logits) for output in outputs])
        return Outputs(
            scipy.special.softmax(logits / temperature, axis=1),
            _rows(outputs, "prototype_similarity"),
            _rows(outputs, "embedding"),
        )

    def _forward(self, waveforms: list[np.ndarray]) -> Any:
        if self.ours:
            options = {"padding": True, "return_attention_mask": True}
            inputs = self.extractor(waveforms, sampling_rate=self.rate, return_tensors="pt", **options)
        else:
            # As transformers' pipeline does it, so that the answers are its answers.
            inputs = self.extractor(waveforms[0], sampling_rate=self.rate, return_tensors="pt")
        with torch.inference_mode():
            return self.model(**inputs.to(self.model.device))


def _rows(outputs: list[Any], name: str) -> np.ndarray | None:
    """Return a field `(N, ...)` of outputs; None if they do not have it."""
    values: list[Any] = [getattr(output, name, None) for output in outputs]
    return None if values[0] is None else np.concatenate([_numbers(value) for value in values])


def _numbers(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy().astype(np.float64)


def open_model(model: Any = None, device: str = "auto", *, extractor: Any = None) -> OpenedModel:
    """Open a trained model.

    Args:
        model: Folder of a model, folder of a finished run, or Hub name; or a model that is loaded already, such as one
            of a trainer, which is put on the device and into evaluation mode. None: the model that the repository
            ships.
        device: "auto" (a CUDA GPU if there is one), "cpu", "cuda", "cuda:1" and so on.
        extractor: The feature extractor of a model that is loaded already.

    Raises:
        ValueError: If there is no such model or device, the model does not choose among classes, or an extractor is
            given without a loaded model or the reverse.
    """
    is_loaded = isinstance(model, torch.nn.Module)
    if is_loaded != (extractor is not None):
        found = f"{type(model).__name__} {'without' if is_loaded else 'with'} an extractor"
        raise ValueError(
            f"model is {found}; allowed: a loaded model with its feature extractor, or the place of a model alone."
        )
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
