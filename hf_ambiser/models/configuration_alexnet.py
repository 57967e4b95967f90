"""Configuration of AlexNet on spectrogram images, after Cummins et al. (2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from .configuration_frames import POSITIVE, FrameClassifierConfig, is_count
from .configuration_waveform import check_fields
from .field_types import typed


# Kernel, stride and padding of each convolution, and whether patches of 3 x 3 at a step of 2 follow it.
LAYERS = ((11, 4, 2, True), (5, 1, 2, True), (3, 1, 1, False), (3, 1, 1, False), (3, 1, 1, True))
SMALLEST = 63  # side of an image of which the last layer leaves one position


class AlexNetConfig(FrameClassifierConfig):
    """Configuration of `AlexNetForAudioClassification`: each utterance as an image of one size, then AlexNet.

    Args:
        encoder_config: As in `FrameClassifierConfig`.
        input: As in `FrameClassifierConfig`.
        image_side: Side of the square image to which the frames of an utterance are stretched along time and feature.
        channels: Output channels of the five convolutions; the default is AlexNet's with one column.
        classifier_hidden_size: Size of both hidden layers of the classifier.
        dropout: Dropout before each of them.
        **kwargs: As in `FrameClassifierConfig`.

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_alexnet"
    model_class = "modeling_alexnet.AlexNetForAudioClassification"

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        input: str = "log_mel",
        image_side: int = 227,
        channels: Sequence[int] = (64, 192, 384, 256, 256),
        classifier_hidden_size: int = 4096,
        dropout: float = 0.5,
        **kwargs: Any,
    ) -> None:
        self.image_side = image_side
        self.channels = list(channels)
        self.classifier_hidden_size = classifier_hidden_size
        self.dropout = dropout
        check_fields(
            self,
            {
                "image_side": (is_count(image_side) and image_side >= SMALLEST, f"a whole number from {SMALLEST}"),
                "channels": (
                    is_count(*self.channels) and len(self.channels) == len(LAYERS),
                    f"{len(LAYERS)} whole numbers of at least 1",
                ),
                "classifier_hidden_size": (is_count(classifier_hidden_size), POSITIVE),
                "dropout": (0 <= dropout < 1, "in [0, 1)"),
            },
        )
        super().__init__(encoder_config, input, **kwargs)

    @property
    def last_side(self) -> int:
        """Side of the image above the convolutions; 6 for an image of 227."""
        side = self.image_side
        for kernel, stride, padding, pooled in LAYERS:
            side = (side + 2 * padding - kernel) // stride + 1
            side = (side - 3) // 2 + 1 if pooled else side
        return side

    def describe_head(self) -> str:
        """Describe in a few words what stands above the frames, for a model card."""
        return (
            f"the frames of an utterance as an image of {self.image_side} x {self.image_side}, and AlexNet with"
            f" {len(LAYERS)} convolutional layers and two hidden layers of {self.classifier_hidden_size}"
        )
