"""Configuration of the attention BLSTM of Fujioka et al., section 2.1 and 3.2."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from .configuration_logmel import LogMelConfig
from .configuration_waveform import WaveformClassifierConfig, check_fields
from .field_types import typed


INPUTS = ("acoustic32", "log_mel", "encoder")
ATTENTIONS = ("logits", "hidden")
ACOUSTIC_FEATURES = 32


class BLSTMConfig(WaveformClassifierConfig):
    """Configuration of `BLSTMForAudioClassification`: fully connected layer, BLSTM, attention over frames, classes.

    Args:
        encoder_config: For `input="encoder"` the encoder's configuration; for `"log_mel"` a `LogMelConfig`, of which
            only the front end is used. None: the default `LogMelConfig`. It is copied.
        input: The kind of frames: `"acoustic32"`, 32 acoustic features every 10 ms, which the feature extractor
            computes (section 3.2); `"log_mel"`, a log-mel spectrum every 10 ms; or `"encoder"`, the output of an
            encoder. The last two take waveforms.
        dense_hidden_size: Units of the fully connected layer with ReLU (section 3.2: 512).
        lstm_hidden_size: Units of the LSTM in each direction (section 3.2: 128; the paper does not say whether this is
            per direction).
        attention: The input of the attention of Eq. 1: the class scores of each frame (`"logits"`, as in the
            equations), or the BLSTM's output, which is pooled before it is classified (`"hidden"`).
        dropout: Dropout after the fully connected layer and after the BLSTM (section 3.2: 0.5 "to all the layers").
        **kwargs: `layers` and `standardize_frames` (see `WaveformClassifierConfig`), and fields of `PreTrainedConfig`,
            among them `id2label`/`label2id` or `num_labels` (K classes).

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_blstm"
    model_class = "modeling_blstm.BLSTMForAudioClassification"
    keys_to_ignore_at_inference = ["embedding", "attention"]
    encoder_acts_with = "input: encoder"

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        input: str = "acoustic32",
        dense_hidden_size: int = 512,
        lstm_hidden_size: int = 128,
        attention: str = "logits",
        dropout: float = 0.5,
        **kwargs: Any,
    ) -> None:
        self.input = input
        self.dense_hidden_size = dense_hidden_size
        self.lstm_hidden_size = lstm_hidden_size
        self.attention = attention
        self.dropout = dropout
        check_fields(
            self,
            {
                "input": (input in INPUTS, f"one of {', '.join(INPUTS)}"),
                "dense_hidden_size": (dense_hidden_size >= 1, "a whole number of at least 1"),
                "lstm_hidden_size": (lstm_hidden_size >= 1, "a whole number of at least 1"),
                "attention": (attention in ATTENTIONS, f"one of {', '.join(ATTENTIONS)}"),
                "dropout": (0 <= dropout < 1, "in [0, 1)"),
            },
        )
        super().__init__(encoder_config, **kwargs)
        log_mel = self.encoder_config.model_type == "ambiser_logmel"
        allowed = "acoustic32, log_mel, or encoder with an encoder_config of its own kind"
        check_fields(
            self,
            {
                "input": (input != "log_mel" or log_mel, f"{allowed}; log_mel takes a LogMelConfig"),
                "layers": (input == "encoder" or self.layers == "last", "'last', unless input is 'encoder'"),
                "standardize_frames": (
                    input == "encoder" or not self.standardize_frames,
                    "False, unless input is 'encoder'",
                ),
            },
        )

    @classmethod
    def acting_encoder_fields(cls, input: str = "acoustic32", **fields: Any) -> tuple[str, ...] | None:
        """Return which fields of the encoder's configuration act: none without one, of log-mel the front end's."""
        if input == "encoder":
            return None
        return LogMelConfig.front_end if input == "log_mel" else ()

    @property
    def frame_size(self) -> int:
        """Size of one frame, the input of the fully connected layer."""
        if self.input == "encoder":
            return self.encoder_config.hidden_size
        return self.encoder_config.n_mels if self.input == "log_mel" else ACOUSTIC_FEATURES

    def describe_frames(self) -> str:
        """Describe the frames in a few words, for a model card."""
        names = {"acoustic32": f"{ACOUSTIC_FEATURES} acoustic features", "log_mel": "a log-mel spectrum"}
        return f"{names[self.input]} every 10 ms" if self.input in names else super().describe_frames()

    def describe(self) -> str:
        """Describe the architecture above the frames in a few words, for a model card."""
        layers = f"{self.describe_layers()}, then " if self.describe_layers() else ""
        looks_at = {"logits": "the frames' class scores", "hidden": "its output"}[self.attention]
        return (
            f"{layers}a fully connected layer of {self.dense_hidden_size}, a bidirectional LSTM of"
            f" {self.lstm_hidden_size} per direction and attention over the valid frames by {looks_at}"
        )
