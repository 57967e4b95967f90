"""Which model a run trains: its family, its encoder, which parts are frozen or adapted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hf_ambiser.files.json_words import from_json
from hf_ambiser.models import available_families, load_family
from hf_ambiser.training.places import expanded
from hf_ambiser.untrusted.code_fields import refuse_code


@dataclass
class ModelArguments:
    """The model's family and encoder, what is trained, and fields of the configurations that are not the defaults."""

    # Arguments whose value may be a system of the same study, whose cell then runs first.
    of_system: ClassVar[tuple[str, ...]] = ("pretrained",)
    # Arguments that say the architecture. Without them it is that of the trained model that a run begins with.
    of_architecture: ClassVar[tuple[str, ...]] = ("model_family", "encoder", "encoder_fields")

    model_family: str | None = field(
        default=None, metadata={"help": f"One of {available_families()}; default: the family of the method."}
    )
    encoder: str | None = field(
        default=None,
        metadata={
            "help": "Pretrained encoder (Hub name or folder), for example openai/whisper-small; default: log-mel from"
            " scratch. A folder may begin with a variable of the environment, as $AMBISER_ENCODERS/whisper-tiny.en."
        },
    )
    encoder_fields: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Fields of the encoder's configuration (JSON on the command line). Without `encoder`, `model_type`"
            " chooses an architecture to train from scratch, for example wav2vec2, in transformers' default size."
        },
    )
    model_fields: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Fields of the model's configuration (JSON on the command line)."}
    )
    pretrained: str | None = field(
        default=None,
        metadata={
            "help": "Begin with the weights of a trained model: a Hub name, the folder of a model or a finished run,"
            " or the name of a system of the same study, whose run on the same fold and seed is used. Without a"
            " family and an encoder its architecture is used, too."
        },
    )
    freeze: str = field(
        default="none",
        metadata={
            "help": "none, feature_encoder (the convolutions), encoder, or a number n: the encoder's lowest n layers"
            " and everything below them."
        },
    )
    lora: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Fields of peft's LoraConfig, for example {r: 8}; default: no adapter."}
    )

    def __post_init__(self) -> None:
        for name in ("encoder_fields", "model_fields", "lora"):
            setattr(self, name, _mapping(name, getattr(self, name)))
            refuse_code(_without_our_map(name, getattr(self, name)), name)
        if self.model_family is not None:
            load_family(self.model_family)
        self.freeze = str(self.freeze)  # YAML reads a number of layers as one
        if self.freeze not in ("none", "feature_encoder", "encoder") and not self.freeze.isdecimal():
            raise ValueError(
                f"freeze={self.freeze!r} is not one of ['none', 'feature_encoder', 'encoder'] or a number of layers."
            )

    @property
    def encoder_place(self) -> str | None:
        """Hub name or folder of the encoder, with variables of the environment replaced by their values.

        Raises:
            ValueError: If a variable is not set.
        """
        if self.encoder is None:
            return None
        return expanded("encoder", self.encoder)


def _without_our_map(name: str, fields: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields without a map to our own files, which runs made in Python note and configurations drop."""
    fields = dict(fields or {})
    ours = {f"{kind}_{family}" for family in available_families() for kind in ("configuration", "modeling")}
    places = fields.get("auto_map")
    named = places.values() if isinstance(places, dict) else [None]
    if name == "model_fields" and all(isinstance(n, str) and n.rpartition(".")[0] in ours for n in named):
        fields.pop("auto_map")
    return fields


def _mapping(name: str, value: Any) -> Any:
    """Return a mapping, also from JSON on the command line; None stays None."""
    value = from_json(name, value, 'give, for example, {"field": 1}.')
    if not isinstance(value, dict | None):
        raise ValueError(f"{name}={value!r} must be a mapping of fields, not {type(value).__name__}.")
    return value
