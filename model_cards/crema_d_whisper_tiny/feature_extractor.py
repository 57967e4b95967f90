"""The feature extractor that goes with an encoder."""

from __future__ import annotations

import logging
from os import PathLike

from transformers import AutoFeatureExtractor, PreTrainedConfig, SequenceFeatureExtractor, Wav2Vec2FeatureExtractor

from .encoders import adapter_class


logger = logging.getLogger(__name__)


def default_feature_extractor(encoder_config: PreTrainedConfig) -> Wav2Vec2FeatureExtractor:
    """Return a feature extractor that pads waveforms with zeros and makes the attention mask.

    For wav2vec 2.0-like encoders each utterance is scaled to mean 0 and variance 1. For others, such as log-mel, it is
    left as it is, because they normalise the spectrum.

    Args:
        encoder_config: Configuration of the encoder, `config.encoder_config` of a classifier.
    """
    adapter = adapter_class(encoder_config)
    return Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=adapter.sampling_rate(encoder_config),
        padding_value=0.0,
        do_normalize=adapter.scales_waveforms,
        return_attention_mask=True,
    )


def pretrained_feature_extractor(encoder: str | PathLike[str]) -> SequenceFeatureExtractor | None:
    """Return the feature extractor that is saved with a pretrained encoder, or None with a logged warning."""
    try:
        return AutoFeatureExtractor.from_pretrained(encoder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        logger.warning("%s has no feature extractor of its own (%s); the default one is used.", encoder, error)
        return None


def encoder_feature_extractor(encoder_config: PreTrainedConfig, encoder: str | None) -> SequenceFeatureExtractor:
    """Return the feature extractor of a pretrained encoder, or else the default one of its kind.

    An encoder's own is better, because some were trained without scaling. It is not used if it gives a spectrogram,
    because our models take waveforms.

    Args:
        encoder_config: Configuration of the encoder.
        encoder: Name or folder of the pretrained encoder; None if it is not pretrained.
    """
    gives_waveforms = adapter_class(encoder_config).own_extractor_gives_waveforms
    extractor = pretrained_feature_extractor(encoder) if encoder is not None and gives_waveforms else None
    if extractor is None:
        return default_feature_extractor(encoder_config)
    # Most published extractors say False, but without the mask padding would count as speech.
    extractor.return_attention_mask = True
    return extractor
