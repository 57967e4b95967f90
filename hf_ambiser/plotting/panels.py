"""Panels of a figure, drawn without a window system, and written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_ambiser.run_folder.layout import whole


DPI = 130


def panels(n: int, width: float, height: float, columns: int = 5, share: bool = False) -> tuple[Any, list[Any]]:
    """A figure of n panels, `width` x `height` inches each, at most `columns` in a row; and its axes, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(n, columns)
    down = -(-n // across)
    figure = Figure(figsize=(max(width * across, 3.6) + 0.4, height * down + 0.5), layout="constrained")
    FigureCanvasAgg(figure)  # no window system, no global state
    axes = figure.subplots(down, across, squeeze=False, sharex=share, sharey=share).ravel().tolist()
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
    for empty in axes[n:]:
        empty.set_visible(False)
    return figure, axes[:n]


def grid(axis: Any) -> None:
    """A light grid, and no frame that says nothing."""
    axis.grid(alpha=0.25, linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def legend(figure: Any, axis: Any) -> None:
    """One legend for all panels, beside them: it covers no line."""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)


def literal(name: str) -> str:
    """A name as matplotlib shows it: a dollar is no formula, and a legend leaves out what begins with `_`."""
    return name.replace("$", r"\$") if not name.startswith("_") else "\u200b" + name.replace("$", r"\$")


def save(figure: Any, out: Path) -> Path:
    """Write a PNG, whole or not at all."""
    with whole(out) as part:
        figure.savefig(part, dpi=DPI, format="png")
    return out
