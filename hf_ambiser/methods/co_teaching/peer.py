"""The second network: a copy of the first one that starts from other random numbers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor


# The offset is large, so that this run's second network is not another run's first network.
_SEED_OFFSET = 1_000_003


def make_peer(model: Any, seed: int) -> Any:
    """Return a copy of a model whose trainable parameters are drawn anew, except those of a pretrained encoder.

    Frozen parameters are shared tensors, not copies.

    Args:
        model: A model of `hf_ambiser.models`; peft may wrap it.
        seed: The run's seed.
    """
    peer = copy.deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad})
    fresh = _drawn_again(model, seed + _SEED_OFFSET)
    adapted = hasattr(model, "get_base_model")
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            pretrained = not adapted and name.startswith("encoder.") and _encoder_is_pretrained(model.config)
            if parameter.requires_grad and not pretrained:
                parameter.copy_(fresh[name])
    return peer.train()


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


def _encoder_is_pretrained(config: Any) -> bool:
    """Whether the encoder or the whole model was loaded from a Hub name or a folder."""
    encoder = getattr(config, "encoder_config", None)
    return bool(config._name_or_path or getattr(encoder, "_name_or_path", ""))
