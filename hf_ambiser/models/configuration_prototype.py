"""Configuration of the audio classifier with class prototypes."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from .configuration_waveform import WaveformClassifierConfig, check_fields
from .field_types import typed


POOLINGS = ("mean", "mean_std", "attention", "attention_std")


class PrototypeConfig(WaveformClassifierConfig):
    """Configuration of `PrototypeForAudioClassification`: encoder, pooling over time, classifier, class prototypes.

    Args:
        encoder_config: Configuration of the encoder: None for the default `LogMelConfig`, a configuration, or its
            dictionary with `model_type`. It is copied.
        classifier_hidden_size: Hidden size of the classifier.
        classifier_dropout: Dropout in the classifier.
        prototype_temperature: The ambiguous soft label is the softmax of cosine similarity / temperature.
        pooling: "mean" over valid frames; "mean_std", mean and standard deviation side by side; "attention", a mean
            with learned weights (softmax over the valid frames); or "attention_std", that mean and the standard
            deviation with the same weights.
        projection_size: Size of a linear layer with GELU on each frame below the pooling; None: there is none. Above
            a frozen encoder it makes an embedding that can learn, as prototypes need it.
        projection_dropout: Dropout on the frames that enter that layer.
        recurrent_size: Size of a bidirectional LSTM below the pooling, in each direction; None: there is none. It
            knows in which order frames come; mean and deviation do not.
        center_embeddings: Whether the similarity to a prototype is taken after the head's `center` is subtracted from
            the embedding. Training sets it to the mean embedding of the labelled utterances.
        **kwargs: `layers`, `frames_averaged` and `standardize_frames` (see `WaveformClassifierConfig`), and fields of
            `PreTrainedConfig`, among them `id2label`/`label2id` or `num_labels` (K classes).

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_prototype"
    model_class = "modeling_prototype.PrototypeForAudioClassification"
    keys_to_ignore_at_inference = ["embedding", "prototype_similarity", "ambiguous_soft_label"]

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        classifier_hidden_size: int = 128,
        classifier_dropout: float = 0.1,
        prototype_temperature: float = 0.3,
        pooling: str = "mean",
        projection_size: int | None = None,
        projection_dropout: float = 0.0,
        recurrent_size: int | None = None,
        center_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        self.classifier_hidden_size = classifier_hidden_size
        self.classifier_dropout = classifier_dropout
        self.prototype_temperature = prototype_temperature
        self.pooling = pooling
        self.projection_size = projection_size
        self.projection_dropout = projection_dropout
        self.recurrent_size = recurrent_size
        self.center_embeddings = center_embeddings
        check_fields(
            self,
            {
                "classifier_hidden_size": (classifier_hidden_size >= 1, "a whole number of at least 1"),
                "classifier_dropout": (0 <= classifier_dropout < 1, "in [0, 1)"),
                "prototype_temperature": (prototype_temperature > 0, "above 0"),
                "pooling": (pooling in POOLINGS, f"one of {', '.join(POOLINGS)}"),
                "projection_size": (projection_size is None or projection_size >= 1, "None, or at least 1"),
                "projection_dropout": (
                    0 <= projection_dropout < 1 and (projection_dropout == 0 or projection_size is not None),
                    "in [0, 1), and 0 without a projection_size",
                ),
                "recurrent_size": (recurrent_size is None or recurrent_size >= 1, "None, or at least 1"),
                "center_embeddings": (isinstance(center_embeddings, bool), "true or false"),
            },
        )
        super().__init__(encoder_config, **kwargs)

    @property
    def frame_size(self) -> int:
        """Size of the frames that are pooled."""
        if self.recurrent_size is not None:
            return 2 * self.recurrent_size
        return self.projection_size or self.encoder_config.hidden_size

    @property
    def embedding_size(self) -> int:
        """Size D of an utterance's embedding."""
        return self.frame_size * (2 if self.pooling.endswith("_std") else 1)

    def describe(self) -> str:
        """Describe the architecture above the encoder in a few words, for a model card."""
        pooled = {
            "mean": "mean over the valid frames",
            "mean_std": "mean and standard deviation over the valid frames",
            "attention": "mean over the valid frames with weights of attention",
            "attention_std": "mean and standard deviation over the valid frames with weights of attention",
        }[self.pooling]
        parts = list(filter(None, [self.describe_layers()]))
        if self.projection_size is not None:
            parts.append(f"a linear layer of {self.projection_size} with GELU")
        if self.recurrent_size is not None:
            parts.append(f"a bidirectional LSTM of {self.recurrent_size}")
        prototypes = "centred class prototypes" if self.center_embeddings else "class prototypes"
        return ", then ".join([*parts, pooled, f"a classifier and {prototypes}"])
