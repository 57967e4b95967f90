"""The adapter of SEW-D."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

from .encoder_wav2vec2 import Wav2Vec2Adapter
from .valid_frames import length_mask, valid_lengths


Count = TypeVar("Count", int, Tensor)


class SEWDAdapter(Wav2Vec2Adapter):
    """SEW-D is built like wav2vec 2.0, but its layers see groups of `squeeze_factor` frames.

    For an utterance alone, SEW-D drops frames at the end that do not fill a group. In a padded batch it would fill the
    last group with padding. Here an utterance always ends with its last full group.
    """

    model_types = ("sew-d",)
    description = "SEW-D; frames at the end that do not fill a group are dropped"
    lora_targets = (("query_proj", "value_proj"),)

    @property
    def minimum_samples(self) -> int:
        """As in wav2vec 2.0, up to the end of a group."""
        samples = super().minimum_samples
        frames = group = self.config.squeeze_factor
        while self._samples(frames) < samples:
            frames += group
        return self._samples(frames)

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of valid frames, whole groups, shape (B,)."""
        return super().frame_lengths(sample_lengths) // self.config.squeeze_factor * self.config.squeeze_factor

    def encode(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, samples) and lengths (B,) -> frames (B, T, H) and valid frames (B,)."""
        frames = self.frame_lengths(lengths)
        used = self._samples(frames)
        mask = length_mask(used, waveform.shape[1]).long()
        with valid_lengths(self.encoder, used, frames):
            output = self.encoder(waveform.to(self.encoder.dtype), attention_mask=mask)
        return output.last_hidden_state, frames

    def as_frames(self, hidden_states: Tensor, last: Tensor) -> Tensor:
        """Repeat the hidden states (B, T / squeeze_factor, H) for each frame of their groups: (B, T, H)."""
        frames = hidden_states.repeat_interleave(self.config.squeeze_factor, dim=1)
        return nn.functional.pad(frames, (0, 0, 0, last.shape[1] - frames.shape[1])).to(last.dtype)

    def _samples(self, frames: Count) -> Count:
        """Return the smallest number of samples that makes `frames` frames."""
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True):
            frames = (frames - 1) * stride + kernel
        return frames

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the transformer."""
        return self.encoder.encoder.encoder.layer

    @property
    def below_layers(self) -> list[nn.Module | nn.Parameter]:
        """Convolutions, norm, projection, what SpecAugment puts in, and positions, also those of all layers."""
        model, transformer = self.encoder, self.encoder.encoder.encoder
        parts = [model.feature_extractor, model.encoder.pos_conv_embed]
        # Which of these there are depends on the configuration.
        for owner, names in (
            (model, ("layer_norm", "feature_projection", "masked_spec_embed")),
            (transformer, ("rel_embeddings", "LayerNorm")),
        ):
            parts += [getattr(owner, name) for name in names if hasattr(owner, name)]
        return parts
