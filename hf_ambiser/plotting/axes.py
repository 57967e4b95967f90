"""Axes of this project's figures, without a window system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_ambiser.run_folder.layout import RunFolder


def new_axes(x: str, y: str, size: tuple[float, float] = (7, 4.2)) -> tuple[Any, Any]:
    """Figure and axes with labels and a light grid."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)  # no window system, no global state
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def mark_warmup(axes: Any, run: Path) -> None:
    """A dashed line where the warm-up of a run ends, if it has one."""
    arguments = RunFolder(run).read_arguments()
    if "warmup_epochs" in arguments:
        axes.axvline(arguments["warmup_epochs"] + 0.5, color="grey", linestyle="--", linewidth=1)
        axes.annotate("warm-up ends", (arguments["warmup_epochs"] + 0.6, axes.get_ylim()[0]), fontsize=7, color="grey")


def save(figure: Any, out: Path) -> Path:
    """Write the figure as PNG, without the name of what wrote it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100, metadata={"Software": None})
    return out
