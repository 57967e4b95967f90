"""AMSNet of Chen et al. (2023): a frame-level and an utterance-level branch, joined by attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .attentive_lstm import AttentiveLSTM
from .configuration_amsnet import AMSNetConfig
from .frame_classifier import FrameClassifier, FrameHead
from .layer_mix import LayerMix
from .masked_convolution import ConvolutionBlock, as_image


class SqueezeExcitation(nn.Module):
    """Weigh the channels of an image by what their means say (Hu et al., 2018); padding is in no mean."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        between = channels // factor
        self.squeeze = nn.Linear(channels, between)
        self.excite = nn.Linear(between, channels)

    def forward(self, image: Tensor, frames: Tensor) -> Tensor:
        """(B, C, T, F), zero past `frames` (B,) -> the same shape, zero past the same."""
        mean = mean_over_positions(image, frames).to(self.squeeze.weight.dtype)
        return image * self.excite(self.squeeze(mean).relu()).sigmoid()[:, :, None, None]


def mean_over_positions(image: Tensor, frames: Tensor) -> Tensor:
    """Return the mean of an image (B, C, T, F), zero past `frames` (B,), over its valid positions, float32 (B, C)."""
    return image.float().mean(dim=3).sum(dim=2) / frames[:, None]


class AMSNetHead(FrameHead):
    """Everything above the frames, in one module, so that peft saves all of it with `modules_to_save=["head"]`."""

    def __init__(self, config: AMSNetConfig, layer_mix: LayerMix | None = None) -> None:
        super().__init__(config, layer_mix)
        units, size = config.lstm_hidden_size, config.branch_hidden_size
        self.recurrent = AttentiveLSTM(config.frame_size, units, config.bidirectional, config.dropout)
        channels = [1, *config.channels]
        self.blocks = nn.ModuleList(
            ConvolutionBlock(channels[i], channels[i + 1], (3, 3), (2, 2), config.layer_norm_eps)
            for i in range(len(config.channels))
        )
        self.gates = nn.ModuleList(SqueezeExcitation(c, config.squeeze_factor) for c in config.channels)
        self.of_frames = nn.Linear(units * (2 if config.bidirectional else 1), size)
        self.of_utterance = nn.Linear(channels[-1], size)
        self.connection = self.connection_score = None
        if config.fusion == "attention":
            self.connection = nn.Linear(size, size)
            # A softmax over branches ignores a bias, which is the same for both of them.
            self.connection_score = nn.Linear(size, 1, bias=False)
        self.dense = nn.Linear(2 * size, config.classifier_hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.out_proj = nn.Linear(config.classifier_hidden_size, len(config.id2label or {}))

    @property
    def below_relu(self) -> tuple[nn.Module, ...]:
        """The linear layers whose output goes through a ReLU."""
        gates: Any = self.gates
        return (self.of_frames, self.of_utterance, self.dense, *(gate.squeeze for gate in gates))

    def classify(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D), which are valid (B, T) -> logits (B, K), embedding (B, 2 H), both branches weighted."""
        dtype = self.dense.weight.dtype
        vectors = [
            self.of_frames(self.recurrent(frames, valid).to(dtype)),
            self.of_utterance(self.utterance(frames, valid).to(dtype)),
        ]
        branches = torch.stack(vectors, dim=1).relu()
        if self.connection is not None and self.connection_score is not None:
            scores = self.connection_score(self.connection(branches).tanh())
            branches = branches * scores.float().softmax(dim=1)
        embedding = branches.float().flatten(1)
        hidden = self.dense(embedding.to(dtype)).relu()
        return self.out_proj(self.dropout(hidden)), embedding

    def utterance(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return the mean over positions above the convolutions, float32 (B, C)."""
        counts = valid.sum(1)
        image = as_image(frames, valid, self.dense.weight)
        for block, gate in zip(self.blocks, self.gates, strict=True):
            image = block(image, counts)
            counts = block.frames_left(counts)  # type: ignore[operator]
            image = gate(image, counts)
        return mean_over_positions(image, counts)


class AMSNetForAudioClassification(FrameClassifier):
    """An LSTM with attention over frames, convolutions with squeeze-and-excitation, and attention over both.

    Example:
        >>> model = AMSNetForAudioClassification(AMSNetConfig(num_labels=4)).eval()
        >>> model(torch.zeros(2, 16000)).logits.shape
        torch.Size([2, 4])
    """

    config_class = AMSNetConfig
    config: AMSNetConfig
    head_class = AMSNetHead


MODEL = AMSNetForAudioClassification
