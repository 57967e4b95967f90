"""The model that an adapter belongs to. Without the very encoder and head it began with, it is worth nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from hf_ambiser.run_folder.layout import whole
from hf_ambiser.training.trainer import AmbiSERTrainer


def save_base(model: Any, extractor: Any, base: Path) -> None:
    """Write a model without adapter, and its feature extractor, unless the folder is there."""
    if not base.is_dir():
        with whole(base) as part:  # a save cut short must not pass for the base model
            model.save_pretrained(part)
            extractor.save_pretrained(part)


def keep_base_of(trainer: AmbiSERTrainer, base: Path) -> None:
    """For a trainer whose model has an adapter: save the model it belongs to, and name it in the adapter.

    The command does both before it makes the adapter. Here the model has been trained, but peft leaves what an adapter
    changes as it was, and so does it with the layers of which it trains a copy (`modules_to_save`).

    Args:
        trainer: A trainer of any model; without an adapter nothing is done.
        base: The folder.
    """
    wrapped: Any = trainer.accelerator.unwrap_model(trainer.model)  # type: ignore[arg-type]
    if not hasattr(wrapped, "peft_config"):
        return
    if trainer.is_world_process_zero():
        adapted = trainer.bare_model()
        config = copy.deepcopy(adapted.config)
        for name in vars(config).keys() - vars(type(config)()).keys():
            if not name.startswith("_"):
                delattr(config, name)  # the Trainer adds `use_cache`
        with torch.random.fork_rng():
            model = type(adapted)(config)
        state = {
            name.replace(".base_layer.", ".").replace(".original_module.", "."): tensor
            for name, tensor in adapted.state_dict().items()
            if ".lora_" not in name and ".modules_to_save." not in name
        }
        model.load_state_dict(state)
        save_base(model, trainer.processing_class, base)
    for adapter in wrapped.peft_config.values():
        adapter.base_model_name_or_path = str(base.absolute())
