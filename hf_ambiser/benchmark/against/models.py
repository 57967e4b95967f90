"""A classifier of ours and one of transformers with the weights of the same encoder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
)

from hf_ambiser.benchmark.against.speech import CLASSES
from hf_ambiser.models import PrototypeConfig, PrototypeForAudioClassification


ENCODERS = "AMBISER_ENCODERS"
_PRETRAINED = "whisper-tiny.en"
_NAMES = dict(enumerate(CLASSES))
_LABELS: dict[str, Any] = {"id2label": _NAMES, "label2id": {name: i for i, name in _NAMES.items()}}


@dataclass(frozen=True)
class SameEncoder:
    """Two classifiers around one encoder; each has a small head of its own, with random weights.

    Args:
        encoder: Name and size of the encoder, in words.
        ours: `PrototypeForAudioClassification`.
        extractor: Its feature extractor.
        theirs: The classifier of transformers.
        their_extractor: Its feature extractor, as published with such encoders.
        bare: An encoder alone, which takes waveforms: transformers' own, or ours where theirs takes 30 s only.
    """

    encoder: str
    ours: Any
    extractor: Any
    theirs: Any
    their_extractor: Any
    bare: Any

    @property
    def their_class(self) -> str:
        """Name of the classifier of transformers."""
        return type(self.theirs).__name__


def whisper(tiny: bool = False) -> SameEncoder:
    """Return Whisper tiny.en below `AMBISER_ENCODERS`; without it, or if `tiny`, a random encoder, small or tiny.

    transformers' classifier pads each utterance to 30 s, which its encoder demands; ours does not.
    """
    torch.manual_seed(0)
    place = Path(os.environ.get(ENCODERS, "")) / _PRETRAINED
    if os.environ.get(ENCODERS) and place.is_dir() and not tiny:
        ours = PrototypeForAudioClassification.from_encoder(str(place), id2label=_NAMES)
        name = "Whisper tiny.en"
    else:
        size = 16 if tiny else 192
        config = WhisperConfig(
            d_model=size, encoder_layers=2, encoder_attention_heads=2 if tiny else 4, encoder_ffn_dim=4 * size,
            max_source_positions=1500, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=size,
        )  # fmt: skip
        ours = _ours(config)
        name = "random Whisper"
    encoder_config = ours.config.encoder_config
    config = type(encoder_config)(**{**encoder_config.to_dict(), **_LABELS, "classifier_proj_size": 256})
    theirs = WhisperForAudioClassification(config)
    _take_encoder(theirs.encoder, ours.encoder)
    their_extractor = WhisperFeatureExtractor(feature_size=encoder_config.num_mel_bins)
    return SameEncoder(_sized(name, ours), ours, ours.make_feature_extractor(), theirs, their_extractor, ours.encoder)


def wav2vec2(tiny: bool = False) -> SameEncoder:
    """Return wav2vec 2.0, built like the base model (group norm, all convolutions), smaller, with random weights."""
    torch.manual_seed(0)
    size, channels = (16, 8) if tiny else (256, 192)
    config = Wav2Vec2Config(
        hidden_size=size, num_hidden_layers=2 if tiny else 4, num_attention_heads=2 if tiny else 4,
        intermediate_size=4 * size, conv_dim=(channels,) * 7, num_conv_pos_embeddings=128,
        num_conv_pos_embedding_groups=2 if tiny else 16, apply_spec_augment=False, layerdrop=0.0,
    )  # fmt: skip
    ours = _ours(config)
    theirs = Wav2Vec2ForSequenceClassification(type(config)(**{**config.to_dict(), **_LABELS}))
    _take_encoder(theirs.wav2vec2, ours.encoder)
    # As published with wav2vec2-base: encoders with a group norm get no mask.
    their_extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
    name, extractor = _sized("random wav2vec 2.0", ours), ours.make_feature_extractor()
    return SameEncoder(name, ours, extractor, theirs, their_extractor, theirs.wav2vec2)


BUILDERS: dict[str, Callable[[bool], SameEncoder]] = {"whisper": whisper, "wav2vec2": wav2vec2}


def _ours(encoder_config: Any) -> Any:
    return PrototypeForAudioClassification(PrototypeConfig(encoder_config=encoder_config.to_dict(), **_LABELS))


def _sized(name: str, model: Any) -> str:
    return f"{name}, {sum(p.numel() for p in model.encoder.parameters()) / 1e6:.1f} M"


def _take_encoder(theirs: torch.nn.Module, ours: torch.nn.Module) -> None:
    """Copy the weights of our encoder; both have the same names, or nothing would be compared."""
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    if missing or unexpected:
        raise RuntimeError(f"the encoders differ: {missing} are missing, {unexpected} are too many.")
