"""Configuration of the convolutional network with attention pooling of Li et al. (2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from .configuration_frames import FrameClassifierConfig, is_count
from .configuration_waveform import check_fields
from .field_types import typed


ATTENTIONS = ("softmax", "none")
LAYERS = 5


class CNNAttentionConfig(FrameClassifierConfig):
    """Configuration of `CNNAttentionForAudioClassification`: five convolutional layers and attention pooling.

    Args:
        encoder_config: As in `FrameClassifierConfig`.
        input: As in `FrameClassifierConfig`.
        channels: Output channels of each of the five layers. The first has two groups of filters side by side, with
            half of the channels each: 2 frames x 10 features, and 8 frames x 2 features.
        pooled_layers: After which layers, counted from 1, the image is halved along time and feature by the maximum of
            2 x 2 patches. Public descriptions differ: (1, 2, 3) or (2, 3).
        attention: What the bottom-up map becomes before it weighs the positions: "softmax" over all valid positions of
            the utterance, whose weights sum to 1; or "none", as in attentional pooling of images, a mean over the
            positions of the product of both maps.
        dropout: Dropout on the features that the two maps are made of.
        layer_norm_eps: Added to the variance over channels.
        **kwargs: As in `FrameClassifierConfig`.

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_cnn_attention"
    model_class = "modeling_cnn_attention.CNNAttentionForAudioClassification"

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        input: str = "log_mel",
        channels: Sequence[int] = (16, 32, 48, 64, 80),
        pooled_layers: Sequence[int] = (1, 2, 3),
        attention: str = "softmax",
        dropout: float = 0.0,
        layer_norm_eps: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        self.channels = list(channels)
        self.pooled_layers = list(pooled_layers)
        self.attention = attention
        self.dropout = dropout
        self.layer_norm_eps = layer_norm_eps
        places = all(layer in range(1, LAYERS + 1) for layer in self.pooled_layers)
        check_fields(
            self,
            {
                "channels": (
                    is_count(*self.channels) and len(self.channels) == LAYERS and self.channels[0] % 2 == 0,
                    f"{LAYERS} whole numbers of at least 1, the first even",
                ),
                "pooled_layers": (
                    places and len(set(self.pooled_layers)) == len(self.pooled_layers),
                    f"numbers of layers from 1 to {LAYERS}, each at most once",
                ),
                "attention": (attention in ATTENTIONS, f"one of {', '.join(ATTENTIONS)}"),
                "dropout": (0 <= dropout < 1, "in [0, 1)"),
            },
        )
        super().__init__(encoder_config, input, **kwargs)

    def describe_head(self) -> str:
        """Describe in a few words what stands above the frames, for a model card."""
        weights = {"softmax": "weights of attention", "none": "weights of attention that are not normalised"}
        return (
            f"{LAYERS} convolutional layers over time and feature and a mean over all positions with"
            f" {weights[self.attention]}"
        )
