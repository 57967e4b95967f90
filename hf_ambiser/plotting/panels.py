"""A figure with several panels, as a report has them: more pixels and smaller letters than a card's figure."""

from __future__ import annotations

from typing import Any

from hf_ambiser.plotting.figure import new_figure


DPI = 130


def panels(n: int, width: float, height: float, columns: int = 5, share: bool = False) -> tuple[Any, list[Any]]:
    """A figure of n panels, `width` x `height` inches each, at most `columns` in a row; and its axes, row by row."""
    across = min(n, columns)
    down = -(-n // across)
    figure = new_figure((max(width * across, 3.6) + 0.4, height * down + 0.5), DPI)
    axes = figure.subplots(down, across, squeeze=False, sharex=share, sharey=share).ravel().tolist()
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
    for empty in axes[n:]:
        empty.set_visible(False)
    return figure, axes[:n]


def grid(axis: Any) -> None:
    """Draw a light grid and remove the upper and the right edge of the frame."""
    axis.grid(alpha=0.25, linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def legend(figure: Any, axis: Any) -> None:
    """Draw one legend for all panels, beside them, where it covers no line."""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)


def literal(name: str) -> str:
    """A name so that matplotlib shows it as it is: a dollar begins no formula, and `_` hides it in no legend."""
    return name.replace("$", r"\$") if not name.startswith("_") else "\u200b" + name.replace("$", r"\$")
