"""Which samples and frames of a padded batch are valid, and encoders whose answers do not depend on padding.

In the wav2vec 2.0 family of transformers, padding changes an utterance's answer in two places, even with an attention
mask. The group norm of the first convolution also takes its statistics over padded frames. And in the positional
convolutions of data2vec-audio, padded frames become non-zero after the first layer and affect valid ones.
`repair_padding` replaces the module in each of these places by one that knows the valid lengths. Parameters keep their
names, so weights load and save as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def sample_lengths(input_values: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return the number of valid samples of each utterance.

    Args:
        input_values: Waveforms, shape (B, T).
        attention_mask: 1 for a sample and 0 for padding, padding last, shape (B, T); None if nothing is padded.

    Returns:
        int64, shape (B,).

    Raises:
        ValueError: If a shape is wrong, or a row of the mask is not ones followed by zeros.
    """
    if input_values.ndim != 2 or input_values.shape[1] == 0:
        raise ValueError(
            f"input_values has shape {tuple(input_values.shape)}; allowed: (B, samples) with at least one sample. "
            "For a single utterance pass input_values[None]."
        )
    if attention_mask is None:
        return torch.full((len(input_values),), input_values.shape[1], device=input_values.device)
    if attention_mask.shape != input_values.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; allowed: the shape of input_values "
            f"{tuple(input_values.shape)}, one value per sample."
        )
    mask = attention_mask.bool()
    if torch.compiler.is_compiling():  # a check of values cannot be exported
        return mask.sum(-1)
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()) or not bool(mask[:, 0].all()):
        raise ValueError(
            "attention_mask has a row that is not ones followed by zeros; allowed: at least one valid sample, and "
            "padding on the right only (padding_side='right')."
        )
    return mask.sum(-1)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Return bool (B, size) from lengths (B,): True at the first `lengths[i]` positions of row i."""
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]


def average_neighbours(frames: Tensor, lengths: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Average each `n` neighbouring frames into one; the last one of an utterance may be the mean of fewer.

    Args:
        frames: Shape (B, L, T, H).
        lengths: Valid frames, shape (B,).
        n: At least 1.

    Returns:
        Frames (B, L, ceil(T / n), H), zero past each utterance's own, and lengths (B,). Padding is in no mean.
    """
    if n == 1:
        return frames, lengths
    mask = length_mask(lengths, frames.shape[2])
    missing = -frames.shape[2] % n
    kept = nn.functional.pad(frames * mask[:, None, :, None], (0, 0, 0, missing)).unflatten(2, (-1, n))
    count = nn.functional.pad(mask, (0, missing)).unflatten(1, (-1, n)).sum(-1).clamp_min(1)
    return kept.sum(3) / count[:, None, :, None], (lengths + n - 1) // n


def pad_to_minimum(input_values: Tensor, lengths: Tensor, minimum: int) -> tuple[Tensor, Tensor]:
    """Set all samples past each utterance's length to zero, and lengthen short utterances to `minimum` samples.

    Short utterances are lengthened in the same way alone and in a batch, in training and in evaluation, so that they
    always have the same answer.

    Args:
        input_values: Waveforms, shape (B, T).
        lengths: Valid samples, shape (B,).
        minimum: Smallest number of samples that the encoder takes.

    Returns:
        Waveforms (B, max(T, minimum)), and lengths (B,) of at least `minimum`.
    """
    padded = input_values.masked_fill(~length_mask(lengths, input_values.shape[1]), 0)
    missing = minimum - input_values.shape[1]
    if missing > 0:
        padded = nn.functional.pad(padded, (0, missing))
    return padded, lengths.clamp_min(minimum)


