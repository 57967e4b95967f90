"""Configuration of the audio classifier with class prototypes."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from .configuration_waveform import WaveformClassifierConfig, check_fields


POOLINGS = ("mean", "mean_std")


class PrototypeConfig(WaveformClassifierConfig):
    """Configuration of `PrototypeForAudioClassification`: encoder, pooling over time, classifier, class prototypes.

    Args:
        encoder_config: Configuration of the encoder: None for the default `LogMelConfig`, a configuration, or its
            dictionary with `model_type`. It is copied.
        classifier_hidden_size: Hidden size of the classifier.
        classifier_dropout: Dropout in the classifier.
        prototype_temperature: The ambiguous soft label is the softmax of cosine similarity / temperature.
        pooling: "mean" over valid frames, or "mean_std", mean and standard deviation side by side.
        **kwargs: Fields of `PreTrainedConfig`, among them `id2label`/`label2id` or `num_labels` (K classes).

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_prototype"
    model_class = "modeling_prototype.PrototypeForAudioClassification"
    keys_to_ignore_at_inference = ["embedding", "prototype_similarity", "ambiguous_soft_label"]

    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        classifier_hidden_size: int = 128,
        classifier_dropout: float = 0.1,
        prototype_temperature: float = 0.3,
        pooling: str = "mean",
        **kwargs: Any,
    ) -> None:
        self.classifier_hidden_size = classifier_hidden_size
        self.classifier_dropout = classifier_dropout
        self.prototype_temperature = prototype_temperature
        self.pooling = pooling
        check_fields(
            self,
            {
                "classifier_hidden_size": (classifier_hidden_size >= 1, "a whole number of at least 1"),
                "classifier_dropout": (0 <= classifier_dropout < 1, "in [0, 1)"),
                "prototype_temperature": (prototype_temperature > 0, "above 0"),
                "pooling": (pooling in POOLINGS, f"one of {', '.join(POOLINGS)}"),
            },
        )
        super().__init__(encoder_config, **kwargs)

    @property
    def embedding_size(self) -> int:
        """Size D of an utterance's embedding."""
        return self.encoder_config.hidden_size * (2 if self.pooling == "mean_std" else 1)

    def describe(self) -> str:
        """Describe the architecture above the encoder in a few words, for a model card."""
        pooled = {"mean": "mean", "mean_std": "mean and standard deviation"}[self.pooling]
        return f"{pooled} over the valid frames, then a classifier and class prototypes"
