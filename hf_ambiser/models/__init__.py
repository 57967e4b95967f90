"""The Hub folder: models that load with `trust_remote_code` where this package is not installed.

A family is `configuration_<name>.py` and `modeling_<name>.py`, whose `MODEL` is its class; families are found by
listing the folder. Every file but this one and `auto_classes.py` is copied next to saved weights where it is needed,
so it imports torch, transformers and its own siblings only.

Classes are imported when they are first asked for, so that importing this package does not wait for torch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
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
    "family_of",
    "load_family",
    "register",
]
_PREFIX = "modeling_"
_HERE = Path(__file__).parent


def __getattr__(name: str) -> Any:
    """A public class or function of any file of this folder."""
    if not name.startswith("_"):
        for path in sorted(_HERE.glob("*.py")):
            # The text tells what a file defines, so that no other file is imported for it.
            text = path.read_text(encoding="utf-8")
            if path.stem != "__init__" and (f"\nclass {name}(" in text or f"\ndef {name}(" in text):
                return getattr(importlib.import_module(f".{path.stem}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _names() -> list[str]:
    return sorted(path.stem.removeprefix(_PREFIX) for path in _HERE.glob(f"{_PREFIX}*.py"))


def _model(name: str) -> Any:
    return importlib.import_module(f".{_PREFIX}{name}", __name__).MODEL


def available_families() -> list[str]:
    """Names of the families of classifiers; encoders are none."""
    return [name for name in _names() if _model(name)._auto_class == "AutoModelForAudioClassification"]


def load_family(name: str) -> Any:
    """The model class of a family, a `WaveformClassifier`.

    Raises:
        ValueError: If there is no such family.
    """
    if name not in available_families():
        raise ValueError(f"there is no model family {name!r}; choose one of {available_families()}.")
    return _model(name)


def family_of(config: Any) -> str:
    """The family that a configuration belongs to.

    Raises:
        ValueError: If it is no configuration of a family.
    """
    for name in available_families():
        if _model(name).config_class.model_type == config.model_type:
            return name
    raise ValueError(f"model_type {config.model_type!r} is of no model family; families are {available_families()}.")


def register() -> None:
    """Make the Auto classes of transformers know these models. May be called more than once."""
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

    for model in map(_model, _names()):
        AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
        AutoModel.register(model.config_class, model, exist_ok=True)
        if model._auto_class == "AutoModelForAudioClassification":
            AutoModelForAudioClassification.register(model.config_class, model, exist_ok=True)
        extractor = getattr(model, "feature_extractor_class", None)  # one of our own
        if extractor is not None:
            AutoFeatureExtractor.register(model.config_class, extractor, exist_ok=True)
