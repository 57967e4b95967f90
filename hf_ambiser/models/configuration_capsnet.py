"""Configuration of the sequential capsule network of Wu et al. (2019, 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from .configuration_frames import POSITIVE, FrameClassifierConfig, is_count
from .configuration_waveform import check_fields
from .field_types import typed


LAYERS = 3
TIME_STRIDE = 4  # frames of one step of the image above the convolutions


class CapsNetConfig(FrameClassifierConfig):
    """Configuration of `CapsNetForAudioClassification`: convolutions, capsules of windows, capsules of the utterance.

    Args:
        encoder_config: As in `FrameClassifierConfig`.
        input: As in `FrameClassifierConfig`.
        channels: Output channels of the three convolutional layers. The first has two groups of filters side by side,
            with half of the channels each: 2 frames x 8 features, and 8 frames x 2 features; the others are 5 x 5.
        primary_capsules: Number of primary capsules at each position above the convolutions.
        primary_capsule_size: Number of values of a primary capsule.
        class_capsule_size: Number of values of a class's capsule, of a window and of the utterance.
        window_frames: Length of a window in frames; it is rounded up to a multiple of 4.
        window_shift: Frames from the beginning of a window to that of the next one, rounded in the same way.
        routing_iterations: How often dynamic routing (Sabour et al., 2017) computes the capsules from their votes.
        length_scale: What the logits are. None: the logarithm of the capsules' lengths, so that the softmax is a
            length divided by the sum of all lengths; a number: the lengths times this number.
        layer_norm_eps: Added to the variance over channels.
        **kwargs: As in `FrameClassifierConfig`.

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    model_type = "ambiser_capsnet"
    model_class = "modeling_capsnet.CapsNetForAudioClassification"

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        input: str = "log_mel",
        channels: Sequence[int] = (16, 16, 16),
        primary_capsules: int = 8,
        primary_capsule_size: int = 8,
        class_capsule_size: int = 16,
        window_frames: int = 40,
        window_shift: int = 20,
        routing_iterations: int = 3,
        length_scale: float | None = None,
        layer_norm_eps: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        self.channels = list(channels)
        self.primary_capsules = primary_capsules
        self.primary_capsule_size = primary_capsule_size
        self.class_capsule_size = class_capsule_size
        self.window_frames = window_frames
        self.window_shift = window_shift
        self.routing_iterations = routing_iterations
        self.length_scale = length_scale
        self.layer_norm_eps = layer_norm_eps
        counts = ("primary_capsules", "primary_capsule_size", "class_capsule_size", "window_frames")
        check_fields(
            self,
            {
                "channels": (
                    is_count(*self.channels) and len(self.channels) == LAYERS and self.channels[0] % 2 == 0,
                    f"{LAYERS} whole numbers of at least 1, the first even",
                ),
                **{field: (is_count(getattr(self, field)), POSITIVE) for field in counts},
                "window_shift": (
                    is_count(window_shift) and self.shift_steps <= self.window_steps,
                    f"a whole number from 1 to window_frames ({window_frames})",
                ),
                "routing_iterations": (is_count(routing_iterations), POSITIVE),
                "length_scale": (length_scale is None or length_scale > 0, "None, or a number above 0"),
            },
        )
        super().__init__(encoder_config, input, **kwargs)

    @property
    def window_steps(self) -> int:
        """Length of a window in steps of the image above the convolutions."""
        return -(-self.window_frames // TIME_STRIDE)

    @property
    def shift_steps(self) -> int:
        """Steps from the beginning of a window to that of the next one."""
        return -(-self.window_shift // TIME_STRIDE)

    def describe_head(self) -> str:
        """Describe in a few words what stands above the frames, for a model card."""
        return (
            f"{LAYERS} convolutional layers over time and feature, capsules of the classes in windows of"
            f" {self.window_steps * TIME_STRIDE} frames, and capsules of the classes of the whole utterance, by"
            " dynamic routing"
        )
