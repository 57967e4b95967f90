"""SLC's formulas a second time: one sample and one class after another, as the paper writes them, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence


Row = Sequence[float]


def softmax(logits: Row) -> list[float]:
    """Eq. 8."""
    exponentials = [math.exp(o) for o in logits]
    return [e / sum(exponentials) for e in exponentials]


def corrected(votes: Row, prediction: Row, alpha: float) -> list[float]:
    """Eq. 6, second case."""
    return [(1 - alpha) * y + alpha * g for y, g in zip(votes, prediction, strict=True)]


def inter_class_difference(p: Row, y: Row, beta: float, printed: bool) -> float:
    """Eq. 9 of one sample, with Eq. 10 as printed or with its last term as in Eq. 16's v."""
    total = 0.0
    for j in range(len(p)):
        for k in range(len(p)):
            u = max(0.0, (1 - y[j]) * (p[j] + beta) - (y[j] if printed else y[k]) * p[k])
            total += math.exp(u) - 1
    return total


def joint_loss(
    logits: Sequence[Row],
    votes: Sequence[Row],
    ambiguous: Sequence[bool],
    alpha: float,
    beta: float,
    class_weight: Row,
    objective: str = "joint",
    printed: bool = False,
    against_votes: bool = False,
    target_logits: Sequence[Row] | None = None,
) -> float:
    """Eq. 11 of a batch: Eq. 7 over all samples, each weighted by the expectation of its class weight, and Eq. 9."""
    n_b = sum(ambiguous)
    cross_entropy, inter_class = 0.0, 0.0
    # Where a gradient is wanted the target stays what it is, made of `target_logits`: Eq. 16 does not go through it.
    for o, fixed, y_s, in_s_b in zip(logits, target_logits or logits, votes, ambiguous, strict=True):
        p = softmax(o)
        y_c = corrected(y_s, softmax(fixed), alpha) if in_s_b else list(y_s)
        weight = sum(w * y for w, y in zip(class_weight, y_c, strict=True))
        cross_entropy += weight * -sum(y * math.log(q) for y, q in zip(y_c, p, strict=True))
        if in_s_b or objective == "inter_class":
            y = y_s if against_votes else y_c
            inter_class += inter_class_difference(p, y, beta, printed)
    cross_entropy /= len(logits)
    if objective == "cross_entropy":
        return cross_entropy
    if objective == "inter_class":
        return inter_class / len(logits)
    return cross_entropy + (inter_class / n_b if n_b else 0.0)
