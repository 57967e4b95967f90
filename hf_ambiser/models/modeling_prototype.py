"""Audio classifier with class prototypes: an encoder of waveforms, pooling over valid frames, a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_prototype import PrototypeConfig
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
    """Classifier and class prototypes, in one module, so that peft saves both with `modules_to_save=["head"]`.

    `prototypes` (K, D) is a float32 buffer with rows of length 1 at the start. It has no gradient: the training code
    writes it, with the same values on every rank.
    """

    prototypes: Tensor

    def __init__(self, config: PrototypeConfig) -> None:
        super().__init__()
        classes = len(config.id2label or {})
        self.dense = nn.Linear(config.embedding_size, config.classifier_hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.classifier_hidden_size, classes)
        self.register_buffer("prototypes", torch.empty(classes, config.embedding_size, dtype=torch.float32))

    def _apply(self, fn: Any, recurse: bool = True) -> PrototypeHead:
        # Prototypes stay float32 under `model.to(torch.bfloat16)`, because bfloat16 would round away the small steps
        # of their moving average.
        before = self.prototypes
        super()._apply(fn, recurse)
        if self.prototypes.dtype != torch.float32:
            self.prototypes = before.to(self.prototypes.device)
        return self

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> logits (B, K), and cosine similarity to the prototypes (B, K), float32."""
        hidden = nn.functional.relu(self.dense(embedding.to(self.dense.weight.dtype)))
        logits = self.out_proj(self.dropout(hidden))
        with torch.autocast(device_type=embedding.device.type, enabled=False):
            directions = nn.functional.normalize(self.prototypes.float(), dim=-1)
            similarity = nn.functional.normalize(embedding.float(), dim=-1) @ directions.T
        return logits, similarity


class PrototypeForAudioClassification(WaveformClassifier):
    """Encoder, pooling over valid frames, classifier and class prototypes.

    Example:
        >>> model = PrototypeForAudioClassification(PrototypeConfig(num_labels=4))
        >>> model(torch.zeros(2, 16000)).logits.shape
        torch.Size([2, 4])
    """

    config_class = PrototypeConfig
    config: PrototypeConfig
    _keep_in_fp32_modules_strict = ["head.prototypes"]

    def __init__(self, config: PrototypeConfig) -> None:
        super().__init__(config)
        self.encoder = self.make_encoder(config)
        self.head = PrototypeHead(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PrototypeHead):
            directions = torch.randn(module.prototypes.shape, device=module.prototypes.device)
            init.copy_(module.prototypes, nn.functional.normalize(directions, dim=-1))
        elif isinstance(module, nn.Linear):
            init.kaiming_normal_(module.weight, nonlinearity="relu" if module is self.head.dense else "linear")
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> PrototypeClassifierOutput:
        """Classify utterances.

        Args:
            input_values: Waveforms at 16 kHz from the feature extractor, shape (B, samples).
            attention_mask: 1 for a sample, 0 for padding at the end, shape (B, samples); None if nothing is padded.
            labels: Class indices, shape (B,), or distributions over classes, shape (B, K).

        Raises:
            ValueError: If a shape is wrong, the mask is not ones then zeros, or a class index is out of range.
        """
        hidden_states, valid = self.encode(input_values, attention_mask)
        embedding = self._pool(hidden_states, valid)
        logits, similarity = self.head(embedding)
        return PrototypeClassifierOutput(
            loss=None if labels is None else soft_cross_entropy(logits, labels),
            logits=logits,
            embedding=embedding,
            prototype_similarity=similarity,
            ambiguous_soft_label=torch.softmax(similarity / self.config.prototype_temperature, dim=-1),
        )

    def _pool(self, hidden_states: Tensor, mask: Tensor) -> Tensor:
        """(B, frames, H) and valid frames (B, frames) -> float32 (B, D)."""
        weights = mask[:, :, None].float()
        count = weights.sum(1)
        values = hidden_states.float()
        mean = (values * weights).sum(1) / count
        if self.config.pooling == "mean":
            return mean
        variance = ((values - mean[:, None]).square() * weights).sum(1) / count
        # Clamp the variance: that of a single frame is 0, where the slope of the root is infinite.
        return torch.cat([mean, variance.clamp_min(1e-6).sqrt()], dim=-1)


MODEL = PrototypeForAudioClassification
