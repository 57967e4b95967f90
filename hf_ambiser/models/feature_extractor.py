"""The feature extractor that goes with an encoder."""

from __future__ import annotations

from transformers import PreTrainedConfig, Wav2Vec2FeatureExtractor

from .configuration_logmel import LogMelConfig


def default_feature_extractor(encoder_config: PreTrainedConfig) -> Wav2Vec2FeatureExtractor:
    """Feature extractor that pads waveforms with zeros and gives the attention mask.

    Each clip is scaled to mean 0 and variance 1 for wav2vec 2.0-like encoders, and left as it is for log-mel, whose
    fixed normalisation keeps the level. A published encoder's own `AutoFeatureExtractor.from_pretrained` goes before
    this default (some were trained without the scaling); set `return_attention_mask=True` there.

    Args:
        encoder_config: Configuration of the encoder, `PrototypeConfig.encoder_config`.
    """
    log_mel = encoder_config.model_type == LogMelConfig.model_type
    return Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=encoder_config.sampling_rate if log_mel else 16000,
        padding_value=0.0,
        do_normalize=not log_mel,
        return_attention_mask=True,
    )
