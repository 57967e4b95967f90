"""The adapter of encoders that are built like wav2vec 2.0: convolutions on the waveform, then a transformer."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from .encoder_adapter import EncoderAdapter
from .valid_frames import convolution_frame_lengths, length_mask, minimum_samples, repair_padding, valid_lengths


class Wav2Vec2Adapter(EncoderAdapter):
    """wav2vec 2.0 and the encoders of transformers that have the same parts under the same names."""

    model_types: ClassVar[tuple[str, ...]] = ("wav2vec2", "hubert", "data2vec-audio", "unispeech", "unispeech-sat")
    description = "wav2vec 2.0, XLS-R, HuBERT, data2vec, UniSpeech, UniSpeech-SAT"

    @classmethod
    def repair(cls, encoder: Any) -> None:
        """Make the norm of the first convolution and the positional convolutions see valid frames only.

        Raises:
            ValueError: If the encoder has an adapter that changes the number of frames.
        """
        repair_padding(encoder)

    @property
    def minimum_samples(self) -> int:
        """The receptive field of one frame, or of more if SpecAugment masks spans."""
        return minimum_samples(self.config)

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of valid frames, shape (B,)."""
        return convolution_frame_lengths(self.config, sample_lengths.clamp_min(self.minimum_samples))

    def encode(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, samples) and lengths (B,) -> frames (B, T, H) and valid frames (B,)."""
        frames = self.frame_lengths(lengths)
        mask = length_mask(lengths, waveform.shape[1]).long()
        with valid_lengths(self.encoder, lengths, frames):
            output = self.encoder(waveform.to(self.encoder.dtype), attention_mask=mask)
        return output.last_hidden_state, frames

    def freeze_feature_encoder(self) -> None:
        """Stop the gradient to the convolutions on the waveform."""
        freeze = getattr(self.encoder, "freeze_feature_encoder", None)
        if freeze is not None:
            freeze()
        else:
            self.encoder.feature_extractor.requires_grad_(False)

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the transformer."""
        return self.encoder.encoder.layers

    @property
    def below_layers(self) -> list[nn.Module | nn.Parameter]:
        """Convolutions, projection, what SpecAugment puts in, positional convolutions, and a norm below the layers."""
        inner = self.encoder.encoder
        parts = [self.encoder.feature_extractor, self.encoder.feature_projection, inner.pos_conv_embed]
        if hasattr(self.encoder, "masked_spec_embed"):
            parts.append(self.encoder.masked_spec_embed)
        # With "stable" layer norm, this norm stands above the layers.
        return parts if getattr(self.config, "do_stable_layer_norm", False) else [*parts, inner.layer_norm]
