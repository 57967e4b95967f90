"""Convolutions over frames as an image of time and feature, whose padding never matters."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .valid_frames import length_mask


class ConvolutionBlock(GradientCheckpointingLayer):
    """Convolution, norm over the channels of each position, ReLU, and maximum over patches.

    The published systems have batch norm here, with which what is learnt depends on the other utterances of a batch.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel: Sizes (time, feature).
        pool: Sizes (time, feature) of the patches; the last patch of an utterance may be smaller.
        eps: Added to the variance of the norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        pool: tuple[int, int] = (1, 1),
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        time, feature = kernel
        # Of an even kernel, the larger half lies on later frames and higher features.
        self.margins = ((feature - 1) // 2, feature // 2, (time - 1) // 2, time // 2)
        self.pool = pool
        self.conv = nn.Conv2d(in_channels, out_channels, kernel)
        self.layer_norm = nn.LayerNorm(out_channels, eps=eps)

    def frames_left(self, frames: Tensor) -> Tensor:
        """Return the number of valid output frames for `frames` (B,) input frames; at least one each."""
        return (frames - 1) // self.pool[0] + 1

    def features_left(self, features: int) -> int:
        """Return the number of output features for `features` input features; at least one."""
        return (features - 1) // self.pool[1] + 1

    def forward(self, image: Tensor, frames: Tensor) -> Tensor:
        """(B, C_in, T, F), zero past `frames` (B,) -> (B, C_out, T', F'), zero past `frames_left`.

        For a single utterance the convolution pads the end with zeros, so a batch must have zeros there, too. Nothing
        is below zero after the ReLU, so the maximum of a patch that reaches into the zeros is that of its valid part.
        """
        image = self.conv(nn.functional.pad(image, self.margins))
        image = self.layer_norm(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).relu()
        image = image * length_mask(frames, image.shape[2])[:, None, :, None]
        if self.pool == (1, 1):
            return image
        time, feature = self.pool
        return nn.functional.max_pool2d(nn.functional.pad(image, (0, feature - 1, 0, time - 1)), self.pool)


def as_image(frames: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
    """Frames (B, T, D), which are valid (B, T) -> an image of one channel (B, 1, T, D), zero past the valid ones.

    Args:
        frames: The frames.
        valid: Whether each of them is valid.
        weight: A weight of what comes next, whose type the image gets.
    """
    return frames.masked_fill(~valid[:, :, None], 0).to(weight.dtype)[:, None]
