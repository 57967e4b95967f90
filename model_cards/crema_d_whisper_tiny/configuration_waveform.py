"""The base of all classifiers' configurations: the encoder's configuration, and the names to load a model by."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .configuration_logmel import LogMelConfig
from .field_types import typed


LAYERS = ("last", "weighted_sum")
# What `pipeline(model=..., trust_remote_code=True)` runs: task -> "module.Class" of a file beside the weights.
PIPELINES = {
    "emotion-distribution": {
        "impl": "emotion_pipeline.EmotionPipeline",
        "pt": ["AutoModelForAudioClassification"],
        "type": "audio",
    }
}


class WaveformClassifierConfig(PreTrainedConfig):
    """An encoder's configuration beside the fields of a classifier family. See its subclasses.

    Args:
        encoder_config: Configuration of the encoder: None for the default `LogMelConfig`, a configuration, or its
            dictionary with `model_type`. It is copied.
        layers: Which frames of the encoder are used: those of the "last" layer, or the "weighted_sum" of all layers
            with learned weights (softmax).
        frames_averaged: Number of neighbouring frames that are averaged into one, from the first frame on. Where the
            encoder makes 50 frames a second, 5 leaves 10: what is above the encoder, and the cached frames of a frozen
            one, then cost a fifth.
        standardize_frames: Whether each value of the frames is scaled to mean 0 and variance 1 by statistics of the
            training set, which the trainer computes before the first step. They are saved with the model.
        **kwargs: Fields of `PreTrainedConfig`, among them `id2label` (`label2id` follows from it) or `num_labels`
            (K classes).

    Raises:
        ValueError: If `encoder_config` names no known encoder.
    """

    sub_configs = {"encoder_config": AutoConfig}
    _auto_class = "AutoConfig"
    # "module.Class" of the model, for folders that are loaded where this package is not installed.
    model_class = ""
    # The field under which every field of the encoder acts, for messages.
    encoder_acts_with = ""

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        layers: str = "last",
        standardize_frames: bool = False,
        frames_averaged: int = 1,
        **kwargs: Any,
    ) -> None:
        self.encoder_config = _resolve(type(self).__name__, encoder_config)
        self.layers = layers
        self.standardize_frames = standardize_frames
        self.frames_averaged = frames_averaged
        whole = isinstance(frames_averaged, int) and not isinstance(frames_averaged, bool)
        check_fields(
            self,
            {
                "layers": (layers in LAYERS, f"one of {', '.join(LAYERS)}"),
                "frames_averaged": (whole and frames_averaged >= 1, "a whole number of at least 1"),
            },
        )
        # Set the map here, because saving writes one auto class only and these models have two. A map from another
        # folder is dropped, because every save takes the code along; so is a list of pipelines.
        kwargs.pop("auto_map", None)
        kwargs.pop("custom_pipelines", None)
        self.custom_pipelines = copy.deepcopy(PIPELINES)
        module = self.model_class.partition(".")[0].replace("modeling_", "configuration_")
        self.auto_map = {
            "AutoConfig": f"{module}.{type(self).__name__}",
            "AutoModel": self.model_class,
            "AutoModelForAudioClassification": self.model_class,
        }
        if kwargs.get("id2label") and not kwargs.get("label2id"):
            kwargs["label2id"] = {label: int(index) for index, label in kwargs["id2label"].items()}
        super().__init__(**kwargs)

    @classmethod
    def acting_encoder_fields(cls, **fields: Any) -> tuple[str, ...] | None:
        """Return which fields of the encoder's configuration act in a model with these fields; None: all of them."""
        return None

    @property
    def frames_as_they_are(self) -> bool:
        """Whether the head gets the frames of the last layer, or means of neighbours, neither summed nor scaled."""
        return self.layers == "last" and not self.standardize_frames

    def describe_layers(self) -> str:
        """Describe in a few words what is made of the encoder's frames first, for a model card; "": nothing."""
        parts = []
        if self.layers != "last":
            parts.append("the weighted sum of all layers")
        if self.standardize_frames:
            parts.append("each value scaled by the statistics of the training set")
        if self.frames_averaged > 1:
            parts.append(f"means of {self.frames_averaged} neighbouring frames")
        return ", ".join(parts)

    def describe_frames(self) -> str:
        """Describe the encoder of a model that was trained from scratch in a few words, for a model card."""
        return f"a {self.encoder_config.model_type.removeprefix('ambiser_')} encoder trained from scratch"

    def describe(self) -> str:
        """Describe the architecture above the encoder in a few words, for a model card."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return the dictionary of the base class, without some fields of the encoder's part.

        These are the fields that could ask for remote code, and the name of a local folder.
        """
        output = super().to_dict()
        # `pipeline` puts classes in place of their names, which cannot be written.
        output["custom_pipelines"] = copy.deepcopy(PIPELINES)
        if isinstance(output.get("encoder_config"), dict):
            output["encoder_config"] = _without_remote_code(output["encoder_config"])
            if os.path.isdir(output["encoder_config"].get("_name_or_path", "")):
                output["encoder_config"]["_name_or_path"] = ""
        return output


def check_fields(config: PreTrainedConfig, checks: Mapping[str, tuple[bool, str]]) -> None:
    """Raise a ValueError for the first field that is not allowed; `checks`: field -> (is it allowed, what is)."""
    for field, (ok, allowed) in checks.items():
        if not ok:
            raise ValueError(f"{type(config).__name__}.{field} is {getattr(config, field)!r}; allowed: {allowed}.")


def _without_remote_code(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in ("auto_map", "trust_remote_code")}


def _resolve(owner: str, encoder_config: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig:
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
            f"{owner}.encoder_config is a {type(encoder_config).__name__}; allowed: None, a configuration, or its "
            "dictionary."
        )
    fields = _without_remote_code(encoder_config)
    model_type = fields.pop("model_type", None)
    # This type needs no registration, so that a folder with this code loads where the package is not installed.
    if model_type == LogMelConfig.model_type:
        return LogMelConfig(**fields)
    if model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"{owner}.encoder_config has model_type {model_type!r}; allowed: {LogMelConfig.model_type!r} or a "
            "model type of transformers, such as 'wav2vec2', 'hubert', 'wavlm', 'data2vec-audio'."
        )
    return CONFIG_MAPPING[model_type](**fields)
