"""Configuration of AMSNet, Chen et al. (2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from .configuration_frames import POSITIVE, FrameClassifierConfig, is_count
from .configuration_waveform import check_fields
from .field_types import typed


FUSIONS = ("attention", "concatenation")


class AMSNetConfig(FrameClassifierConfig):
    """Configuration of `AMSNetForAudioClassification`: an LSTM over frames beside convolutions over the utterance.

    Args:
        encoder_config: As in `FrameClassifierConfig`.
        input: As in `FrameClassifierConfig`. Both branches take the same frames.
        lstm_hidden_size: Units of the LSTM of the frame-level branch in each direction.
        bidirectional: Whether this LSTM also reads the frames backwards.
        channels: Output channels of the convolutional layers of the utterance-level branch; each halves the image.
        squeeze_factor: The squeeze-and-excitation of a layer has its channels divided by this number in between;
            at most the smallest of `channels`.
        branch_hidden_size: Size of the vector of each branch before they are joined.
        fusion: How they are joined: "attention", each multiplied by its weight, a softmax over the two branches; or
            "concatenation", as they are.
        classifier_hidden_size: Hidden size of the classifier.
        dropout: Dropout after the LSTM and in the classifier.
        layer_norm_eps: Added to the variance over channels.
        **kwargs: As in `FrameClassifierConfig`.

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_amsnet"
    model_class = "modeling_amsnet.AMSNetForAudioClassification"

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        input: str = "log_mel",
        lstm_hidden_size: int = 128,
        bidirectional: bool = False,
        channels: Sequence[int] = (16, 32, 64),
        squeeze_factor: int = 4,
        branch_hidden_size: int = 64,
        fusion: str = "attention",
        classifier_hidden_size: int = 64,
        dropout: float = 0.2,
        layer_norm_eps: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        self.lstm_hidden_size = lstm_hidden_size
        self.bidirectional = bidirectional
        self.channels = list(channels)
        self.squeeze_factor = squeeze_factor
        self.branch_hidden_size = branch_hidden_size
        self.fusion = fusion
        self.classifier_hidden_size = classifier_hidden_size
        self.dropout = dropout
        self.layer_norm_eps = layer_norm_eps
        counts = ("lstm_hidden_size", "branch_hidden_size", "classifier_hidden_size")
        check_fields(
            self,
            {
                **{field: (is_count(getattr(self, field)), POSITIVE) for field in counts},
                "channels": (bool(self.channels) and is_count(*self.channels), "one or more numbers of at least 1"),
                "squeeze_factor": (
                    is_count(squeeze_factor) and squeeze_factor <= min(self.channels, default=1),
                    f"a whole number from 1 to the smallest of channels ({min(self.channels, default=1)})",
                ),
                "bidirectional": (isinstance(bidirectional, bool), "true or false"),
                "fusion": (fusion in FUSIONS, f"one of {', '.join(FUSIONS)}"),
                "dropout": (0 <= dropout < 1, "in [0, 1)"),
            },
        )
        super().__init__(encoder_config, input, **kwargs)

    def describe_head(self) -> str:
        """Describe in a few words what stands above the frames, for a model card."""
        lstm = "a bidirectional LSTM" if self.bidirectional else "an LSTM"
        joined = {"attention": "joined by attention over the two", "concatenation": "side by side"}[self.fusion]
        return (
            f"{lstm} of {self.lstm_hidden_size} with attention over the valid frames, and {len(self.channels)}"
            f" convolutional layers with squeeze-and-excitation, {joined}"
        )
