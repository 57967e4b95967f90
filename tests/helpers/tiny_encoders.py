"""A small random encoder of every kind, made noise in place of speech, and an answer alone beside one in a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import (
    Data2VecAudioConfig,
    HubertConfig,
    PreTrainedConfig,
    SEWDConfig,
    UniSpeechConfig,
    UniSpeechSatConfig,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    WavLMConfig,
    WhisperConfig,
)

from hf_ambiser.models import LogMelConfig, PrototypeConfig, PrototypeForAudioClassification


LENGTHS = (1, 399, 4000, 16000, 40000)
TINY_TRANSFORMER: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8, 8, 8, 8, 8, 8),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "mask_feature_length": 4,
    # Far from transformers' 0.02, so that layers matter and a leak through any of them shows.
    "initializer_range": 0.5,
}
TINY_WHISPER: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "num_mel_bins": 80,
    # Segments of one second, so that longer noise has some.
    "max_source_positions": 50,
    "init_std": 0.3,
}
# A test checks that every `model_type` of the list of adapters stands here.
ENCODERS: dict[str, PreTrainedConfig] = {
    "log-mel": LogMelConfig(hidden_size=16, conv_channels=(4, 8), conv_strides=((2, 2), (2, 4)), n_mels=20),
    "wav2vec2 group norm": Wav2Vec2Config(feat_extract_norm="group", **TINY_TRANSFORMER),
    "wav2vec2 layer norm": Wav2Vec2Config(feat_extract_norm="layer", do_stable_layer_norm=True, **TINY_TRANSFORMER),
    "hubert": HubertConfig(**TINY_TRANSFORMER),
    "wavlm": WavLMConfig(**TINY_TRANSFORMER),
    "data2vec-audio": Data2VecAudioConfig(
        **{**TINY_TRANSFORMER, "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}
    ),
    "unispeech": UniSpeechConfig(**TINY_TRANSFORMER),
    "unispeech-sat": UniSpeechSatConfig(**TINY_TRANSFORMER),
    "sew-d": SEWDConfig(**{**TINY_TRANSFORMER, "conv_dim": (8,) * 13}),
    "wav2vec2-bert": Wav2Vec2BertConfig(
        **{key: TINY_TRANSFORMER[key] for key in TINY_TRANSFORMER if "conv" not in key}, conv_depthwise_kernel_size=5
    ),
    "whisper": WhisperConfig(**TINY_WHISPER),
    "whisper padded": WhisperConfig(**TINY_WHISPER, pad_to_30_seconds=True),
    "whisper SpecAugment": WhisperConfig(**TINY_WHISPER, apply_spec_augment=True, mask_feature_prob=0.1),
}


def build(name: str, **fields: Any) -> PrototypeForAudioClassification:
    """A prototype model around one of `ENCODERS`, in evaluation mode."""
    return PrototypeForAudioClassification(PrototypeConfig(ENCODERS[name], num_labels=3, **fields)).eval()


def clips(lengths: tuple[int, ...] = LENGTHS) -> list[Tensor]:
    """Noise with an envelope, so that the frames of an utterance differ."""
    noise = torch.Generator().manual_seed(7)
    return [torch.randn(n, generator=noise) * (0.2 + 0.1 * torch.linspace(0, 9, n).sin()) for n in lengths]


def batch(waveforms: list[Tensor], padding: float = 0.0) -> dict[str, Tensor]:
    """The inputs of a model: waveforms side by side, filled up with `padding`, and the mask."""
    size = max(map(len, waveforms))
    values = torch.stack([torch.nn.functional.pad(w, (0, size - len(w)), value=padding) for w in waveforms])
    mask = torch.stack([(torch.arange(size) < len(w)).long() for w in waveforms])
    return {"input_values": values, "attention_mask": mask}


def answers(outputs: Any) -> Tensor:
    """Everything that a model says of each utterance, side by side."""
    return torch.cat([outputs.logits.softmax(-1), outputs.ambiguous_soft_label, outputs.embedding], dim=-1)


def difference_alone_or_padded(model: Any, waveforms: list[Tensor]) -> float:
    """The largest difference between the answers to utterances alone and in one padded batch."""
    with torch.no_grad():
        alone = torch.cat([answers(model(w[None])) for w in waveforms])
        return (answers(model(**batch(waveforms))) - alone).abs().max().item()
