"""Adversarial learning of features that do not tell the domain: gradient reversal and domain discriminators."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.companions import CompanionTrainer
from hf_ambiser.training.domains import DomainArguments, DomainTrainer


@dataclass
class AdversaryArguments(DomainArguments):
    """Size and rate of domain discriminators; the reversed gradient grows as in Ganin et al. (2016).

    Raises:
        ValueError: If a value is not allowed.
    """

    domain_schedule: str = field(
        default="growing",
        metadata={
            "help": "The factor lambda of the reversed gradient is `constant`, or it is `growing` from 0 as 2 / (1 +"
            " exp(-gamma p)) - 1, p being the share of the training that is done (Ganin et al., section 5.2.2)."
        },
    )
    discriminator_size: int = field(
        default=1024, metadata={"help": "Units in each of the two hidden layers of a domain discriminator."}
    )
    discriminator_dropout: float = field(
        default=0.0,
        metadata={"help": "Dropout after each hidden layer of a domain discriminator, 0 or more, below 1."},
    )
    discriminator_rate: float = field(
        default=1.0, metadata={"help": "Learning rate of discriminators, as a multiple of `learning_rate`; above 0."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.discriminator_size < 1:
            raise ValueError(f"discriminator_size={self.discriminator_size} must be 1 or more.")
        if not 0 <= self.discriminator_dropout < 1:
            raise ValueError(f"discriminator_dropout={self.discriminator_dropout} must be 0 or more and below 1.")
        if self.discriminator_rate <= 0:
            raise ValueError(f"discriminator_rate={self.discriminator_rate} must be above 0.")


class AdversaryTrainer(CompanionTrainer, DomainTrainer):
    """Trains domain discriminators on the embedding, whose gradient is reversed before it comes to the model."""

    arguments_class = AdversaryArguments

    args: AdversaryArguments

    def discriminator(self) -> nn.Sequential:
        """Make a discriminator, `(B, D) -> (B, 1)` logits: above 0 it says that an utterance is ambiguous.

        Two hidden layers, as in the image experiments of both papers. It has no batch norm, which public
        implementations have: a row's answer would depend on how a step is divided.
        """
        size, drop = self.args.discriminator_size, self.args.discriminator_dropout
        layers: list[nn.Module] = []
        for given in (self.embedding_size(), size):
            layers += [nn.Linear(given, size), nn.ReLU(), nn.Dropout(drop)]
        return nn.Sequential(*layers, nn.Linear(size, 1))


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:  # type: ignore[override]
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return -ctx.factor * gradient, None


def reverse_gradient(tensor: Tensor, factor: float) -> Tensor:
    """Return the tensor as it is; its gradient is multiplied by `-factor` (Ganin et al., Eq. 16-17)."""
    reversed_: Tensor = _Reversed.apply(tensor, factor)
    return reversed_


def domain_cross_entropy(said: Tensor, batch: BatchRows) -> Tensor:
    """Return the cross-entropy `(B, ...)`, nats, of logits `(B, ...)` for "this utterance is ambiguous"."""
    domain = (~batch.labelled).float().reshape(-1, *[1] * (said.dim() - 1)).expand_as(said)
    return nn.functional.binary_cross_entropy_with_logits(said.float(), domain, reduction="none")
