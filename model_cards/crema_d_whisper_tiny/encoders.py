"""The list of all kinds of encoders, and which of them a configuration belongs to."""

from __future__ import annotations

from transformers import PreTrainedConfig

from .encoder_adapter import EncoderAdapter
from .encoder_logmel import LogMelAdapter
from .encoder_sew_d import SEWDAdapter
from .encoder_unverified import UnverifiedAdapter
from .encoder_wav2vec2 import Wav2Vec2Adapter
from .encoder_wav2vec2_bert import Wav2Vec2BertAdapter
from .encoder_wavlm import WavLMAdapter
from .encoder_whisper import WhisperAdapter


# A new kind needs an import above and a place here. The folder is not searched for adapters: transformers copies those
# files beside saved weights that it finds by reading such import lines. A test checks that no adapter is missing.
ADAPTERS: tuple[type[EncoderAdapter], ...] = (
    LogMelAdapter,
    Wav2Vec2Adapter,
    WavLMAdapter,
    SEWDAdapter,
    Wav2Vec2BertAdapter,
    WhisperAdapter,
)

# model_type -> why such an encoder is refused. Any other one that looks like wav2vec 2.0 is taken with a warning.
REFUSED: dict[str, str] = {
    "wav2vec2-conformer": "the batch norm in its layers learns from all frames of a batch, padding included",
    "sew": "transformers takes its layer_norm for its encoder.layer_norm when it loads a model around it",
    "moonshine": "its group norm takes its statistics over all frames of a batch, padding included",
    "audio-spectrogram-transformer": "it takes spectrograms of one fixed size, 10.24 s",
}


def supported_model_types() -> list[str]:
    """Return the `model_type` of all encoders that are supported and tested."""
    return [model_type for adapter in ADAPTERS for model_type in adapter.model_types]


def adapter_class(config: PreTrainedConfig) -> type[EncoderAdapter]:
    """Return the adapter of an encoder's configuration.

    Raises:
        ValueError: If there is no such encoder, or it is refused.
    """
    # Compare names, not classes: remote code is loaded twice, once for AutoConfig and once for the model.
    for adapter in ADAPTERS:
        if config.model_type in adapter.model_types:
            return adapter
    reason = REFUSED.get(config.model_type)
    if reason is None and hasattr(config, "conv_kernel") and hasattr(config, "conv_stride"):
        return UnverifiedAdapter
    problem = f"is refused, because {reason}" if reason else "has no conv_kernel/conv_stride"
    raise ValueError(
        f"encoder model_type {config.model_type!r} {problem}; allowed: {', '.join(supported_model_types())}, and "
        "encoders of waveforms that are built like wav2vec 2.0."
    )
