"""The Hub folder: models that load with `trust_remote_code` where this package is not installed.

A family is `configuration_<name>.py` and `modeling_<name>.py`, whose `MODEL` is its class; families are found by
listing the folder. Every file but this one is copied next to saved weights where it is needed, so it imports torch,
transformers and its own siblings only.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from .configuration_logmel import LogMelConfig
from .configuration_prototype import PrototypeConfig
from .feature_extractor import default_feature_extractor
from .modeling_logmel import LogMelModel
from .modeling_prototype import PrototypeClassifierOutput, PrototypeForAudioClassification


__all__ = [
    "LogMelConfig",
    "LogMelModel",
    "PrototypeClassifierOutput",
    "PrototypeConfig",
    "PrototypeForAudioClassification",
    "available_families",
    "default_feature_extractor",
    "load_family",
    "register",
]
_PREFIX = "modeling_"


def _models() -> dict[str, Any]:
    names = sorted(p.stem.removeprefix(_PREFIX) for p in Path(__file__).parent.glob(f"{_PREFIX}*.py"))
    return {name: importlib.import_module(f".{_PREFIX}{name}", __name__).MODEL for name in names}


def available_families() -> list[str]:
    """Names of the families of classifiers; encoders are none."""
    return [name for name, model in _models().items() if model._auto_class == "AutoModelForAudioClassification"]


def load_family(name: str) -> Any:
    """The model class of a family, a `WaveformClassifier`.

    Raises:
        ValueError: If there is no such family.
    """
    if name not in available_families():
        raise ValueError(f"there is no model family {name!r}; choose one of {available_families()}.")
    return _models()[name]


def register() -> None:
    """Make the Auto classes of transformers know these models. May be called more than once."""
    for model in _models().values():
        AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
        AutoModel.register(model.config_class, model, exist_ok=True)
        if model._auto_class == "AutoModelForAudioClassification":
            AutoModelForAudioClassification.register(model.config_class, model, exist_ok=True)
        extractor = getattr(model, "feature_extractor_class", None)  # one of our own
        if extractor is not None:
            AutoFeatureExtractor.register(model.config_class, extractor, exist_ok=True)
