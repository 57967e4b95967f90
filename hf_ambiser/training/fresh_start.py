"""Networks that begin again in the middle of a run, each from the weights with which it began."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hf_ambiser.training.companions import trained_state


def beginning(name: str, network: nn.Module) -> dict[str, Tensor]:
    """Return copies of what training changes in a network, as `begin.<name>.<tensor>`, for the method's state."""
    return {_key(name, key): tensor.detach().clone() for key, tensor in trained_state(network).items()}


@torch.no_grad()
def begin_again(name: str, network: nn.Module, state: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Put a network back to its beginning, in place, and let the optimiser forget the gradients that it has seen.

    Args:
        name: The network's name in the method's state.
        network: The network.
        state: Holds what `beginning` returned.
        optimizer: Its moments of this network's parameters are dropped; learning rates go on as scheduled.
    """
    for key, tensor in trained_state(network).items():
        tensor.copy_(state[_key(name, key)])
    for parameter in network.parameters():
        optimizer.state.pop(parameter, None)


def _key(name: str, tensor: str) -> str:
    return f"begin.{name}.{tensor}"
