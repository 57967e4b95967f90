"""The frames of all layers of an encoder, and their weighted sum with learned weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class LayerMix(nn.Module):
    """Weighted sum of the frames of all layers, as in SUPERB (Yang et al., 2021, section 3): weights sum to 1.

    Args:
        n: Number of layers, with what enters the lowest one.
        normalize: Whether each frame of each layer is first scaled to mean 0 and variance 1, without learned factors.
            In many encoders the layers differ in size by orders of magnitude, so that the largest would rule the sum.
    """

    def __init__(self, n: int, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.weight = nn.Parameter(torch.zeros(n))

    def reset_parameters(self) -> None:
        """Give all layers the same weight."""
        with torch.no_grad():
            self.weight.zero_()

    def forward(self, layers: Tensor) -> Tensor:
        """Frames (B, L, T, H) of L layers -> their weighted sum (B, T, H)."""
        if self.normalize:
            layers = nn.functional.layer_norm(layers, layers.shape[-1:])
        weight = torch.softmax(self.weight.float(), dim=0).to(layers.dtype)
        return torch.einsum("l,blth->bth", weight, layers)


@contextmanager
def layer_inputs(layers: Sequence[nn.Module]) -> Iterator[list[Tensor | None]]:
    """Collect what enters each of an encoder's layers in a forward pass; None for a layer that was skipped.

    Raises:
        ValueError: During the forward pass, if reentrant checkpointing hides the layers' gradient.
    """
    inputs: list[Tensor | None] = [None] * len(layers)
    learns = torch.is_grad_enabled()

    def keep(i: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if learns and not torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters()):
                raise ValueError(
                    "gradient_checkpointing with use_reentrant=True gives no gradient to the weighted sum of all"
                    " layers. Set gradient_checkpointing_kwargs={'use_reentrant': False}, or layers='last'."
                )
            inputs[i] = args[0] if args else kwargs["hidden_states"]

        return hook

    handles = [layer.register_forward_pre_hook(keep(i), with_kwargs=True) for i, layer in enumerate(layers)]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()
