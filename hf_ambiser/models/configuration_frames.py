"""The base of configurations of families whose head takes the frames of a log-mel spectrum or of any encoder."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from .configuration_logmel import LogMelConfig
from .configuration_waveform import WaveformClassifierConfig, check_fields
from .field_types import typed


INPUTS = ("log_mel", "encoder")
POSITIVE = "a whole number of at least 1"


class FrameClassifierConfig(WaveformClassifierConfig):
    """Configuration of a `FrameClassifier`. See its subclasses.

    Args:
        encoder_config: For `input="encoder"` the encoder's configuration; for `"log_mel"` a `LogMelConfig`, of which
            the front end and its SpecAugment are used. None: the default `LogMelConfig`. It is copied.
        input: The kind of frames: `"log_mel"`, a log-mel spectrum every 10 ms, on which these systems were published;
            or `"encoder"`, the output of an encoder.
        projection_size: Size of a linear layer on each frame, below the rest of the head; None: there is none. The
            values of an encoder's frame have no order. Above this layer they get one, which convolutions need.
        **kwargs: `layers`, `frames_averaged` and `standardize_frames` (see `WaveformClassifierConfig`), for
            `input="encoder"` only, and fields of `PreTrainedConfig`, among them `id2label`/`label2id` or `num_labels`
            (K classes).

    Raises:
        ValueError: If a field is out of range; the message names it, its value and what is allowed.
    """

    keys_to_ignore_at_inference = ["embedding"]
    encoder_acts_with = "input: encoder"

    @typed
    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        input: str = "log_mel",
        projection_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.input = input
        self.projection_size = projection_size
        check_fields(
            self,
            {
                "input": (input in INPUTS, f"one of {', '.join(INPUTS)}"),
                "projection_size": (projection_size is None or is_count(projection_size), f"None, or {POSITIVE}"),
            },
        )
        super().__init__(encoder_config, **kwargs)
        log_mel, encoder = self.encoder_config.model_type == "ambiser_logmel", input == "encoder"
        check_fields(
            self,
            {
                "input": (encoder or log_mel, "encoder, because log_mel takes a LogMelConfig as encoder_config"),
                "layers": (encoder or self.layers == "last", "'last', unless input is 'encoder'"),
                "standardize_frames": (encoder or not self.standardize_frames, "False, unless input is 'encoder'"),
                "frames_averaged": (encoder or self.frames_averaged == 1, "1, unless input is 'encoder'"),
            },
        )

    @classmethod
    def acting_encoder_fields(cls, input: str = "log_mel", **fields: Any) -> tuple[str, ...] | None:
        """Return which fields of the encoder's configuration act: of a log-mel spectrum, the front end's."""
        return (*LogMelConfig.front_end, *LogMelConfig.spec_augment) if input == "log_mel" else None

    @property
    def input_size(self) -> int:
        """Number of values of one frame: mel bands, or the encoder's hidden size."""
        return self.encoder_config.hidden_size if self.input == "encoder" else self.encoder_config.n_mels

    @property
    def frame_size(self) -> int:
        """Number of values D of one frame above the projection, if there is one."""
        return self.projection_size or self.input_size

    def describe_frames(self) -> str:
        """Describe the frames in a few words, for a model card."""
        return "a log-mel spectrum every 10 ms" if self.input == "log_mel" else super().describe_frames()

    def describe_head(self) -> str:
        """Describe in a few words what a family has above the frames, for a model card."""
        raise NotImplementedError

    def describe(self) -> str:
        """Describe the architecture above the frames in a few words, for a model card."""
        projection = "" if self.projection_size is None else f"a linear layer of {self.projection_size}"
        return ", then ".join(filter(None, [self.describe_layers(), projection, self.describe_head()]))


def is_count(*values: Any) -> bool:
    """Whether all values are whole numbers of at least 1."""
    return all(isinstance(value, int) and not isinstance(value, bool) and value >= 1 for value in values)
