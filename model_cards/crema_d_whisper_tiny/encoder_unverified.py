"""The adapter of encoders that look like wav2vec 2.0 and that nobody has checked."""

from __future__ import annotations

import logging
from typing import Any

from .encoder_wav2vec2 import Wav2Vec2Adapter


logger = logging.getLogger(__name__)
warned_model_types: set[str] = set()


class UnverifiedAdapter(Wav2Vec2Adapter):
    """Any other encoder with `conv_kernel` and `conv_stride` in its configuration; building one logs one warning."""

    description = "any other encoder of transformers that is built like wav2vec 2.0, with a warning"
    lora_targets = (("q_proj", "v_proj"), ("linear_q", "linear_v"), ("query_proj", "value_proj"))

    @classmethod
    def repair(cls, encoder: Any) -> None:
        """Repair what is known, and warn once that there may be more."""
        super().repair(encoder)
        model_type = encoder.config.model_type
        if model_type not in warned_model_types:
            warned_model_types.add(model_type)
            logger.warning(
                "Encoder model_type %r was not checked for padding: an answer may depend on its batch.", model_type
            )
