"""A tiny made data set in the built form, and tiny models: what the trainer's tests run on."""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
import torch
from datasets import Dataset
from transformers import Wav2Vec2Config, WhisperConfig

from hf_ambiser.data.schema import features
from hf_ambiser.models import LogMelConfig, load_family
from hf_ambiser.training.dataset import EvaluationSet, TrainingSet


CLASSES = ("anger", "happiness", "sadness", "neutral")


@functools.cache
def made_split(n: int, seed: int, labelled: bool = True, name: str = "u") -> Dataset:
    """`n` short noisy tones whose pitch tells the class, with five votes each, as one built split."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        label = i % len(CLASSES)
        t = np.arange(int(rng.uniform(0.25, 0.6) * 16000)) / 16000
        wave = 0.3 * np.sin(2 * np.pi * (200 + 250 * label) * t + rng.uniform(0, 6)) + 0.05 * rng.normal(size=len(t))
        stream = io.BytesIO()
        soundfile.write(stream, wave.astype(np.float32), 16000, format="FLAC", subtype="PCM_16")
        votes = np.bincount([label] * 3 + list(rng.integers(0, len(CLASSES), 2)), minlength=len(CLASSES))
        shown = votes if labelled else np.zeros(len(CLASSES))
        # Five of seven raters have voted, each once.
        answers = [CLASSES[k] for k in np.repeat(np.arange(len(CLASSES)), shown.astype(int))]
        ratings = [
            {"rater": f"r{(i + j) % 7}", "labels": [word], "self_report": False} for j, word in enumerate(answers)
        ]
        rows.append(
            {
                "id": f"{name}{i:03d}",
                "audio": {"bytes": stream.getvalue(), "path": f"{name}{i:03d}.flac"},
                "duration": len(t) / 16000,
                "speaker": f"s{i % 5}",
                "session": "",
                "corpus": "made",
                "ratings": ratings,
                "votes": shown.tolist(),
                "soft_label": (shown / max(shown.sum(), 1)).tolist(),
                "label": label if labelled else -1,
                "agreement": votes.max() / 5 if labelled else float("nan"),
                "entropy": 0.0 if labelled else float("nan"),
                "tier": "clear",
                "reference_votes": votes.tolist(),
                "reference_soft_label": (votes / 5).tolist(),
                "reference_label": label,
                "true_distribution": [0.0] * len(CLASSES),
            }
        )
    return Dataset.from_list(rows, features=features(CLASSES))


def training_set(
    trainer_class: type,
    n_labelled: int = 21,
    n_ambiguous: int = 25,
    change: Callable[[Dataset], Dataset] = lambda split: split,
    **options: object,
) -> TrainingSet:
    """What a method trains on: ambiguous clips and augmented copies only where it takes them.

    `change` is what is done to the splits before the trainer sees them. The default sizes are no multiples of a batch.
    """
    from hf_ambiser.training.augment import Augmenter

    read = trainer_class.ambiguous_target is not None
    ambiguous = change(made_split(n_ambiguous, 1, labelled=read, name="b"))
    return TrainingSet(
        change(made_split(n_labelled, 0, name="a")),
        ambiguous if trainer_class.needs_ambiguous else None,
        **{"target": trainer_class.target, **options},
        ambiguous_target=trainer_class.ambiguous_target,
        augment=Augmenter() if trainer_class.needs_augmented else None,
    )


def evaluation_set(n: int = 11) -> EvaluationSet:
    return EvaluationSet(made_split(n, 2, name="c"))


def tiny_config(dropout: float = 0.0, encoder: str = "log-mel", family: str = "prototype") -> Any:
    """A family with a kind of encoder, small; with dropout log-mel masks time and bands, wav2vec 2.0 drops layers.

    A family that can do without an encoder has the pretrained kind or none, and then takes log-mel spectra.
    """
    names = dict(enumerate(CLASSES))
    config_class = load_family(family).config_class
    sizes = {"_size": 16, "dropout": dropout}
    fields = inspect.signature(config_class).parameters
    frames = {"input": "log_mel" if encoder in ("log-mel", "batch-norm") else "encoder"} if "input" in fields else {}
    # Padding every utterance of half a second to the paper's 1.5 s would be most of the work.
    frames |= {"minimum_seconds": 0.4} if "minimum_seconds" in fields else {}
    # The smallest image that AlexNet takes, and few channels: its own sizes take 57 million weights.
    frames |= {"image_side": 63, "channels": (4, 6, 8, 8, 6)} if "image_side" in fields else {}
    return config_class(
        encoder_config=_ENCODERS[encoder](dropout),
        **{
            field: value
            for field in fields
            for ending, value in sizes.items()
            # A projection and an LSTM are options, and the literal transcriptions have none.
            if field.endswith(ending) and not field.startswith(("projection", "recurrent"))
        },
        **frames,
        id2label=names,
        label2id={v: k for k, v in names.items()},
    )


def _log_mel(dropout: float, norm_over: str = "channels") -> LogMelConfig:
    return LogMelConfig(
        norm_over=norm_over,
        conv_channels=(4, 8),
        conv_strides=((2, 2), (2, 2)),
        hidden_size=16,
        n_mels=16,
        dropout=dropout,
        mask_time_prob=dropout / 2,
        mask_freq_width=4 if dropout else 0,
    )


def _wav2vec2(dropout: float) -> Wav2Vec2Config:
    return Wav2Vec2Config(
        feat_extract_norm="group",
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        hidden_dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        feat_proj_dropout=dropout,
        layerdrop=dropout,
        apply_spec_augment=False,
        # Far from transformers' 0.02, with which so small an encoder says the same about every clip.
        initializer_range=0.3,
    )


def _whisper(dropout: float) -> WhisperConfig:
    return WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        num_mel_bins=80,
        max_source_positions=50,
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        encoder_layerdrop=dropout,
        init_std=0.3,
    )


# Kinds of encoders, of which the tests make small ones: a dropout -> its configuration.
_ENCODERS = {
    "log-mel": _log_mel,
    "batch-norm": functools.partial(_log_mel, norm_over="batch"),
    "wav2vec2": _wav2vec2,
    "whisper": _whisper,
}


def tiny_model(config: Any = None, seed: int = 0, family: str = "prototype") -> Any:
    torch.manual_seed(seed)
    return load_family(family)(config or tiny_config(family=family))


def extractor(model: Any) -> Any:
    return model.make_feature_extractor()
