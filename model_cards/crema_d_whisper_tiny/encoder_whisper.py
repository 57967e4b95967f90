"""The adapter of Whisper: its encoder alone, on waveforms of any length, and how to load it."""

from __future__ import annotations

from os import PathLike
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, WhisperConfig, WhisperModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from .encoder_adapter import WaveformEncoderAdapter, WithFrontend
from .valid_frames import length_mask, pad_to_minimum, sample_lengths
from .whisper_log_mel import FRAME, HOP, WhisperLogMel


class WhisperWaveformEncoder(WithFrontend, WhisperEncoder):
    """Whisper's encoder on waveforms: log-mel spectrogram, two convolutions, transformer; a frame every 20 ms.

    Whisper was trained on utterances padded with silence to 30 s. Here the positions end where the utterance ends, so
    its frames do not attend to the silence and differ a little from those with padding. They cost less: for 8
    utterances of 3 s and Whisper tiny.en, a forward pass took 0.27 s instead of 3.7 s on one CPU thread, a training
    step 0.8 s instead of 12 s. With `config.pad_to_30_seconds` each utterance is padded as in training; the frames
    that are returned are still those of the utterance only.

    Longer utterances are encoded in segments of 30 s (`config.max_source_positions` frames), as Whisper transcribes
    them: the spectrogram is that of the whole utterance, the attention stays within a segment, and the frames of the
    segments are joined. Weights have the names of `WhisperEncoder`.
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.frontend = WhisperLogMel(config.num_mel_bins)
        self.post_init()

    @property
    def minimum_samples(self) -> int:
        """Number of samples to which shorter waveforms are zero-padded: one window, or more if SpecAugment masks."""
        masks = self.config.apply_spec_augment and self.config.mask_time_prob > 0
        return max(FRAME, (self.config.mask_time_length + 1) * HOP if masks else 0)

    @property
    def segment_frames(self) -> int:
        """Number of spectrogram frames of the longest segment, 3000 for 30 s."""
        return 2 * self.config.max_source_positions

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return the number of valid output frames for `sample_lengths` samples, shape (B,)."""
        return (sample_lengths.clamp_min(self.minimum_samples) // HOP - 1) // 2 + 1

    def forward(  # type: ignore[override]
        self, input_values: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = False
    ) -> BaseModelOutput:
        """Encode waveforms.

        Args:
            input_values: Waveforms in [-1, 1] at 16 kHz, shape (B, samples).
            attention_mask: 1 for a sample, 0 for padding at the end, shape (B, samples); None if nothing is padded.
            output_hidden_states: Whether to return the frames of all layers, too.

        Returns:
            `last_hidden_state` of shape (B, frames, H), zero past `frame_lengths`. Asked for, `hidden_states`: what
            enters the lowest layer, then the output of each layer, the last as `last_hidden_state`.
        """
        lengths = sample_lengths(input_values, attention_mask)
        waveform, lengths = pad_to_minimum(input_values, lengths, self.minimum_samples)
        frames, size = self.frame_lengths(lengths), (waveform.shape[1] // HOP - 1) // 2 + 1
        if getattr(self.config, "pad_to_30_seconds", False):
            segment = self.segment_frames * HOP
            lengths = (lengths + segment - 1) // segment * segment
            waveform = nn.functional.pad(waveform, (0, -waveform.shape[1] % segment))
        features, mel_frames = self.frontend(waveform, lengths), lengths // HOP
        if self.training:
            features = self._mask_features(features, mel_frames)
        padded = ~length_mask(frames, size)[:, :, None]
        layers = self._encode(features, mel_frames)[0 if output_hidden_states else -1 :]
        layers = [layer[:, :size].masked_fill(padded, 0) for layer in layers]
        kept: Any = tuple(layers) if output_hidden_states else None
        return BaseModelOutput(last_hidden_state=layers[-1], hidden_states=kept)

    def _mask_features(self, features: Tensor, frames: Tensor) -> Tensor:
        """Apply SpecAugment to (B, T, M), as Whisper does, if the configuration has `apply_spec_augment`."""
        mask: Any = length_mask(frames, features.shape[1]).long()
        masked = WhisperModel._mask_input_features(cast(Any, self), features.transpose(1, 2), mask)
        return masked.transpose(1, 2)

    def _encode(self, features: Tensor, frames: Tensor) -> list[Tensor]:
        """Spectrograms (B, T, M), zero past `frames` (B,) -> each layer's frames (B, ceil(T / 2), H)."""
        batch, total, bands = features.shape
        if total <= self.segment_frames:
            return self._encode_segments(features, frames)
        features = nn.functional.pad(features, (0, 0, 0, -total % self.segment_frames))
        segments = features.view(batch, -1, self.segment_frames, bands)
        starts = torch.arange(segments.shape[1], device=frames.device)[None] * self.segment_frames
        left = (frames[:, None] - starts).clamp(0, self.segment_frames)
        spoken = left > 0
        layers = []
        for encoded in self._encode_segments(segments[spoken], left[spoken]):
            joined = encoded.new_zeros(*spoken.shape, *encoded.shape[1:])
            joined[spoken] = encoded
            layers.append(joined.flatten(1, 2))
        return layers

    def _encode_segments(self, features: Tensor, frames: Tensor) -> list[Tensor]:
        """(S, T, M), zero past `frames` (S,) -> (S, ceil(T / 2), H) of each layer; past the frames without meaning."""
        hidden_states = nn.functional.gelu(self.conv1(features.to(self.conv1.weight.dtype).transpose(1, 2)))
        # For a single utterance the second convolution pads its end with zeros, so a batch must have zeros there, too.
        hidden_states = hidden_states * length_mask(frames, hidden_states.shape[2])[:, None]
        hidden_states = nn.functional.gelu(self.conv2(hidden_states)).transpose(1, 2)
        hidden_states = hidden_states + self.embed_positions.weight[: hidden_states.shape[1]]
        hidden_states = nn.functional.dropout(hidden_states, p=self.dropout, training=self.training)
        mask = create_bidirectional_mask(
            config=self.config,
            inputs_embeds=hidden_states,
            attention_mask=length_mask((frames - 1) // 2 + 1, hidden_states.shape[1]),
        )
        if self.training and any(layer.gradient_checkpointing for layer in self.layers):
            # Reentrant checkpointing gives a layer gradients only if one of its inputs asks for one.
            if any(p.requires_grad for p in self.layers.parameters()):
                hidden_states.requires_grad_(True)
        layers = [hidden_states]
        for layer in self.layers:
            if not (self.training and self.layerdrop > 0 and torch.rand([]) < self.layerdrop):
                hidden_states = layer(hidden_states, mask)
            layers.append(hidden_states)
        return [*layers[:-1], self.layer_norm(hidden_states)]


class WhisperAdapter(WaveformEncoderAdapter):
    """Whisper of any size. The decoder is never in memory and in no saved file."""

    model_types = ("whisper",)
    description = "Whisper, any size; the encoder only, positions cut to the utterance, segments of 30 s"
    # The spectrogram is normalised by its own maximum.
    scales_waveforms = False
    own_extractor_gives_waveforms = False
    added_fields = {"pad_to_30_seconds": False}

    @classmethod
    def make(cls, config: PreTrainedConfig) -> WhisperWaveformEncoder:
        """Return the encoder of a configuration, with random weights.

        Raises:
            ValueError: If `pad_to_30_seconds` is neither True nor False.
        """
        padded = getattr(config, "pad_to_30_seconds", False)
        if not isinstance(padded, bool):
            raise ValueError(f"WhisperConfig.pad_to_30_seconds is {padded!r}; allowed: True, False.")
        return WhisperWaveformEncoder._from_config(config, dtype=torch.get_default_dtype())

    @classmethod
    def load(cls, name_or_path: str | PathLike[str], config: PreTrainedConfig, **location: Any) -> WhisperEncoder:
        """Return the encoder of a checkpoint in float32; the decoder is not read.

        Raises:
            ValueError: If the checkpoint does not have all weights of the encoder.
        """
        loaded: Any = _CheckpointEncoder.from_pretrained(
            name_or_path,
            config=cast(WhisperConfig, config),
            dtype=torch.float32,
            key_mapping={r"^(model\.)?encoder\.": ""},
            output_loading_info=True,
            **location,
        )
        encoder, report = loaded
        missing = sorted(report["missing_keys"])
        if missing:
            raise ValueError(
                f"{name_or_path} lacks {len(missing)} weights of a Whisper encoder, for example {missing[0]}; "
                "allowed: a whole checkpoint, such as openai/whisper-small."
            )
        return encoder

    def encode_layers(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As in the base class; the encoder itself joins the layers of its segments."""
        mask = length_mask(lengths, waveform.shape[1])
        layers = self.encoder(waveform, attention_mask=mask, output_hidden_states=True).hidden_states
        return torch.stack(layers, dim=1), self.frame_lengths(lengths)

    def freeze_feature_encoder(self) -> None:
        """Stop the gradient to the two convolutions."""
        for convolution in (self.encoder.conv1, self.encoder.conv2):
            convolution.requires_grad_(False)

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the transformer."""
        return self.encoder.layers

    @property
    def below_layers(self) -> list[nn.Module | nn.Parameter]:
        """The convolutions and the positions, which are never trained."""
        return [self.encoder.conv1, self.encoder.conv2, self.encoder.embed_positions]


class _CheckpointEncoder(WhisperEncoder):
    """The encoder of a checkpoint; transformers must not warn that its other parts are not used."""

    _keys_to_ignore_on_load_unexpected = [r"decoder\.", r"^(proj_out|projector|classifier)\.", r"^layer_weights$"]
