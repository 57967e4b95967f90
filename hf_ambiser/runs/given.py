"""Reads the arguments of a trainer that was made in Python, for its card and its run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hf_ambiser.data.split_source import sources_of
from hf_ambiser.models import family_of
from hf_ambiser.training.trainer import AmbiSERTrainer


if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedConfig

# What a configuration holds and a user does not choose: the run's data, method and family say it.
_NOT_CHOSEN = (
    *("id2label", "label2id", "num_labels", "model_type", "transformers_version", "architectures", "dtype"),
    "custom_pipelines",
)
# Where a run is shared is no part of what it is, and a token must not come into its folder.
_SHARING = ("hub_", "push_to_hub")


def given_by(trainer: AmbiSERTrainer, tests: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields for `RunArguments.from_mapping` that describe a trainer: method, data, model, changed arguments.

    The command makes the same run of them, if `transformers.set_seed(seed)` came before the model was made: it is the
    first thing that the command does.

    Args:
        trainer: A trainer on splits of `load_split`.
        tests: Its test splits by name.

    Returns:
        Plain values only, as a YAML file holds them.
    """
    sources = {
        "train_splits": trainer.data.labelled_sources,
        "ambiguous_splits": trainer.data.ambiguous_sources,
        "test_splits": [source for split in tests.values() for source in sources_of(split)],
    }
    validation = getattr(trainer.eval_dataset, "sources", [])
    known = trainer.eval_dataset is None or bool(validation)
    every = [source for found in (*sources.values(), validation) for source in found]
    revealed = list(dict.fromkeys(source.split for source in every if source.revealed))
    given: dict[str, Any] = {
        "method": trainer.name,
        **({"dataset": every[0].dataset, "dataset_config": every[0].config} if every else {}),
        **{name: [source.split for source in found] for name, found in sources.items() if found},
        **({"validation_split": validation[0].split if validation else None} if known else {}),
        **({"reveal_splits": revealed} if revealed else {}),
        **_model_fields(trainer),
        **_changed(trainer.args),
    }
    if trainer.eval_dataset is None:
        given.pop("eval_strategy", None)  # without validation utterances the trainer itself sets it
    return json.loads(json.dumps(given))  # a list for every tuple, as the file that it is compared with has it


def beginning_by(trainer: AmbiSERTrainer) -> dict[str, Any]:
    """Return `pretrained`, and `model_fields` that were changed, if a trainer's model began as a trained one."""
    model = trainer.bare_model()
    if model.begun_with is not None:
        fields = dict(model.begun_with["fields"])
        return {"pretrained": model.begun_with["place"], **({"model_fields": fields} if fields else {})}
    return {"pretrained": model.loaded_from} if model.loaded_from else {}


def _model_fields(trainer: AmbiSERTrainer) -> dict[str, Any]:
    """Return family, encoder, changed fields, frozen part and adapter, as far as the model shows them."""
    model, adapter = trainer.bare_model(), _adapter(trainer)
    if begun := beginning_by(trainer):
        return {**begun, **_trained_part(adapter, model)}  # the architecture is that of the trained model
    found: dict[str, Any] = {}
    family = family_of(model.config)
    if family != trainer.model_family:
        found["model_family"] = family
    if model.pretrained_encoder:
        found["encoder"] = model.pretrained_encoder
        changed = {name: value for name, value in model.pretrained_encoder_fields.items() if _is_plain(value)}
        if changed:
            found["encoder_fields"] = changed
    elif getattr(model.config, "encoder_config", None) is not None:
        chosen = _chosen(model.config.encoder_config)
        acting = model.config.acting_encoder_fields(**vars(model.config))
        if acting is not None:
            chosen = {name: value for name, value in chosen.items() if name in acting}
        if acting != ():
            chosen["model_type"] = model.config.encoder_config.model_type
        if chosen:
            found["encoder_fields"] = chosen
    own = {name: value for name, value in _chosen(model.config).items() if name != "encoder_config"}
    if own:
        found["model_fields"] = own
    return {**found, **_trained_part(adapter, model)}


def _trained_part(adapter: LoraConfig | None, model: Any) -> dict[str, Any]:
    """`lora` or `freeze`, where not the whole encoder learns."""
    if adapter is not None:
        return {"lora": _adapter_fields(adapter, model)}
    return _frozen(model.encoder) if getattr(model, "encoder", None) is not None else {}


def _frozen(encoder: Any) -> dict[str, Any]:
    """`freeze`, where an encoder is frozen; its convolutions alone are its `feature_extractor`."""
    if not any(p.requires_grad for p in encoder.parameters()):
        return {"freeze": "encoder"}
    convolutions = list(getattr(encoder, "feature_extractor", encoder).parameters())  # log-mel has none to freeze
    return {"freeze": "feature_encoder"} if convolutions and not any(p.requires_grad for p in convolutions) else {}


def _adapter(trainer: AmbiSERTrainer) -> Any:
    model: Any = trainer.accelerator.unwrap_model(trainer.model)  # type: ignore[arg-type]
    return next(iter(model.peft_config.values()), None) if hasattr(model, "peft_config") else None


def _adapter_fields(adapter: LoraConfig, model: Any) -> dict[str, Any]:
    """Of an adapter, its rank and scale, and what differs from the adapter that the command makes by itself."""
    usual = type(adapter)(target_modules=model.lora_target_modules(), modules_to_save=model.lora_modules_to_save)
    # Of the place and the moment: peft sets them when it makes or saves an adapter.
    left_out = {"base_model_name_or_path", "inference_mode", "peft_version", "auto_mapping", "revision", "task_type"}
    found = {"r": adapter.r, "lora_alpha": adapter.lora_alpha}
    for name, value in adapter.to_dict().items():
        default = _plain(usual.to_dict().get(name))
        if name not in left_out and _plain(value) != default and _is_plain(_plain(value)):
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    """A set as a sorted list, an enumeration as its value."""
    return sorted(value) if isinstance(value, set | frozenset) else getattr(value, "value", value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | dict)


def _chosen(config: PreTrainedConfig) -> dict[str, Any]:
    """Of a configuration's differences from its defaults, those that a user chooses."""
    own = set(vars(type(config)())) - set(_NOT_CHOSEN)  # the Trainer adds `use_cache`
    return {name: value for name, value in config.to_diff_dict().items() if name in own and name[0] != "_"}


def _changed(args: Any) -> dict[str, Any]:
    """Training arguments that differ from their defaults, as plain values."""
    # Arguments that look for their device make accelerate forget the trainer's, so these are told theirs.
    arguments_class = type("Defaults", (type(args),), {"_setup_devices": args.device})
    defaults: Any = arguments_class(output_dir=args.output_dir)
    changed = {"output_dir": args.output_dir, **({"use_cpu": True} if args.use_cpu else {})}
    for field in fields(args):
        value = _plain(getattr(args, field.name))
        own = field.init and not field.name.startswith(_SHARING)
        if own and _is_plain(value) and value != _plain(getattr(defaults, field.name)):
            changed[field.name] = value
    return changed
