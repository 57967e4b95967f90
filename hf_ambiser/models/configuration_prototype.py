"""Configuration of the audio classifier with class prototypes."""

from __future__ import annotations

import copy
import os
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .configuration_logmel import LogMelConfig


POOLINGS = ("mean", "mean_std")


class PrototypeConfig(PreTrainedConfig):
    """Configuration of `PrototypeForAudioClassification`: encoder, pooling over time, classifier, class prototypes.

    Args:
        encoder_config: Configuration of the encoder: None for the default `LogMelConfig`, a configuration, or its
            dictionary with `model_type`. It is copied.
        classifier_hidden_size: Hidden size of the classifier.
        classifier_dropout: Dropout in the classifier.
        prototype_temperature: The ambiguous soft label is the softmax of cosine similarity over this temperature.
        pooling: "mean" over valid frames, or "mean_std", the mean and the standard deviation side by side.
        **kwargs: Fields of `PreTrainedConfig`, among them `id2label`/`label2id` or `num_labels` (K classes).

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_prototype"
    sub_configs = {"encoder_config": AutoConfig}
    keys_to_ignore_at_inference = ["embedding", "prototype_similarity", "ambiguous_soft_label"]
    _auto_class = "AutoConfig"

    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        classifier_hidden_size: int = 128,
        classifier_dropout: float = 0.1,
        prototype_temperature: float = 0.3,
        pooling: str = "mean",
        **kwargs: Any,
    ) -> None:
        self.encoder_config = _resolve_encoder_config(encoder_config)
        self.classifier_hidden_size = classifier_hidden_size
        self.classifier_dropout = classifier_dropout
        self.prototype_temperature = prototype_temperature
        self.pooling = pooling
        checks = {
            "classifier_hidden_size": (classifier_hidden_size >= 1, "a whole number of at least 1"),
            "classifier_dropout": (0 <= classifier_dropout < 1, "in [0, 1)"),
            "prototype_temperature": (prototype_temperature > 0, "above 0"),
            "pooling": (pooling in POOLINGS, f"one of {', '.join(POOLINGS)}"),
        }
        for field, (ok, allowed) in checks.items():
            if not ok:
                raise ValueError(f"PrototypeConfig.{field} is {getattr(self, field)!r}; allowed: {allowed}.")
        # Written here and not by saving: saving names one auto class only, and this model answers to two. A map that
        # came from another folder is dropped, for the code travels with every save.
        kwargs.pop("auto_map", None)
        self.auto_map = {
            "AutoConfig": "configuration_prototype.PrototypeConfig",
            "AutoModel": "modeling_prototype.PrototypeForAudioClassification",
            "AutoModelForAudioClassification": "modeling_prototype.PrototypeForAudioClassification",
        }
        super().__init__(**kwargs)

    @property
    def embedding_size(self) -> int:
        """Size D of a clip's embedding."""
        return self.encoder_config.hidden_size * (2 if self.pooling == "mean_std" else 1)

    def describe(self) -> str:
        """The architecture above the encoder in a few words, for a model card."""
        pooled = {"mean": "mean", "mean_std": "mean and standard deviation"}[self.pooling]
        return f"{pooled} over the valid frames, then a classifier and class prototypes"

    def to_dict(self) -> dict[str, Any]:
        """As the base class, without what the encoder's part must not say.

        That is whatever could ask for the execution of remote code, and a folder of the machine it was trained on.
        """
        output = super().to_dict()
        if isinstance(output.get("encoder_config"), dict):
            output["encoder_config"] = _without_remote_code(output["encoder_config"])
            if os.path.isdir(output["encoder_config"].get("_name_or_path", "")):
                output["encoder_config"]["_name_or_path"] = ""
        return output


def _without_remote_code(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in ("auto_map", "trust_remote_code")}


def _resolve_encoder_config(encoder_config: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig:
    if encoder_config is None:
        return LogMelConfig()
    if isinstance(encoder_config, PreTrainedConfig):
        encoder_config = copy.deepcopy(encoder_config)
        for name in ("auto_map", "trust_remote_code"):
            if hasattr(encoder_config, name):
                delattr(encoder_config, name)
        return encoder_config
    if not isinstance(encoder_config, dict):
        raise ValueError(
            f"PrototypeConfig.encoder_config is a {type(encoder_config).__name__}; allowed: None, a configuration, or "
            "its dictionary."
        )
    fields = _without_remote_code(encoder_config)
    model_type = fields.pop("model_type", None)
    # Known here without any registration: a folder with this code loads where the package is not installed.
    if model_type == LogMelConfig.model_type:
        return LogMelConfig(**fields)
    if model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"PrototypeConfig.encoder_config has model_type {model_type!r}; allowed: {LogMelConfig.model_type!r} or a "
            "model type of transformers, such as 'wav2vec2', 'hubert', 'wavlm', 'data2vec-audio'."
        )
    return CONFIG_MAPPING[model_type](**fields)
