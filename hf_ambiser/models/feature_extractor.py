"""The feature extractor that goes with an encoder."""

from __future__ import annotations

import logging
from os import PathLike

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


def pretrained_feature_extractor(encoder: str | PathLike[str]) -> SequenceFeatureExtractor | None:
    """The one that is saved beside a pretrained encoder, or None, which is logged."""
    try:
        return AutoFeatureExtractor.from_pretrained(encoder)
    except (OSError, ValueError) as error:
        logger.warning("%s has no feature extractor of its own (%s); using the default.", encoder, error)
        return None


def encoder_feature_extractor(encoder_config: PreTrainedConfig, encoder: str | None) -> SequenceFeatureExtractor:
    """The pretrained encoder's own, as it was trained with (some without scaling), or else the default of its kind.

    Args:
        encoder_config: Configuration of the encoder.
        encoder: Its name or folder; None for one that is not pretrained.
    """
    extractor = None if encoder is None else pretrained_feature_extractor(encoder)
    if extractor is None:
        return default_feature_extractor(encoder_config)
    # Most published ones say False; without the mask padding would count as speech.
    extractor.return_attention_mask = True
    return extractor
