"""Slow training for literal transcriptions: one utterance after the other, plain gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hf_ambiser.training.trainer import AmbiSERTrainer


def recorded(trainer_class: type[AmbiSERTrainer]) -> type[AmbiSERTrainer]:
    """A subclass that keeps in `seen` the (utterances, roles) of each optimiser step."""

    class Recorded(trainer_class):  # type: ignore[misc, valid-type]
        def update_state(self, rows: dict[str, Tensor]) -> None:
            super().update_state(rows)
            self.seen = [*getattr(self, "seen", []), (rows["index"].tolist(), rows["role"].tolist())]

    return Recorded


def logits_alone(network: Any, trainer: AmbiSERTrainer, i: int) -> Tensor:
    """Logits `(K,)` of one row of the label table, alone in its batch."""
    batch = trainer.collate([[trainer.data.row(i)]])
    return network(input_values=batch["input_values"], attention_mask=batch["attention_mask"]).logits[0]


def answers_alone(network: Any, trainer: AmbiSERTrainer, rows: Sequence[int]) -> Tensor:
    """Logits `(R, K)` of rows in evaluation mode, without gradient."""
    network.eval()
    with torch.no_grad():
        answers = torch.stack([logits_alone(network, trainer, i) for i in rows])
    network.train()
    return answers


def descend(networks: Sequence[Any], loss: Callable[[], Tensor], rate: float) -> None:
    """One step of gradient descent of all networks on one loss."""
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter -= rate * gradient


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """`-sum_k t_k log softmax(z)_k` of one utterance."""
    return -sum(float(t) * (z - torch.logsumexp(logits, dim=0)) for t, z in zip(target, logits, strict=True))


def assert_same_network(got: Any, expected: Any) -> None:
    """The same parameters, up to rounding."""
    for (name, p), q in zip(got.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
