"""Convolutional network with attention pooling of Li et al. (2018), on log-mel spectra or an encoder's frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .configuration_cnn_attention import CNNAttentionConfig
from .frame_classifier import FrameClassifier, FrameHead
from .layer_mix import LayerMix
from .masked_convolution import ConvolutionBlock, as_image
from .valid_frames import length_mask


class CNNAttentionHead(FrameHead):
    """Everything above the frames, in one module, so that peft saves all of it with `modules_to_save=["head"]`.

    Two maps are made of the last layer: `bottom_up`, one number for each position, and `out_proj`, the top-down map
    with a number for each position and class. A class's score is the sum of their product over positions.
    """

    def __init__(self, config: CNNAttentionConfig, layer_mix: LayerMix | None = None) -> None:
        super().__init__(config, layer_mix)
        self.normalised = config.attention == "softmax"
        pools = [(2, 2) if layer + 1 in config.pooled_layers else (1, 1) for layer in range(len(config.channels))]
        first, eps = config.channels[0] // 2, config.layer_norm_eps
        self.first = nn.ModuleList(ConvolutionBlock(1, first, kernel, pools[0], eps) for kernel in ((2, 10), (8, 2)))
        self.blocks = nn.ModuleList(
            ConvolutionBlock(config.channels[i - 1], config.channels[i], (3, 3), pools[i], eps)
            for i in range(1, len(config.channels))
        )
        self.dropout = nn.Dropout(config.dropout)
        # A softmax over positions ignores a bias, which is the same for all of them.
        self.bottom_up = nn.Linear(config.channels[-1], 1, bias=not self.normalised)
        self.out_proj = nn.Linear(config.channels[-1], len(config.id2label or {}))

    def classify(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D), which are valid (B, T) -> logits (B, K), embedding (B, C).

        The top-down map is affine in the features of a position. So to map their weighted sum gives the same as to sum
        the weighted map, and the weighted sum is the embedding.
        """
        counts = valid.sum(1)
        image = as_image(frames, valid, self.bottom_up.weight)
        image = torch.cat([block(image, counts) for block in self.first], dim=1)
        counts = self.first[0].frames_left(counts)  # type: ignore[operator]
        for block in self.blocks:
            image = block(image, counts)
            counts = block.frames_left(counts)  # type: ignore[operator]
        features = self.dropout(image.permute(0, 2, 3, 1))
        inside = length_mask(counts, features.shape[1])[:, :, None].expand(features.shape[:3]).flatten(1)
        features = features.flatten(1, 2)
        with torch.autocast(device_type=frames.device.type, enabled=False):
            features = features.to(self.bottom_up.weight.dtype)
            scores = self.bottom_up(features)[..., 0].float()
            if self.normalised:
                weights = scores.masked_fill(~inside, float("-inf")).softmax(dim=-1)
            else:
                weights = scores * inside / inside.sum(1, keepdim=True)
            embedding = (weights[:, None] @ features.float())[:, 0]
            top_down = nn.functional.linear(embedding.to(features.dtype), self.out_proj.weight)
            return top_down + self.out_proj.bias * weights.sum(1, keepdim=True).to(features.dtype), embedding


class CNNAttentionForAudioClassification(FrameClassifier):
    """Convolutions along time, along feature and over both, and attention pooling with a map for each class.

    Example:
        >>> model = CNNAttentionForAudioClassification(CNNAttentionConfig(num_labels=4)).eval()
        >>> model(torch.zeros(2, 16000)).logits.shape
        torch.Size([2, 4])
    """

    config_class = CNNAttentionConfig
    config: CNNAttentionConfig
    head_class = CNNAttentionHead


MODEL = CNNAttentionForAudioClassification
