"""The base of families whose head takes the frames of a log-mel spectrum or of any encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from .bidirectional_lstm import reset_lstm
from .configuration_frames import FrameClassifierConfig
from .configuration_logmel import LogMelConfig
from .layer_mix import LayerMix
from .modeling_logmel import LogMelFrontend, LogMelModel
from .valid_frames import length_mask, pad_to_minimum
from .waveform_check import checked_lengths
from .waveform_classifier import WaveformClassifier, soft_cross_entropy


@dataclass
class FrameClassifierOutput(ModelOutput):
    """The output for B utterances, with K classes and embeddings of size D.

    Args:
        loss: Mean soft cross-entropy of `logits`, float32, shape (); only with labels.
        logits: Scores of the classes, shape (B, K).
        embedding: What the classes are told from, float32, shape (B, D).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    embedding: Tensor | None = None


class FrameHead(nn.Module):
    """Base of the heads: everything above the frames in one module, which peft saves with `modules_to_save=["head"]`.

    A family defines `classify`, whose answer must not depend on padded frames. Linear layers whose output goes through
    a ReLU stand in `below_relu`; a module of its own with parameters has `reset_weights`.
    """

    def __init__(self, config: FrameClassifierConfig, layer_mix: LayerMix | None = None) -> None:
        super().__init__()
        self.layer_mix = layer_mix
        size = config.projection_size
        self.projection = None if size is None else nn.Linear(config.input_size, size)

    @property
    def below_relu(self) -> tuple[nn.Module, ...]:
        """The linear layers whose output goes through a ReLU."""
        return ()

    def forward(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, H), which are valid, bool (B, T) -> logits (B, K), and an embedding, float32 (B, E)."""
        if self.projection is not None:
            frames = self.projection(frames.to(self.projection.weight.dtype))
        return self.classify(frames.float(), valid)

    def classify(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Frames, float32 (B, T, D), which are valid, bool (B, T) -> logits (B, K), embedding, float32 (B, E)."""
        raise NotImplementedError


class FrameClassifier(WaveformClassifier):
    """Base of families that are a head above frames: those of a log-mel spectrum, or those of an encoder.

    A family sets `config_class`, and `head_class`, a `FrameHead`.
    """

    config: FrameClassifierConfig
    head_class: ClassVar[Any]

    def __init__(self, config: FrameClassifierConfig) -> None:
        super().__init__(config)
        self.encoder = layer_mix = None
        if config.input == "encoder":
            self.encoder, layer_mix = self.make_encoder(config), self.make_layer_mix(config)
        else:
            self.frontend = LogMelFrontend(cast(LogMelConfig, config.encoder_config))
        self.head = self.head_class(config, layer_mix)
        self.post_init()

    @classmethod
    def from_encoder(cls, name_or_path: Any, **fields: Any) -> Any:
        """Make a model as `WaveformClassifier.from_encoder` does; the frames are those of the encoder.

        Raises:
            ValueError: If `input` is given and not "encoder".
        """
        if fields.setdefault("input", "encoder") != "encoder":
            raise ValueError(
                f"{cls.config_class.__name__}.input is {fields['input']!r}; allowed with an encoder: 'encoder' only."
                " Leave input out."
            )
        return super().from_encoder(name_or_path, **fields)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            # Preserve the variance, instead of transformers' std of 0.02: all but the encoder learns from scratch.
            relu = isinstance(module, nn.Conv2d) or any(module is layer for layer in self.head.below_relu)
            init.kaiming_normal_(module.weight, nonlinearity="relu" if relu else "linear")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            reset_lstm(module)
        elif isinstance(module, LogMelFrontend):
            module.reset_parameters()  # its buffers are in no checkpoint
        elif hasattr(module, "reset_weights"):
            module.reset_weights()  # type: ignore[operator]
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        encoder_frames: Tensor | None = None,
        encoder_lengths: Tensor | None = None,
    ) -> FrameClassifierOutput:
        """Classify utterances.

        Args:
            input_values: Waveforms at 16 kHz from the feature extractor, shape (B, samples).
            attention_mask: 1 for a sample, 0 for padding at the end, shape (B, samples); None if nothing is padded.
            labels: Class indices, shape (B,), or distributions over classes, shape (B, K).
            encoder_frames: For the input `encoder`, in place of waveforms, what `self.encoder_frames` has made of
                them, shape (B, L, T, H).
            encoder_lengths: Its second output, shape (B,).

        Raises:
            ValueError: If a shape is wrong, the mask is not ones then zeros, a class index is out of range, or frames
                of an encoder are given to a model without one.
        """
        if self.config.input == "encoder":
            frames, valid = self.encode(input_values, attention_mask, encoder_frames, encoder_lengths)
        else:
            if encoder_frames is not None or encoder_lengths is not None:
                self._need_encoder("encoder_frames")
            frames, valid = self._log_mel(input_values, attention_mask)
        if self.training and any(getattr(part, "gradient_checkpointing", False) for part in self.head.modules()):
            if not frames.requires_grad:
                # Reentrant checkpointing gives a layer gradients only if one of its inputs asks for one.
                frames = frames.requires_grad_(True)
        logits, embedding = self.head(frames, valid)
        return FrameClassifierOutput(
            loss=None if labels is None else soft_cross_entropy(logits, labels), logits=logits, embedding=embedding
        )

    def _log_mel(self, values: Tensor | None, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Waveforms (B, samples) -> log-mel frames (B, T, n_mels), and which are valid (B, T)."""
        if values is None:
            raise ValueError(
                f"the model has input={self.config.input!r} and got no input_values; allowed: the output of its"
                " feature extractor, by name (`model(**extractor(...))`)."
            )
        front = cast(LogMelConfig, self.config.encoder_config)
        given = checked_lengths(values, attention_mask, full_scale=True, warn=not self.training)
        waveform, lengths = pad_to_minimum(values, given, front.frame_length)
        frames = self.frontend(waveform)
        if self.training:
            frames = LogMelModel._mask_features(cast(Any, self.frontend), frames)
        return frames, length_mask((lengths - front.frame_length) // front.hop_length + 1, frames.shape[1])

    def _need_encoder(self, what: str) -> None:
        if self.encoder is None:
            raise ValueError(
                f"{what} needs an encoder, but this {type(self).__name__} has input={self.config.input!r} and none."
                f" Give an `encoder`, or model_fields={{'input': 'encoder'}} for the log-mel encoder, or leave {what}"
                " out."
            )
