"""Attention BLSTM of Fujioka et al., section 2.1, on acoustic features, log-mel spectra or an encoder's frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from .bidirectional_lstm import BLSTM, reset_lstm
from .configuration_blstm import ACOUSTIC_FEATURES, BLSTMConfig
from .configuration_logmel import LogMelConfig
from .feature_extraction_acoustic32 import Acoustic32FeatureExtractor
from .layer_mix import LayerMix
from .modeling_logmel import LogMelFrontend
from .valid_frames import length_mask, pad_to_minimum, sample_lengths
from .waveform_check import check_type, checked_lengths
from .waveform_classifier import WaveformClassifier, soft_cross_entropy


@dataclass
class BLSTMClassifierOutput(ModelOutput):
    """The output for B utterances of at most T frames, with K classes and embeddings of size D.

    Args:
        loss: Mean soft cross-entropy of `logits`, float32, shape (); only with labels.
        logits: Scores of the classes, h' of Eq. 2, shape (B, K).
        embedding: Average of the BLSTM's output, weighted by the attention, float32, shape (B, D).
        attention: Weight of each frame, alpha of Eq. 1, 0 for padding, float32, shape (B, T).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    embedding: Tensor | None = None
    attention: Tensor | None = None


class BLSTMHead(nn.Module):
    """Everything above the frames, in one module, so that peft saves all of it with `modules_to_save=["head"]`.

    `attention` is u of Eq. 1: (K,) on class scores, (2 H,) on the BLSTM's output.
    """

    def __init__(self, config: BLSTMConfig, layer_mix: LayerMix | None = None) -> None:
        super().__init__()
        self.layer_mix = layer_mix
        classes, size = len(config.id2label or {}), 2 * config.lstm_hidden_size
        self.on_logits = config.attention == "logits"
        self.dense = nn.Linear(config.frame_size, config.dense_hidden_size)
        self.blstm = BLSTM(config.dense_hidden_size, config.lstm_hidden_size)
        self.out_proj = nn.Linear(size, classes)
        self.dropout = nn.Dropout(config.dropout)
        self.attention = nn.Parameter(torch.empty(classes if self.on_logits else size))

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frames (B, T, D), of which `lengths` (B,) are valid -> logits (B, K), embedding (B, 2 H), attention (B, T).

        Eq. 2 averages the class scores of the frames. These are an affine map of the BLSTM's output, and the weights
        of the attention sum to 1. So to map the average gives the same, and the average is the embedding.
        """
        hidden = self.dropout(nn.functional.relu(self.dense(frames.to(self.dense.weight.dtype))))
        hidden = self.dropout(self.blstm(hidden, lengths))
        looked_at = self.out_proj(hidden) if self.on_logits else hidden
        with torch.autocast(device_type=frames.device.type, enabled=False):
            score = looked_at.float() @ self.attention.float()
            score = score.masked_fill(~length_mask(lengths, score.shape[1]), float("-inf"))
            weight = torch.softmax(score, dim=-1)
            embedding = (weight[:, None] @ hidden.float())[:, 0]
        return self.out_proj(embedding.to(self.out_proj.weight.dtype)), embedding, weight


class BLSTMForAudioClassification(WaveformClassifier):
    """Fully connected layer, BLSTM and attention over valid frames (Fujioka et al., Eq. 1-3).

    Example:
        >>> config = BLSTMConfig(input="log_mel", id2label={0: "anger", 1: "sadness"})
        >>> model = BLSTMForAudioClassification(config).eval()
        >>> model(torch.zeros(1, 16000)).logits.shape
        torch.Size([1, 2])
    """

    config_class = BLSTMConfig
    config: BLSTMConfig
    feature_extractor_class = Acoustic32FeatureExtractor

    def __init__(self, config: BLSTMConfig) -> None:
        super().__init__(config)
        if config.input == "encoder":
            self.encoder = self.make_encoder(config)
        elif config.input == "log_mel":
            self.frontend = LogMelFrontend(cast(LogMelConfig, config.encoder_config))
        else:
            self.main_input_name = "input_features"
        self.head = BLSTMHead(config, self.make_layer_mix(config) if config.input == "encoder" else None)
        self.post_init()

    @classmethod
    def from_encoder(cls, name_or_path: Any, **fields: Any) -> Any:
        """Make a model as `WaveformClassifier.from_encoder` does; the frames are those of the encoder.

        Raises:
            ValueError: If `input` is given and not "encoder".
        """
        if fields.setdefault("input", "encoder") != "encoder":
            raise ValueError(
                f"BLSTMConfig.input is {fields['input']!r}; allowed with an encoder: 'encoder' only. Leave input out."
            )
        return super().from_encoder(name_or_path, **fields)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, BLSTMHead):
            init.normal_(module.attention, std=len(module.attention) ** -0.5)
        elif isinstance(module, nn.LSTM):
            reset_lstm(module)
        elif isinstance(module, nn.Linear):
            init.kaiming_normal_(module.weight, nonlinearity="relu" if module is self.head.dense else "linear")
            init.zeros_(module.bias)
        elif isinstance(module, LogMelFrontend):
            module.reset_parameters()  # its buffers are in no checkpoint
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        input_features: Tensor | None = None,
        encoder_frames: Tensor | None = None,
        encoder_lengths: Tensor | None = None,
    ) -> BLSTMClassifierOutput:
        """Classify utterances.

        Args:
            input_values: Waveforms at 16 kHz from the feature extractor, shape (B, samples); for the inputs `log_mel`
                and `encoder`.
            attention_mask: 1 for a sample (of `input_features`: a frame), 0 for padding at the end, shape (B, samples)
                or (B, T); None if nothing is padded.
            labels: Class indices, shape (B,), or distributions over classes, shape (B, K).
            input_features: Acoustic features from the feature extractor, shape (B, T, 32); for the input `acoustic32`.
            encoder_frames: For the input `encoder`, in place of waveforms, what `self.encoder_frames` has made of
                them, shape (B, L, T, H).
            encoder_lengths: Its second output, shape (B,).

        Raises:
            ValueError: If the input is not that of `config.input`, a shape is wrong, the mask is not ones then zeros,
                or a class index is out of range.
        """
        if self.config.input == "encoder":
            frames, valid = self.encode(input_values, attention_mask, encoder_frames, encoder_lengths)
            lengths = valid.sum(-1)
        else:
            values = input_features if self.config.input == "acoustic32" else input_values
            frames, lengths = self._frames(values, attention_mask)
        logits, embedding, attention = self.head(frames, lengths)
        return BLSTMClassifierOutput(
            loss=None if labels is None else soft_cross_entropy(logits, labels),
            logits=logits,
            embedding=embedding,
            attention=attention,
        )

    def _frames(self, values: Tensor | None, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return frames (B, T, D) and the number of valid frames of each utterance (B,)."""
        if values is None:
            raise ValueError(
                f"the model has input={self.config.input!r} and got no {self.main_input_name}; allowed: the output of"
                " its feature extractor, by name (`model(**extractor(...))`)."
            )
        if self.config.input == "log_mel":
            front = cast(LogMelConfig, self.config.encoder_config)
            given = checked_lengths(values, attention_mask, full_scale=True, warn=not self.training)
            waveform, lengths = pad_to_minimum(values, given, front.frame_length)
            return self.frontend(waveform), (lengths - front.frame_length) // front.hop_length + 1
        if values.ndim != 3 or values.shape[-1] != ACOUSTIC_FEATURES:
            raise ValueError(
                f"input_features has shape {tuple(values.shape)}; allowed: (B, frames, {ACOUSTIC_FEATURES}), as the"
                " feature extractor returns them."
            )
        check_type(values, "input_features")
        if torch.compiler.is_compiling():  # a check of values cannot be exported
            mask = values.new_ones(values.shape[:2]) if attention_mask is None else attention_mask
            return values, mask.long().sum(-1)
        checked_lengths(values.flatten(1), None, full_scale=False, warn=False, what="input_features")
        return values, sample_lengths(values[..., 0], attention_mask)

    def make_feature_extractor(self, encoder: str | None = None) -> Any:
        """Return the feature extractor of this model; for `acoustic32`, without the statistics of a training set.

        Args:
            encoder: Name or folder of the pretrained encoder, whose own extractor is used if it has one.
        """
        if self.config.input == "acoustic32":
            return self.feature_extractor_class()
        return super().make_feature_extractor(encoder)

    def _need_encoder(self, what: str) -> None:
        if self.config.input != "encoder":
            raise ValueError(
                f"{what} needs an encoder, but a BLSTM with input={self.config.input!r} has none. Give an `encoder`,"
                f" or model_fields={{'input': 'encoder'}} for the log-mel encoder, or leave {what} out."
            )

    def freeze_feature_encoder(self) -> None:
        """Stop the gradient to the encoder's convolutions.

        Raises:
            ValueError: If there is no encoder.
        """
        self._need_encoder("freeze")
        super().freeze_feature_encoder()

    def lora_target_modules(self) -> list[str]:
        """Return names for `LoraConfig(target_modules=...)`, as the base class does.

        Raises:
            ValueError: If there is no encoder.
        """
        self._need_encoder("lora")
        return super().lora_target_modules()


MODEL = BLSTMForAudioClassification
