"""Networks that begin again in the middle of a run, each from the weights with which it began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from hf_ambiser.training.companions import trained_state


if TYPE_CHECKING:
    from hf_ambiser.training.trainer import AmbiSERTrainer


def beginning(name: str, network: nn.Module) -> dict[str, Tensor]:
    """Return copies of what training changes in a network, as `begin.<name>.<tensor>`, for the method's state."""
    return {_key(name, key): tensor.detach().clone() for key, tensor in trained_state(network).items()}


def begin_round(trainer: AmbiSERTrainer, round_name: str, now: int, networks: Mapping[str, nn.Module]) -> None:
    """Put networks back to their beginnings if a new round begins; call this in `begin_epoch`.

    Args:
        trainer: Its `method_state` holds what `beginning` returned.
        round_name: The entry of `method_state` with the number of the round that has begun last.
        now: Number of the round of the running epoch.
        networks: Name in the method's state -> network.
    """
    begun = trainer.method_state[round_name]
    # An epoch begins again on a resume in its middle, and then the networks have begun this round already.
    if now > int(begun):
        for name, network in networks.items():
            begin_again(name, network, trainer.method_state, cast("torch.optim.Optimizer", trainer.optimizer))
        if networks:
            trainer.begin_average()
        begun.fill_(now)


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
