"""The adapter of the small log-mel encoder, `LogMelModel`."""

from __future__ import annotations

from os import PathLike
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedConfig

from .configuration_logmel import LogMelConfig
from .encoder_adapter import WaveformEncoderAdapter
from .modeling_logmel import LogMelModel


class LogMelAdapter(WaveformEncoderAdapter):
    """Log-mel spectrogram with fixed filters and a small convolutional stack; padding never matters to it."""

    model_types = (LogMelConfig.model_type,)
    description = "a small log-mel encoder of this package, trained from scratch; the default"
    # The fixed normalisation of log-mel keeps the level of a voice.
    scales_waveforms = False
    layers_refused = "its layers have frames of different sizes"
    lora_targets = (("conv", "projection"),)

    @classmethod
    def build(cls, config: PreTrainedConfig) -> LogMelModel:
        """Return the encoder with random weights. It has nothing to repair and no grouped convolutions."""
        # Call the class itself: Auto classes know it only where the package is installed.
        return LogMelModel(cast(LogMelConfig, config))

    @classmethod
    def load(cls, name_or_path: str | PathLike[str], config: PreTrainedConfig, **location: Any) -> LogMelModel:
        """Return a saved log-mel encoder in float32."""
        return LogMelModel.from_pretrained(
            name_or_path, config=cast(LogMelConfig, config), dtype=torch.float32, **location
        )

    @classmethod
    def sampling_rate(cls, config: PreTrainedConfig) -> int:
        """Return the sampling rate in Hz that the configuration gives."""
        return cast(LogMelConfig, config).sampling_rate

    def freeze_feature_encoder(self) -> None:
        """Do nothing: the filters are fixed, and all else is the layers."""

    @property
    def layers(self) -> nn.ModuleList:
        """The convolutional blocks."""
        return self.encoder.blocks

    @property
    def below_layers(self) -> list[nn.Module | nn.Parameter]:
        """Nothing: the filters have no weights."""
        return []
