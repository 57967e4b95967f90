"""Which samples and frames of a padded batch are valid, and encoders whose answers do not depend on the rest.

Two parts of the wav2vec 2.0 family in transformers let padding change a clip's answer even with an attention mask: the
group norm of the first convolution takes its statistics over padded frames too, and in the stack of positional
convolutions of data2vec-audio padded frames become non-zero after the first layer and reach back into valid ones.
`repair_padding` puts a module that knows the valid lengths in each of these places; parameters and their names stay,
so weights load and save as before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


logger = logging.getLogger(__name__)

VERIFIED_MODEL_TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
_warned_model_types: set[str] = set()


def sample_lengths(input_values: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Number of valid samples of each clip.

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
            f"input_values has shape {tuple(input_values.shape)}; allowed: (clips, samples) with at least one sample. "
            "For a single clip pass input_values[None]."
        )
    if attention_mask is None:
        return torch.full((len(input_values),), input_values.shape[1], device=input_values.device)
    if attention_mask.shape != input_values.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; allowed: the shape of input_values "
            f"{tuple(input_values.shape)}, one value per sample."
        )
    mask = attention_mask.bool()
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()) or not bool(mask[:, 0].all()):
        raise ValueError(
            "attention_mask has a row that is not ones followed by zeros; allowed: at least one valid sample, and "
            "padding on the right only (padding_side='right')."
        )
    return mask.sum(-1)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True at the first `lengths[i]` of `size` places of row i; (B,) -> bool (B, size)."""
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]


def pad_to_minimum(input_values: Tensor, lengths: Tensor, minimum: int) -> tuple[Tensor, Tensor]:
    """Zero everything past each clip's length and make every clip at least `minimum` samples long with zeros.

    Short clips are lengthened alone and in a batch, in training and in evaluation alike, so that they give one answer.

    Args:
        input_values: Waveforms, shape (B, T).
        lengths: Valid samples, shape (B,).
        minimum: Samples that the encoder needs.

    Returns:
        Waveforms (B, max(T, minimum)) and lengths (B,) of at least `minimum`.
    """
    padded = input_values.masked_fill(~length_mask(lengths, input_values.shape[1]), 0)
    missing = minimum - input_values.shape[1]
    if missing > 0:
        padded = nn.functional.pad(padded, (0, missing))
    return padded, lengths.clamp_min(minimum)


def convolution_frame_lengths(config: Any, lengths: Tensor) -> Tensor:
    """Frames that the convolutions `config.conv_kernel`/`config.conv_stride` make of `lengths` samples, shape (B,)."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        lengths = (lengths - kernel) // stride + 1
    return lengths


def minimum_samples(config: Any) -> int:
    """Shortest waveform a wav2vec 2.0-like encoder takes.

    It is the receptive field of one frame, or of `mask_time_length + 1` frames where SpecAugment is configured, since
    its masked spans raise on shorter sequences (in evaluation too, so that both see the same clip).
    """
    spec_augment = getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0) > 0
    samples = config.mask_time_length + 1 if spec_augment else 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


class ValidFrameGroupNormLayer(nn.Module):
    """First convolution of a `feat_extract_norm="group"` encoder with its norm's statistics over valid frames only.

    Takes over the children `conv`, `layer_norm` and `activation` of the layer it replaces. Without `valid_samples` it
    computes what that layer computes.
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
        # The lengths go in as an argument, not by the attribute: a recompute in the backward pass comes after the
        # attribute was cleared or set for another batch.
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
        mask = length_mask(frames, hidden_states.shape[-1])[:, None].float()
        count = frames[:, None, None]
        # float32: a sum over thousands of frames loses its digits in half precision.
        values = hidden_states.float()
        centred = values - (values * mask).sum(-1, keepdim=True) / count
        variance = ((centred * mask) ** 2).sum(-1, keepdim=True) / count
        norm = self.layer_norm
        scaled = centred * torch.rsqrt(variance + norm.eps) * norm.weight.float()[:, None]
        return (scaled + norm.bias.float()[:, None]).to(hidden_states.dtype)


class ZeroPaddedFrames(nn.Module):
    """An activation (B, H, frames) whose padded frames are set to zero, for the next convolution over time."""

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

    Checked for the model types in `VERIFIED_MODEL_TYPES`; any other gets the same treatment where it has the same
    parts, and one logged warning.

    Args:
        encoder: A `PreTrainedModel` whose configuration has `conv_kernel` and `conv_stride`.

    Raises:
        ValueError: If the encoder does not take waveforms through such convolutions, or has an adapter that changes
            the number of frames.
    """
    config = encoder.config
    if not hasattr(config, "conv_kernel") or not hasattr(config, "conv_stride"):
        raise ValueError(
            f"encoder model_type {config.model_type!r} has no conv_kernel/conv_stride; allowed: encoders of waveforms "
            f"built like wav2vec 2.0, such as {', '.join(VERIFIED_MODEL_TYPES)}, or ambiser_logmel."
        )
    if getattr(config, "add_adapter", False):
        raise ValueError("encoder add_adapter is True; allowed: False, as the adapter shortens the frame sequence.")
    if config.model_type not in VERIFIED_MODEL_TYPES and config.model_type not in _warned_model_types:
        _warned_model_types.add(config.model_type)
        logger.warning(
            "Encoder model_type %r was not checked for padding: a clip's answer may depend on its batch. Checked: %s.",
            config.model_type,
            ", ".join(VERIFIED_MODEL_TYPES),
        )
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
    """Tell the modules that `repair_padding` put in how long each clip is, for one call of the encoder.

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
        # Left in place, they would be taken for the lengths of the next batch when the encoder is called on its own.
        for norm in norms:
            norm.valid_samples = None
        for activation in activations:
            activation.valid_frames = None
