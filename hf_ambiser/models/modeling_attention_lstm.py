"""Attention-LSTM-attention model of Yu and Kim (2020), on log-mel spectra or an encoder's frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attentive_lstm import AttentiveLSTM
from .configuration_attention_lstm import AttentionLSTMConfig
from .frame_classifier import FrameClassifier, FrameHead
from .layer_mix import LayerMix


class AttentionLSTMHead(FrameHead):
    """Everything above the frames, in one module, so that peft saves all of it with `modules_to_save=["head"]`."""

    def __init__(self, config: AttentionLSTMConfig, layer_mix: LayerMix | None = None) -> None:
        super().__init__(config, layer_mix)
        size, units = config.frame_size, config.lstm_hidden_size
        self.once = config.feature_attention == "utterance"
        self.feature_attention = None if config.feature_attention == "none" else nn.Linear(size, size)
        self.recurrent = AttentiveLSTM(size, units, config.bidirectional, config.dropout)
        self.dense = nn.Linear(units * (2 if config.bidirectional else 1), config.classifier_hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.out_proj = nn.Linear(config.classifier_hidden_size, len(config.id2label or {}))

    @property
    def below_relu(self) -> tuple[nn.Module, ...]:
        """The linear layers whose output goes through a ReLU."""
        return (self.dense,)

    def classify(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D), which are valid (B, T) -> logits (B, K), embedding (B, H)."""
        if self.feature_attention is not None:
            frames = frames * self.feature_weights(frames, valid)
        embedding = self.recurrent(frames, valid)
        hidden = self.dense(embedding.to(self.dense.weight.dtype)).relu()
        return self.out_proj(self.dropout(hidden)), embedding

    def feature_weights(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return the weight of each value, float32 (B, T, D), or (B, 1, D) with one for all frames; its mean is 1."""
        assert self.feature_attention is not None
        with torch.autocast(device_type=frames.device.type, enabled=False):
            scores = self.feature_attention(frames.to(self.feature_attention.weight.dtype)).float()
            if self.once:
                inside = valid[:, :, None]
                scores = (scores * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True)
            return scores.softmax(dim=-1) * scores.shape[-1]


class AttentionLSTMForAudioClassification(FrameClassifier):
    """Attention over the values of a frame, an LSTM over frames, attention over its output.

    Example:
        >>> model = AttentionLSTMForAudioClassification(AttentionLSTMConfig(num_labels=4)).eval()
        >>> model(torch.zeros(2, 16000)).logits.shape
        torch.Size([2, 4])
    """

    config_class = AttentionLSTMConfig
    config: AttentionLSTMConfig
    head_class = AttentionLSTMHead


MODEL = AttentionLSTMForAudioClassification
