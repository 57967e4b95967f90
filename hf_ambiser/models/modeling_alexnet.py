"""AlexNet on the frames of an utterance as an image of one size, after Cummins et al. (2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_alexnet import LAYERS, AlexNetConfig
from .frame_classifier import FrameClassifier, FrameHead
from .layer_mix import LayerMix


def stretched(frames: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Stretch the valid frames of each utterance to `size` frames, linearly between neighbours.

    It is `torch.nn.functional.interpolate(mode="linear")` of each utterance alone, so what stands in the padding does
    not matter.

    Args:
        frames: Shape (B, T, D).
        lengths: Valid frames, shape (B,).
        size: Number of frames of the result.

    Returns:
        Float32, shape (B, size, D).
    """
    last = (lengths - 1)[:, None]
    steps = torch.arange(size, device=frames.device) + 0.5
    place = (steps[None] * (lengths[:, None].float() / size) - 0.5).clamp_min(0)
    low = torch.minimum(place.long(), last)
    share = (place - low)[:, :, None]
    before, after = (
        frames.gather(1, at[:, :, None].expand(-1, -1, frames.shape[2])) for at in (low, torch.minimum(low + 1, last))
    )
    return before + (after - before) * share


class AlexNetLayer(GradientCheckpointingLayer):
    """Convolution and ReLU, and after some of them the maximum over patches of 3 x 3 at a step of 2."""

    def __init__(self, channels: tuple[int, int], kernel: int, stride: int, padding: int, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, stride=stride, padding=padding)
        self.pool = pool

    def forward(self, image: Tensor) -> Tensor:
        """(B, C_in, S, S) -> (B, C_out, S', S')."""
        image = self.conv(image).relu()
        return nn.functional.max_pool2d(image, 3, 2) if self.pool else image


class AlexNetHead(FrameHead):
    """Everything above the frames, in one module, so that peft saves all of it with `modules_to_save=["head"]`."""

    def __init__(self, config: AlexNetConfig, layer_mix: LayerMix | None = None) -> None:
        super().__init__(config, layer_mix)
        self.side = config.image_side
        channels = [1, *config.channels]
        self.layers = nn.ModuleList(
            AlexNetLayer((channels[i], channels[i + 1]), *layer) for i, layer in enumerate(LAYERS)
        )
        size = config.classifier_hidden_size
        self.dense = nn.ModuleList([nn.Linear(channels[-1] * config.last_side**2, size), nn.Linear(size, size)])
        self.dropout = nn.Dropout(config.dropout)
        self.out_proj = nn.Linear(size, len(config.id2label or {}))

    @property
    def below_relu(self) -> tuple[nn.Module, ...]:
        """The linear layers whose output goes through a ReLU."""
        return tuple(self.dense)

    def classify(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D), which are valid (B, T) -> logits (B, K), embedding (B, H), the second hidden layer."""
        hidden = self.image(frames, valid).to(self.out_proj.weight.dtype)[:, None]
        for layer in self.layers:
            hidden = layer(hidden)
        hidden = hidden.flatten(1)
        for layer in self.dense:
            hidden = layer(self.dropout(hidden)).relu()
        return self.out_proj(hidden), hidden.float()

    def image(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return the frames (B, T, D), which are valid (B, T), as images, float32 (B, side, side), time first."""
        with torch.autocast(device_type=frames.device.type, enabled=False):
            tall = stretched(frames.float(), valid.sum(1), self.side)
            return nn.functional.interpolate(tall, size=self.side, mode="linear", align_corners=False)


class AlexNetForAudioClassification(FrameClassifier):
    """AlexNet, trained from scratch, on an image of each utterance that has the same size whatever its length.

    Example:
        >>> config = AlexNetConfig(num_labels=4, image_side=63, classifier_hidden_size=32)
        >>> AlexNetForAudioClassification(config).eval()(torch.zeros(2, 16000)).logits.shape
        torch.Size([2, 4])
    """

    config_class = AlexNetConfig
    config: AlexNetConfig
    head_class = AlexNetHead


MODEL = AlexNetForAudioClassification
