"""Audio classifier with class prototypes: an encoder of waveforms, pooling over valid frames, a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from .bidirectional_lstm import BLSTM, reset_lstm
from .configuration_prototype import PrototypeConfig
from .layer_mix import LayerMix
from .waveform_classifier import WaveformClassifier, soft_cross_entropy


@dataclass
class PrototypeClassifierOutput(ModelOutput):
    """The output for B utterances, with K classes and embeddings of size D.

    Args:
        loss: Mean soft cross-entropy of `logits`, float32, shape (); only with labels.
        logits: Scores of the classifier, shape (B, K).
        embedding: Pooled encoder output, float32, shape (B, D).
        prototype_similarity: Cosine between the embedding and each class prototype, float32, shape (B, K).
        ambiguous_soft_label: Softmax of similarity / temperature, float32, shape (B, K).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    embedding: Tensor | None = None
    prototype_similarity: Tensor | None = None
    ambiguous_soft_label: Tensor | None = None


class PrototypeHead(nn.Module):
    """Everything above the encoder, in one module, so that peft saves all of it with `modules_to_save=["head"]`.

    `prototypes` (K, D) is a float32 buffer with rows of length 1 at the start. It has no gradient: the training code
    writes it, with the same values on every rank. With `center_embeddings` there is a second such buffer, `center`
    (D,), which is subtracted from an embedding before it is compared with the prototypes; it is 0 at the start. A
    model without this option has no such buffer, so models that were saved before it existed load as they are.
    """

    prototypes: Tensor
    center: Tensor | None

    def __init__(self, config: PrototypeConfig, layer_mix: LayerMix | None = None) -> None:
        super().__init__()
        classes = len(config.id2label or {})
        self.layer_mix = layer_mix
        self.projection = self.attention = None
        if config.projection_size is not None:
            self.projection_dropout = nn.Dropout(config.projection_dropout)
            self.projection = nn.Linear(config.encoder_config.hidden_size, config.projection_size)
        below = config.projection_size or config.encoder_config.hidden_size
        self.recurrent = None if config.recurrent_size is None else BLSTM(below, config.recurrent_size)
        if config.pooling.startswith("attention"):
            # A softmax over frames ignores a bias, which is the same for all of them.
            self.attention = nn.Linear(config.frame_size, 1, bias=False)
        self.deviation = config.pooling.endswith("_std")
        self.dense = nn.Linear(config.embedding_size, config.classifier_hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.classifier_hidden_size, classes)
        self.register_buffer("prototypes", torch.empty(classes, config.embedding_size, dtype=torch.float32))
        center = torch.zeros(config.embedding_size, dtype=torch.float32) if config.center_embeddings else None
        self.register_buffer("center", center)

    def _apply(self, fn: Any, recurse: bool = True) -> PrototypeHead:
        # Prototypes stay float32 under `model.to(torch.bfloat16)`, because bfloat16 would round away the small steps
        # of their moving average.
        before = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            if (now := getattr(self, name)).dtype != torch.float32:
                setattr(self, name, buffer.to(now.device))
        return self

    def embed(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Frames (B, T, H), and which are valid (B, T) -> embedding, float32 (B, D)."""
        if self.projection is not None:
            dropped = self.projection_dropout(frames.to(self.projection.weight.dtype))
            frames = nn.functional.gelu(self.projection(dropped))
        if self.recurrent is not None:
            frames = self.recurrent(frames, valid.sum(1))
        if self.attention is None:
            shares = valid[:, :, None].float()
        else:
            scores = self.attention(frames.to(self.attention.weight.dtype)).float()
            shares = scores.masked_fill(~valid[:, :, None], float("-inf")).softmax(dim=1)
        total = shares.sum(1)
        values = frames.float()
        mean = (values * shares).sum(1) / total
        if not self.deviation:
            return mean
        variance = ((values - mean[:, None]).square() * shares).sum(1) / total
        # Clamp the variance: that of a single frame is 0, where the slope of the root is infinite.
        return torch.cat([mean, variance.clamp_min(1e-6).sqrt()], dim=-1)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> logits (B, K), and cosine similarity to the prototypes (B, K), float32."""
        hidden = nn.functional.relu(self.dense(embedding.to(self.dense.weight.dtype)))
        logits = self.out_proj(self.dropout(hidden))
        with torch.autocast(device_type=embedding.device.type, enabled=False):
            directions = nn.functional.normalize(self.prototypes.float(), dim=-1)
            similarity = self.direction(embedding) @ directions.T
        return logits, similarity

    def direction(self, embedding: Tensor) -> Tensor:
        """(B, D) -> unit vectors (B, D), float32: what is compared with the prototypes."""
        centred = embedding.float() if self.center is None else embedding.float() - self.center.float()
        return nn.functional.normalize(centred, dim=-1)


class PrototypeForAudioClassification(WaveformClassifier):
    """Encoder, pooling over valid frames, classifier and class prototypes.

    Example:
        >>> model = PrototypeForAudioClassification(PrototypeConfig(num_labels=4))
        >>> model(torch.zeros(2, 16000)).logits.shape
        torch.Size([2, 4])
    """

    config_class = PrototypeConfig
    config: PrototypeConfig
    _keep_in_fp32_modules_strict = ["head.prototypes", "head.center", "head.layer_mix"]

    def __init__(self, config: PrototypeConfig) -> None:
        super().__init__(config)
        self.encoder = self.make_encoder(config)
        self.head = PrototypeHead(config, self.make_layer_mix(config))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PrototypeHead):
            directions = torch.randn(module.prototypes.shape, device=module.prototypes.device)
            init.copy_(module.prototypes, nn.functional.normalize(directions, dim=-1))
            if module.center is not None:
                init.zeros_(module.center)
        elif isinstance(module, nn.LSTM):
            reset_lstm(module)
        elif isinstance(module, nn.Linear):
            relu = module is self.head.dense or module is self.head.projection
            init.kaiming_normal_(module.weight, nonlinearity="relu" if relu else "linear")
            if module is self.head.attention:
                init.zeros_(module.weight)  # begin with the plain mean
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        encoder_frames: Tensor | None = None,
        encoder_lengths: Tensor | None = None,
    ) -> PrototypeClassifierOutput:
        """Classify utterances.

        Args:
            input_values: Waveforms at 16 kHz from the feature extractor, shape (B, samples).
            attention_mask: 1 for a sample, 0 for padding at the end, shape (B, samples); None if nothing is padded.
            labels: Class indices, shape (B,), or distributions over classes, shape (B, K).
            encoder_frames: In place of waveforms, what `self.encoder_frames` has made of them, shape (B, L, T, H).
            encoder_lengths: Its second output, shape (B,).

        Raises:
            ValueError: If a shape is wrong, the mask is not ones then zeros, or a class index is out of range.
        """
        embedding = self.head.embed(*self.encode(input_values, attention_mask, encoder_frames, encoder_lengths))
        logits, similarity = self.head(embedding)
        return PrototypeClassifierOutput(
            loss=None if labels is None else soft_cross_entropy(logits, labels),
            logits=logits,
            embedding=embedding,
            prototype_similarity=similarity,
            ambiguous_soft_label=torch.softmax(similarity / self.config.prototype_temperature, dim=-1),
        )


MODEL = PrototypeForAudioClassification
