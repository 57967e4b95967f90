"""Configuration of the attention-LSTM-attention model of Yu and Kim (2020)."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from .configuration_frames import POSITIVE, FrameClassifierConfig, is_count
from .configuration_waveform import check_fields
from .field_types import typed


FEATURE_ATTENTIONS = ("frame", "utterance", "none")


class AttentionLSTMConfig(FrameClassifierConfig):
    """Configuration of `AttentionLSTMForAudioClassification`: attention over features, LSTM, attention over frames.

    Args:
        encoder_config: As in `FrameClassifierConfig`.
        input: As in `FrameClassifierConfig`.
        feature_attention: How the first attention weighs the values of a frame. The weights are a softmax over the
            values, times their number, so that even weights change nothing. "frame": from each frame anew;
            "utterance": once, from the mean score over the valid frames; "none": there is no first attention.
        lstm_hidden_size: Units of the LSTM in each direction.
        bidirectional: Whether the LSTM also reads the frames backwards.
        classifier_hidden_size: Hidden size of the classifier.
        dropout: Dropout after the LSTM and in the classifier.
        **kwargs: As in `FrameClassifierConfig`.

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_attention_lstm"
    model_class = "modeling_attention_lstm.AttentionLSTMForAudioClassification"

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        input: str = "log_mel",
        feature_attention: str = "frame",
        lstm_hidden_size: int = 128,
        bidirectional: bool = False,
        classifier_hidden_size: int = 64,
        dropout: float = 0.2,
        **kwargs: Any,
    ) -> None:
        self.feature_attention = feature_attention
        self.lstm_hidden_size = lstm_hidden_size
        self.bidirectional = bidirectional
        self.classifier_hidden_size = classifier_hidden_size
        self.dropout = dropout
        check_fields(
            self,
            {
                "feature_attention": (
                    feature_attention in FEATURE_ATTENTIONS,
                    f"one of {', '.join(FEATURE_ATTENTIONS)}",
                ),
                "lstm_hidden_size": (is_count(lstm_hidden_size), POSITIVE),
                "bidirectional": (isinstance(bidirectional, bool), "true or false"),
                "classifier_hidden_size": (is_count(classifier_hidden_size), POSITIVE),
                "dropout": (0 <= dropout < 1, "in [0, 1)"),
            },
        )
        super().__init__(encoder_config, input, **kwargs)

    def describe_head(self) -> str:
        """Describe in a few words what stands above the frames, for a model card."""
        first = {
            "frame": "attention over the values of each frame, ",
            "utterance": "attention over the values of the frames, the same for all of them, ",
            "none": "",
        }[self.feature_attention]
        lstm = f"a bidirectional LSTM of {self.lstm_hidden_size} per direction"
        lstm = lstm if self.bidirectional else f"an LSTM of {self.lstm_hidden_size}"
        return f"{first}{lstm} and attention over the valid frames"
