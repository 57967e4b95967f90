"""The Hub folder: models that load with `trust_remote_code` where this package is not installed.

Every file but this one is copied next to saved weights, so it imports torch, transformers and its own siblings only.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification

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
    "default_feature_extractor",
    "register",
]


def register() -> None:
    """Make the Auto classes of transformers know these models. May be called more than once."""
    for config_class in (LogMelConfig, PrototypeConfig):
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModel.register(LogMelConfig, LogMelModel, exist_ok=True)
    for auto_class in (AutoModel, AutoModelForAudioClassification):
        auto_class.register(PrototypeConfig, PrototypeForAudioClassification, exist_ok=True)
