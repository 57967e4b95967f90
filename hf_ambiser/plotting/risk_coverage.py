"""Risk-coverage curves: how many answers are wrong if only the most confident ones are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RiskCoverageLine:
    """One line, over C coverages.

    Args:
        name: In the legend.
        colour: As matplotlib takes it.
        coverage: `(C,)` shares of utterances that are answered, of 1.
        risk: `(C,)` shares of wrong answers among them.
        chosen: Coverage and risk at a chosen threshold, which get a mark; None: no mark.
    """

    name: str
    colour: str
    coverage: np.ndarray
    risk: np.ndarray
    chosen: tuple[float, float] | None = None


def draw_risk_coverage(axes: Any, lines: Sequence[RiskCoverageLine], wanted: float | None = None) -> None:
    """Draw curves in per cent, with a dashed line at the wanted risk if there is one."""
    for line in lines:
        axes.plot(100 * line.coverage, 100 * line.risk, color=line.colour, linewidth=1.6, label=line.name)
        if line.chosen is not None:
            axes.plot(100 * line.chosen[0], 100 * line.chosen[1], color=line.colour, marker="o", markersize=7)
    if wanted is not None:
        axes.axhline(100 * wanted, color="grey", linestyle="--", linewidth=1)
    axes.set_xlabel("utterances that are answered (%)")
    axes.set_ylabel("wrong answers among them (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
