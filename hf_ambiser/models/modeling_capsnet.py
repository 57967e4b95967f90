"""Sequential capsule network of Wu et al. (2019, 2021), on log-mel spectra or an encoder's frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_capsnet import CapsNetConfig
from .frame_classifier import FrameClassifier, FrameHead
from .layer_mix import LayerMix
from .masked_convolution import ConvolutionBlock, as_image


EPSILON = 1e-12  # added below roots, whose slope at 0 is infinite


def squash(capsules: Tensor) -> Tensor:
    """Give vectors (..., S) a length below 1 and keep their direction; a vector of zeros stays one.

    It is `|s|^2 / (1 + |s|^2) * s / |s|` (Sabour et al., 2017, Eq. 1).
    """
    squares = capsules.square().sum(-1, keepdim=True)
    return capsules * (squares + EPSILON).sqrt() / (1 + squares)


def route(votes: Tensor, iterations: int) -> Tensor:
    """Compute upper capsules from the votes of lower ones by dynamic routing (Sabour et al., 2017, Procedure 1).

    Args:
        votes: What each of I lower capsules says that each of K upper ones is, (..., I, K, S). Votes of zeros, as
            padding has them, change nothing.
        iterations: How often the capsules are computed.

    Returns:
        The upper capsules, (..., K, S).
    """
    logits = torch.zeros_like(votes[..., 0])
    capsules = votes.new_zeros(())
    for i in range(iterations):
        if i > 0:
            logits = logits + (votes * capsules.unsqueeze(-3)).sum(-1)
        capsules = squash((logits.softmax(dim=-1)[..., None] * votes).sum(-3))
    return capsules


class Capsules(GradientCheckpointingLayer):
    """One capsule for each class, from lower capsules and a matrix for each pair of a lower and an upper one.

    There is no bias, so lower capsules of zeros, which stand for padding, have votes of zeros.

    Args:
        lower: Number I of kinds of lower capsules, each with matrices of its own.
        lower_size: Number of values of a lower capsule.
        classes: Number K of upper capsules.
        size: Number S of values of an upper capsule.
        iterations: Iterations of the routing.
    """

    def __init__(self, lower: int, lower_size: int, classes: int, size: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.weight = nn.Parameter(torch.empty(lower, classes, size, lower_size))

    def reset_weights(self) -> None:
        """Initialise the matrices so that a vote has about the length of its capsule."""
        init.normal_(self.weight, std=self.weight.shape[2] ** -0.5)

    def forward(self, lower: Tensor) -> Tensor:
        """Lower capsules (..., N, I, s), N of each kind -> upper capsules of all of them, float32 (..., K, S)."""
        with torch.autocast(device_type=lower.device.type, enabled=False):
            votes = torch.einsum("...is,ikos->...iko", lower.float(), self.weight.float())
            return route(votes.flatten(-4, -3), self.iterations)


class CapsNetHead(FrameHead):
    """Everything above the frames, in one module, so that peft saves all of it with `modules_to_save=["head"]`."""

    def __init__(self, config: CapsNetConfig, layer_mix: LayerMix | None = None) -> None:
        super().__init__(config, layer_mix)
        self.config = config
        first, second, third = config.channels
        eps = config.layer_norm_eps
        self.first = nn.ModuleList(ConvolutionBlock(1, first // 2, kernel, (1, 2), eps) for kernel in ((2, 8), (8, 2)))
        self.blocks = nn.ModuleList(
            [
                ConvolutionBlock(first, second, (5, 5), (2, 2), eps),
                ConvolutionBlock(second, third, (5, 5), (2, 8), eps),
            ]
        )
        features = config.frame_size
        for block in (self.first[0], *self.blocks):
            features = block.features_left(features)  # type: ignore[operator]
        # Without a bias, so that what is zero past the last frame stays zero.
        self.primary = nn.Linear(third, config.primary_capsules * config.primary_capsule_size, bias=False)
        classes, size, times = len(config.id2label or {}), config.class_capsule_size, config.routing_iterations
        lower = config.window_steps * features * config.primary_capsules
        self.window_capsules = Capsules(lower, config.primary_capsule_size, classes, size, times)
        self.utterance_capsules = Capsules(classes, size, classes, size, times)

    def classify(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D), which are valid (B, T) -> logits (B, K), embedding (B, K S), the utterance's capsules."""
        capsules = self.utterance_capsules(self.of_windows(frames, valid))
        lengths = (capsules.square().sum(-1) + EPSILON).sqrt()
        scale = self.config.length_scale
        logits = lengths.log() if scale is None else lengths * scale
        return logits.to(self.primary.weight.dtype), capsules.flatten(1)

    def of_windows(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return the capsules of the classes in each window, float32 (B, N, K, S); a window past the end has zeros.

        A window begins every `shift_steps` steps as long as there is a step, and the last ones reach into zeros.
        """
        counts = valid.sum(1)
        image = as_image(frames, valid, self.primary.weight)
        image = torch.cat([block(image, counts) for block in self.first], dim=1)
        for block in self.blocks:
            image = block(image, counts)
            counts = block.frames_left(counts)  # type: ignore[operator]
        config = self.config
        primary = squash(self.primary(image.permute(0, 2, 3, 1)).float().unflatten(-1, (config.primary_capsules, -1)))
        padded = nn.functional.pad(primary.flatten(2, 3), (0, 0, 0, 0, 0, config.window_steps - 1))
        windows = padded.unfold(1, config.window_steps, config.shift_steps)  # (B, N, features x capsules, s, steps)
        return self.window_capsules(windows.permute(0, 1, 4, 2, 3).flatten(2, 3)[:, :, None])


class CapsNetForAudioClassification(FrameClassifier):
    """Capsules of windows by dynamic routing of convolutional features, capsules of the utterance by routing of these.

    Example:
        >>> model = CapsNetForAudioClassification(CapsNetConfig(num_labels=4)).eval()
        >>> model(torch.zeros(2, 16000)).logits.shape
        torch.Size([2, 4])
    """

    config_class = CapsNetConfig
    config: CapsNetConfig
    head_class = CapsNetHead


MODEL = CapsNetForAudioClassification
