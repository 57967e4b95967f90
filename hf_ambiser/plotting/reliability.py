"""Reliability diagrams: what the model's confidence is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ReliabilityCurve:
    """One line of a reliability diagram, over B bins of confidence that hold utterances.

    Args:
        name: In the legend.
        colour: As matplotlib takes it.
        confidence: `(B,)` mean confidence in the answer.
        outcome: `(B,)` what came true: the share of right answers, or of votes for the answer.
        n: `(B,)` utterances.
    """

    name: str
    colour: str
    confidence: np.ndarray
    outcome: np.ndarray
    n: np.ndarray


def draw_reliability(axes: Any, curves: Sequence[ReliabilityCurve], outcome: str, by_size: bool = False) -> None:
    """Draw curves beside the dashed diagonal of perfect calibration.

    Args:
        axes: Where to draw.
        curves: What to draw; curves without bins are left out.
        outcome: Label of the vertical axis.
        by_size: Whether a bin's mark grows with its share of the curve's utterances.
    """
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    for curve in curves:
        if not len(curve.n):
            continue
        mark = "" if by_size else "o"
        axes.plot(curve.confidence, curve.outcome, marker=mark, color=curve.colour, label=curve.name)
        if by_size:
            axes.scatter(curve.confidence, curve.outcome, s=90 * curve.n / curve.n.sum() + 6, color=curve.colour)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence of the answer", ylabel=outcome)
    axes.grid(alpha=0.3)
