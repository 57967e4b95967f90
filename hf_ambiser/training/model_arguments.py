"""Which model a run trains: its family, its encoder, what of it is frozen or adapted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hf_ambiser.models import available_families, load_family


@dataclass
class ModelArguments:
    """Which family and encoder, what is trained, and fields of the configurations that differ from their defaults."""

    model_family: str | None = field(
        default=None, metadata={"help": f"One of {available_families()}; none: the one that the method is made for."}
    )
    encoder: str | None = field(
        default=None,
        metadata={"help": "Pretrained wav2vec 2.0-like encoder (Hub name or folder); none: log-mel, from scratch."},
    )
    encoder_fields: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Fields of the encoder's configuration (JSON on the command line); without `encoder` also its"
            " `model_type`, for example wav2vec2: that architecture from scratch, transformers' defaults its size."
        },
    )
    model_fields: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Fields of the model's configuration (JSON on the command line)."}
    )
    freeze: str = field(default="none", metadata={"help": "none, feature_encoder (the convolutions) or encoder."})
    lora: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Fields of peft's LoraConfig, for example {r: 8}; none: no adapter."}
    )

    def __post_init__(self) -> None:
        for name in ("encoder_fields", "model_fields", "lora"):
            setattr(self, name, _mapping(name, getattr(self, name)))
        if self.model_family is not None:
            load_family(self.model_family)
        if self.freeze not in ("none", "feature_encoder", "encoder"):
            raise ValueError(f"freeze={self.freeze!r} is not one of ['none', 'feature_encoder', 'encoder'].")


def _mapping(name: str, value: Any) -> Any:
    """A mapping, also from its JSON on the command line; None stays None."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f'{name}={value!r} is not JSON ({error}); give for example {{"field": 1}}.') from None
    if not isinstance(value, dict | None):
        raise ValueError(f"{name}={value!r} must be a mapping of fields, not {type(value).__name__}.")
    return value
