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
from hf_ambiser.inference.load_model import load_extractor, load_model, place_of
from hf_ambiser.inference.windows import WINDOW


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
        loaded, extractor = load_model(place), load_extractor(place)
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
