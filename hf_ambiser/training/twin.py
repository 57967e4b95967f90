"""Twins: companions that are a second network like the model, which begins from other random numbers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from hf_ambiser.training.companions import SEED_OFFSET, CompanionTrainer, inputs_of


def add_twin(trainer: CompanionTrainer, name: str, seed: int, what: str) -> Any:
    """Make a twin of a trainer's model, let the trainer train it, and return it; call this in `set_up`.

    Args:
        trainer: The method.
        name: The twin's name in checkpoints.
        seed: Decides its random numbers.
        what: What it is called in errors.
    """
    model: Any = trainer.model
    twin = trainer.add_companion(name, lambda: make_twin(model, seed), what=what, twin=True)
    if trainer.args.activation_checkpointing:
        options: dict[str, Any] = dict(trainer.args.activation_checkpointing_kwargs or {})  # type: ignore[arg-type]
        own = {name: options.pop(name) for name in ("every_n_layers", "offload") if name in options}
        twin.activation_checkpointing_enable(options or None, **own)
    return twin


def logits_of(trainer: CompanionTrainer, network: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the logits `(B, K)` of a network for a batch as the collator makes it, under the run's autocast."""
    with trainer.accelerator.autocast():
        logits: Tensor = network(**inputs_of(inputs)).logits
    return logits


def make_twin(model: Any, seed: int) -> Any:
    """Return a copy of a model whose trainable parameters are drawn anew, except those of a trained encoder.

    Frozen parameters are shared tensors, not copies.

    Args:
        model: A model of `hf_ambiser.models`; peft may wrap it.
        seed: Decides its random numbers.
    """
    twin = copy.deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad})
    fresh = _drawn_again(model, seed + SEED_OFFSET)
    adapted = hasattr(model, "get_base_model")
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            pretrained = not adapted and name.startswith("encoder.") and _encoder_is_pretrained(model)
            if parameter.requires_grad and not pretrained:
                parameter.copy_(fresh[name])
    return twin.train()


def _drawn_again(model: Any, seed: int) -> dict[str, Tensor]:
    adapted = hasattr(model, "get_base_model")
    bare = model.get_base_model() if adapted else model
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh: Any = type(bare)(copy.deepcopy(bare.config))
        if adapted:
            from peft import get_peft_model

            fresh = get_peft_model(fresh, copy.deepcopy(model.peft_config[model.active_adapter]))
    return dict(fresh.named_parameters())


def _encoder_is_pretrained(model: Any) -> bool:
    """Whether the encoder or the whole model was loaded from a Hub name or a folder."""
    encoder = getattr(model.config, "encoder_config", None)
    return bool(model.begun_with or model.loaded_from or getattr(encoder, "_name_or_path", ""))
