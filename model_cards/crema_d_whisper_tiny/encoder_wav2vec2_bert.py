"""The adapter of wav2vec2-bert, and its model on waveforms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, Wav2Vec2BertConfig, Wav2Vec2BertModel
from transformers.modeling_outputs import BaseModelOutput

from .encoder_adapter import WaveformEncoderAdapter, WithFrontend
from .kaldi_log_mel import KaldiLogMel
from .valid_frames import length_mask, pad_to_minimum, sample_lengths


FRAME, HOP = 400, 160  # samples at 16 kHz
FULL_SCALE = 2**15  # the spectrogram is that of 16-bit samples


class Wav2Vec2BertWaveformModel(WithFrontend, Wav2Vec2BertModel):
    """wav2vec2-bert on waveforms: a log-mel spectrogram inside the model, then its own layers; a frame every 20 ms.

    The features are those of transformers' `SeamlessM4TFeatureExtractor` for each utterance alone: each mel band is
    scaled to mean 0 and variance 1 over the utterance, and two spectrogram frames side by side make one. A last odd
    frame is dropped. Weights have the names of `Wav2Vec2BertModel`.
    """

    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        super().__init__(config)
        if config.add_adapter:
            raise ValueError(
                "encoder add_adapter is True; allowed: False, as the adapter shortens the frame sequence."
            )
        bands = config.feature_projection_input_dim // 2
        self.frontend = KaldiLogMel(16000, FRAME, HOP, bands, pre_emphasis=0.97, window="povey")
        self.post_init()

    @property
    def minimum_samples(self) -> int:
        """Number of samples of the shortest waveform: two frames side by side, or more if SpecAugment masks spans."""
        masks = self.config.apply_spec_augment and self.config.mask_time_prob > 0
        frames = 2 * (self.config.mask_time_length + 1 if masks else 1)
        return FRAME + (frames - 1) * HOP

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of valid output frames for `sample_lengths` samples, shape (B,)."""
        return self.frontend.frame_lengths(sample_lengths.clamp_min(self.minimum_samples)) // 2

    def features(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms (B, samples) of `lengths` (B,) samples -> float32 (B, frames, 2 n_mels), zero past the lengths."""
        # Bands of silence are scaled by a huge factor, and with them rounding errors, which depend on the batch. Less
        # its first value a silent band is exactly zero, and float64 leaves no errors that count.
        log_mel = self.frontend(waveform.float() * FULL_SCALE).double()
        log_mel = log_mel - log_mel[:, :1]
        frames = self.frontend.frame_lengths(lengths)
        valid = length_mask(frames, log_mel.shape[1])[:, :, None]
        count = frames[:, None, None]
        centred = (log_mel - (log_mel * valid).sum(1, keepdim=True) / count) * valid
        variance = centred.square().sum(1, keepdim=True) / (count - 1)
        scaled = (centred * torch.rsqrt(variance + 1e-7)).float()
        pairs = log_mel.shape[1] // 2
        return scaled[:, : 2 * pairs].reshape(waveform.shape[0], pairs, -1)

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutput:  # type: ignore[override]
        """Encode waveforms.

        Args:
            input_values: Waveforms in [-1, 1] at 16 kHz, shape (B, samples).
            attention_mask: 1 for a sample, 0 for padding at the end, shape (B, samples); None if nothing is padded.

        Returns:
            `last_hidden_state` of shape (B, frames, H); values past `frame_lengths` have no meaning.
        """
        lengths = sample_lengths(input_values, attention_mask)
        waveform, lengths = pad_to_minimum(input_values, lengths, self.minimum_samples)
        features = self.features(waveform, lengths).to(self.dtype)
        mask: Any = length_mask(self.frame_lengths(lengths), features.shape[1]).long()
        return super().forward(input_features=features, attention_mask=mask)


class Wav2Vec2BertAdapter(WaveformEncoderAdapter):
    """wav2vec2-bert, a conformer on log-mel features; its convolutions do not see padding."""

    model_types = ("wav2vec2-bert",)
    description = "wav2vec2-bert 2.0"
    # The spectrogram is normalised by itself.
    scales_waveforms = False
    own_extractor_gives_waveforms = False
    lora_targets = (("linear_q", "linear_v"),)

    @classmethod
    def make(cls, config: PreTrainedConfig) -> Wav2Vec2BertWaveformModel:
        """Return the encoder of a configuration, with random weights.

        Raises:
            ValueError: If the encoder has an adapter that changes the number of frames.
        """
        return Wav2Vec2BertWaveformModel._from_config(config, dtype=torch.get_default_dtype())

    def freeze_feature_encoder(self) -> None:
        """Stop the gradient to the projection of the features: there are no convolutions below the layers."""
        self.encoder.feature_projection.requires_grad_(False)

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the conformer."""
        return self.encoder.encoder.layers

    @property
    def below_layers(self) -> list[nn.Module | nn.Parameter]:
        """The projection of the features, and what SpecAugment puts in."""
        masked = getattr(self.encoder, "masked_spec_embed", None)
        return [self.encoder.feature_projection, *([] if masked is None else [masked])]
