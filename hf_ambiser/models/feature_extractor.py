"""The feature extractor that goes with an encoder."""

from __future__ import annotations

import logging

from transformers import AutoFeatureExtractor, PreTrainedConfig, SequenceFeatureExtractor, Wav2Vec2FeatureExtractor

from .configuration_logmel import LogMelConfig


logger = logging.getLogger(__name__)


def default_feature_extractor(encoder_config: PreTrainedConfig) -> Wav2Vec2FeatureExtractor:
    """Feature extractor that pads waveforms with zeros and gives the attention mask.

    Each clip is scaled to mean 0 and variance 1 for wav2vec 2.0-like encoders, and left as it is for log-mel, whose
    fixed normalisation keeps the level.

    Args:
        encoder_config: Configuration of the encoder, `config.encoder_config` of a classifier.
    """
    log_mel = encoder_config.model_type == LogMelConfig.model_type
    return Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=encoder_config.sampling_rate if log_mel else 16000,
        padding_value=0.0,
        do_normalize=not log_mel,
        return_attention_mask=True,
    )


def encoder_feature_extractor(encoder_config: PreTrainedConfig, encoder: str | None) -> SequenceFeatureExtractor:
    """The pretrained encoder's own, as it was trained with (some without scaling), or else the default of its kind.

    Args:
        encoder_config: Configuration of the encoder.
        encoder: Its name or folder; None for one that is not pretrained.
    """
    if encoder is not None:
        try:
            extractor = AutoFeatureExtractor.from_pretrained(encoder)
        except (OSError, ValueError) as error:
            logger.warning("%s has no feature extractor of its own (%s); using the default.", encoder, error)
        else:
            # Most published ones say False; without the mask padding would count as speech.
            extractor.return_attention_mask = True
            return extractor
    return default_feature_extractor(encoder_config)
