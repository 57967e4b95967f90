"""What training changes in a network."""

from __future__ import annotations

from torch import Tensor, nn


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes in a model, as views: its trainable parameters and its buffers."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}
