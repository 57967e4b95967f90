"""The adapter of WavLM."""

from __future__ import annotations

from .encoder_wav2vec2 import Wav2Vec2Adapter


class WavLMAdapter(Wav2Vec2Adapter):
    """WavLM is built like wav2vec 2.0, but LoRA cannot adapt its attention.

    transformers hands the weights of WavLM's attention directly to a torch function, so an adapter there would have no
    effect. LoRA adapts the feed-forward layers instead.
    """

    model_types = ("wavlm",)
    description = "WavLM; LoRA adapts its feed-forward layers"
    lora_targets = (("intermediate_dense", "output_dense"),)
