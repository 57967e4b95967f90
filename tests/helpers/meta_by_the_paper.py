"""Fujioka et al., section 2.2, written down a second time: utterance by utterance and class by class, in float64.

Nothing here comes from the package but the network (the paper's BLSTM), called on one utterance at a time. Where the
paper leaves something open, the project's reading is taken and named. Tensors are used for autograd only.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor


class Network:
    """A trained network in float64, without dropout, one utterance at a time."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = copy.deepcopy(model).double().eval()
        self.parameters = dict(self.model.named_parameters())

    def y(self, x: Tensor) -> list[Tensor]:
        """Eq. 3: probabilities of the classes."""
        h = list(self.model(x[None]).logits[0].double())
        e = [torch.exp(v) for v in h]
        return [v / sum(e) for v in e]


def largest(values: list[float]) -> int:
    """Eq. 5; the first of equals."""
    return values.index(max(values))


def initial_w(labels: list[list[float]], form: str = "eq4") -> list[float]:
    """Eq. 4 (and what Table 3 prints)."""
    n, classes = len(labels), len(labels[0])
    numerator = []
    for row in labels:
        c = largest(row)
        numerator.append(sum(other[c] for other in labels))
    if form == "table3":
        return [value * classes / n for value in numerator]
    return [value / (sum(numerator) / n) for value in numerator]


def s(l: list[Tensor]) -> list[Tensor]:  # noqa: E741
    """Eq. 7."""
    e = [torch.exp(v) for v in l]
    return [v / sum(e) for v in e]


def loss(target: list[Tensor], w: Tensor, y: list[Tensor]) -> Tensor:
    """Eq. 6."""
    return -sum(t * torch.log(p) for t, p in zip(target, y, strict=True)) / w


class Labels:
    """l, w and their optimiser, for every utterance (the paper gives none: SGD or Adam, in l and log w)."""

    def __init__(self, labels: list[list[float]], scale: float, form: str, kind: str, rates: tuple[float, float]):
        self.l = [[value * scale for value in row] for row in labels]
        self.w = initial_w(labels, form)
        self.kind, self.rates = kind, rates
        self.moments: dict[tuple, list[float]] = {}

    def target(self, n: int) -> list[Tensor]:
        return s([torch.tensor(value, dtype=torch.float64) for value in self.l[n]])

    def network_loss(self, network: Network, batch: list[tuple[int, Tensor]]) -> Tensor:
        """What a step of the network goes down: the mean of Eq. 6 over its utterances."""
        terms = [loss(self.target(n), torch.tensor(self.w[n]), network.y(x)) for n, x in batch]
        return sum(terms) / len(batch)

    def gradient(self, n: int, y: list[Tensor]) -> tuple[list[float], float]:
        """Of Eq. 6 in l and in log w, by autograd; the network is fixed."""
        l = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in self.l[n]]  # noqa: E741
        log_w = torch.tensor(math.log(self.w[n]), dtype=torch.float64, requires_grad=True)
        *of_l, of_w = torch.autograd.grad(loss(s(l), torch.exp(log_w), [v.detach() for v in y]), [*l, log_w])
        return [float(g) for g in of_l], float(of_w)

    def _change(self, key: tuple, gradient: float, rate: float) -> float:
        if self.kind == "sgd":
            return -rate * gradient
        m, v, t = self.moments.get(key, [0.0, 0.0, 0])
        m, v, t = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2, t + 1
        self.moments[key] = [m, v, t]
        return -rate * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)

    def update(self, n: int, y: list[Tensor]) -> None:
        """One step of one utterance; w grows by e at most (the project's bound)."""
        of_l, of_w = self.gradient(n, y)
        self.l[n] = [v + self._change(("l", n, c), of_l[c], self.rates[0]) for c, v in enumerate(self.l[n])]
        self.w[n] *= math.exp(max(-1.0, min(1.0, self._change(("w", n), of_w, self.rates[1]))))

    def end_of_epoch(self) -> None:
        """Eq. 8, once per label epoch (the project's reading)."""
        mean = sum(self.w) / len(self.w)
        self.w = [value / mean for value in self.w]
