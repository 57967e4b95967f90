"""The Hub folder: models that load with `trust_remote_code` where this package is not installed.

A family is `configuration_<name>.py` and `modeling_<name>.py`, which sets `MODEL` to its class; families are found by
listing the folder. Saved weights get copies of the files that they need. So every file but this one and
`auto_classes.py` imports only torch, transformers and files of this folder.

Classes are imported when they are first used, so that importing this package does not wait for torch.
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
    """Return a public class or function of any file of this folder."""
    if not name.startswith("_"):
        for path in sorted(_HERE.glob("*.py")):
            # Search the text for the definition, so that no other file is imported.
            text = path.read_text(encoding="utf-8")
            if path.stem != "__init__" and (f"\nclass {name}(" in text or f"\ndef {name}(" in text):
                return getattr(importlib.import_module(f".{path.stem}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _names() -> list[str]:
    return sorted(path.stem.removeprefix(_PREFIX) for path in _HERE.glob(f"{_PREFIX}*.py"))


def _model(name: str) -> Any:
    return importlib.import_module(f".{_PREFIX}{name}", __name__).MODEL


def available_families() -> list[str]:
    """Return the names of the families of classifiers, without encoders."""
    return [name for name in _names() if _model(name)._auto_class == "AutoModelForAudioClassification"]


def load_family(name: str) -> Any:
    """Return the model class of a family, a `WaveformClassifier`.

    Raises:
        ValueError: If there is no such family.
    """
    if name not in available_families():
        raise ValueError(f"there is no model family {name!r}; choose one of {available_families()}.")
    return _model(name)


def class_names(config: Any) -> list[str]:
    """Return the names of a configuration's classes in the order of their index; its file may list them in another."""
    return [str(config.id2label[i]) for i in range(len(config.id2label))]


def family_of(config: Any) -> str:
    """Return the family that a configuration belongs to.

    Raises:
        ValueError: If it belongs to no family.
    """
    for name in available_families():
        if _model(name).config_class.model_type == config.model_type:
            return name
    raise ValueError(
        f"model_type {config.model_type!r} belongs to no model family; give a model of one of {available_families()}."
    )


def register() -> None:
    """Register these models with the Auto classes of transformers. It may be called more than once."""
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

    for model in map(_model, _names()):
        AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
        AutoModel.register(model.config_class, model, exist_ok=True)
        if model._auto_class == "AutoModelForAudioClassification":
            AutoModelForAudioClassification.register(model.config_class, model, exist_ok=True)
        extractor = getattr(model, "feature_extractor_class", None)  # set if the family has its own
        if extractor is not None:
            AutoFeatureExtractor.register(model.config_class, extractor, exist_ok=True)
