"""Reads the arguments of a trainer that was made in Python, for its card and its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from accelerate.state import AcceleratorState

from hf_ambiser.data.split_source import sources_of
from hf_ambiser.models import family_of
from hf_ambiser.training.trainer import AmbiSERTrainer


# These fields of a configuration are not shown: they follow from the data and the model itself.
_NAMES_OF_CLASSES = ("id2label", "label2id", "num_labels", "model_type", "transformers_version", "architectures")


def given_by(trainer: AmbiSERTrainer, tests: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields for `RunArguments.from_mapping` that describe a trainer: method, data, model, changed arguments.

    Args:
        trainer: A trainer on splits of `load_split`.
        tests: Its test splits by name.
    """
    sources = {
        "train_splits": trainer.data.labelled_sources,
        "ambiguous_splits": trainer.data.ambiguous_sources,
        "test_splits": [source for split in tests.values() for source in sources_of(split)],
    }
    every = [source for found in sources.values() for source in found]
    places = {"dataset": every[0].dataset, "dataset_config": every[0].config} if every else {}
    revealed = list(dict.fromkeys(source.split for source in every if source.revealed))
    return {
        "method": trainer.name,
        **places,
        **{name: [source.split for source in found] for name, found in sources.items() if found},
        **({"reveal_splits": revealed} if revealed else {}),
        **_model_fields(trainer),
        **_changed(trainer.args),
    }


def _model_fields(trainer: AmbiSERTrainer) -> dict[str, Any]:
    """Return family, encoder, changed fields, frozen part and adapter, as far as the model shows them."""
    model = trainer.bare_model()
    found: dict[str, Any] = {}
    family = family_of(model.config)
    if family != trainer.model_family:
        found["model_family"] = family
    if model.pretrained_encoder:
        found["encoder"] = model.pretrained_encoder
    elif getattr(model.config, "encoder_config", None) is not None:
        found["encoder_fields"] = {"model_type": model.config.encoder_config.model_type} | _own(
            model.config.encoder_config.to_diff_dict()
        )
    own = {name: value for name, value in _own(model.config.to_diff_dict()).items() if name != "encoder_config"}
    if own:
        found["model_fields"] = own
    encoder = getattr(model, "encoder", None)
    if encoder is not None and not any(p.requires_grad for p in encoder.parameters()) and _adapter(trainer) is None:
        found["freeze"] = "encoder"
    adapter = _adapter(trainer)
    if adapter is not None:
        found["lora"] = {"r": adapter.r, "lora_alpha": adapter.lora_alpha}
    return found


def _adapter(trainer: AmbiSERTrainer) -> Any:
    model: Any = trainer.accelerator.unwrap_model(trainer.model)  # type: ignore[arg-type]
    return next(iter(model.peft_config.values()), None) if hasattr(model, "peft_config") else None


def _own(differences: Mapping[str, Any]) -> dict[str, Any]:
    """Return those differences of a configuration from its defaults that a user gives."""
    return {k: v for k, v in differences.items() if k not in _NAMES_OF_CLASSES and not k.startswith("_")}


def _changed(args: Any) -> dict[str, Any]:
    """Return the training arguments that differ from their defaults, as plain values."""
    # To make arguments resets the state that the trainer's accelerator shares with all others. The trainer still needs
    # it to score the test splits, so it is put back.
    shared = dict(AcceleratorState._shared_state)
    defaults = type(args)(output_dir=args.output_dir, use_cpu=args.use_cpu)
    AcceleratorState._shared_state.update(shared)
    changed = {}
    for field in fields(args):
        value = getattr(args, field.name)
        value = getattr(value, "value", value)  # an enumeration's own value
        default = getattr(defaults, field.name)
        plain = value is None or isinstance(value, bool | int | float | str | list | dict)
        if field.init and plain and value != getattr(default, "value", default):
            changed[field.name] = value
    return {"output_dir": args.output_dir, **changed}