def convolution_frame_lengths(config: Any, lengths: Tensor) -> Tensor:
    """Return the number of frames that `config.conv_kernel`/`conv_stride` make of `lengths` samples, shape (B,)."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        lengths = (lengths - kernel) // stride + 1
    return lengths


def minimum_samples(config: Any) -> int:
    """Return the number of samples of the shortest waveform that a wav2vec 2.0-like encoder takes.

    It is the receptive field of one frame. With SpecAugment it is that of `mask_time_length + 1` frames, because
    masking fails on shorter sequences; it is the same in evaluation, so that both see the same waveform.
    """
    spec_augment = getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0) > 0
    samples = config.mask_time_length + 1 if spec_augment else 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


class ValidFrameGroupNormLayer(nn.Module):
    """First convolution of a `feat_extract_norm="group"` encoder, with a norm over valid frames only.

    It has the children `conv`, `layer_norm` and `activation` of the layer that it replaces. Without `valid_samples` it
    computes the same as that layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.conv: nn.Conv1d = layer.conv  # type: ignore[assignment]
        self.activation: nn.Module = layer.activation  # type: ignore[assignment]
        self.layer_norm: nn.GroupNorm = layer.layer_norm  # type: ignore[assignment]
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func: Any = None  # set by `activation_checkpointing_enable`
        self.valid_samples: Tensor | None = None

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, 1, T) -> (B, C, frames)."""
        # Pass the lengths as an argument: when the backward pass recomputes, the attribute has been cleared or set for
        # another batch.
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(self._compute, hidden_states, self.valid_samples)
        return self._compute(hidden_states, self.valid_samples)

    def _compute(self, hidden_states: Tensor, valid_samples: Tensor | None) -> Tensor:
        hidden_states = self.conv(hidden_states)
        if valid_samples is None:
            return self.activation(self.layer_norm(hidden_states))
        frames = (valid_samples - self.conv.kernel_size[0]) // self.conv.stride[0] + 1
        return self.activation(self._normalise(hidden_states, frames))

    def _normalise(self, hidden_states: Tensor, frames: Tensor) -> Tensor:
        # Use float32: in half precision, a sum over thousands of frames loses its digits.
        values = hidden_states.float()
        # On a CPU torch's own norm of each utterance is several times as fast, because it keeps no copies of the
        # frames. A compiler cannot see the lengths, and a GPU would wait for them.
        alone = values.device.type == "cpu" and not torch.compiler.is_compiling()
        normed = self._each_alone(values, frames.tolist()) if alone else self._all_masked(values, frames)
        return normed.to(hidden_states.dtype)

    def _each_alone(self, values: Tensor, frames: list[int]) -> Tensor:
        norm, size = self.layer_norm, values.shape[-1]
        weight, bias = norm.weight.float(), norm.bias.float()
        if min(frames) == size:
            return torch.group_norm(values, norm.num_groups, weight, bias, norm.eps)
        rows = [
            torch.group_norm(row[None, :, :n], norm.num_groups, weight, bias, norm.eps)
            for row, n in zip(values.unbind(), frames, strict=True)
        ]
        return torch.cat([nn.functional.pad(row, (0, size - row.shape[-1])) for row in rows])

    def _all_masked(self, values: Tensor, frames: Tensor) -> Tensor:
        norm, mask = self.layer_norm, length_mask(frames, values.shape[-1])[:, None].float()
        count = frames[:, None, None]
        centred = values - (values * mask).sum(-1, keepdim=True) / count
        variance = (centred * mask).square().sum(-1, keepdim=True) / count
        scale = torch.rsqrt(variance + norm.eps) * norm.weight.float()[:, None]
        return torch.addcmul(norm.bias.float()[:, None], centred, scale)


class ZeroPaddedFrames(nn.Module):
    """An activation (B, H, frames) that sets padded frames to zero, for the next convolution over time."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.valid_frames: Tensor | None = None

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, H, frames) -> (B, H, frames)."""
        hidden_states = self.activation(hidden_states)
        if self.valid_frames is None:
            return hidden_states
        return hidden_states.masked_fill(~length_mask(self.valid_frames, hidden_states.shape[-1])[:, None], 0)


def repair_padding(encoder: Any) -> None:
    """Make a wav2vec 2.0-like encoder of transformers independent of padding, in place.

    Args:
        encoder: A `PreTrainedModel` whose configuration has `conv_kernel` and `conv_stride`.

    Raises:
        ValueError: If the encoder has an adapter that changes the number of frames.
    """
    if getattr(encoder.config, "add_adapter", False):
        raise ValueError("encoder add_adapter is True; allowed: False, as the adapter shortens the frame sequence.")
    convolutions = getattr(getattr(encoder, "feature_extractor", None), "conv_layers", None)
    if convolutions is not None and isinstance(getattr(convolutions[0], "layer_norm", None), nn.GroupNorm):
        if not isinstance(convolutions[0], ValidFrameGroupNormLayer):
            convolutions[0] = ValidFrameGroupNormLayer(convolutions[0])
    positional = getattr(getattr(encoder, "encoder", None), "pos_conv_embed", None)
    for layer in getattr(positional, "layers", ()):
        if not isinstance(layer.activation, ZeroPaddedFrames):
            layer.activation = ZeroPaddedFrames(layer.activation)


@contextmanager
def valid_lengths(encoder: nn.Module, samples: Tensor, frames: Tensor) -> Iterator[None]:
    """Tell the modules of `repair_padding` how long each utterance is, for one call of the encoder.

    Args:
        encoder: The repaired encoder.
        samples: Valid samples, shape (B,).
        frames: Valid output frames, shape (B,).
    """
    norms = [module for module in encoder.modules() if isinstance(module, ValidFrameGroupNormLayer)]
    activations = [module for module in encoder.modules() if isinstance(module, ZeroPaddedFrames)]
    for norm in norms:
        norm.valid_samples = samples
    for activation in activations:
        activation.valid_frames = frames
    try:
        yield
    finally:
        # Clear them: if the encoder is called directly next, it would take them for the lengths of that batch.
        for norm in norms:
            norm.valid_samples = None
        for activation in activations:
            activation.valid_frames = None
