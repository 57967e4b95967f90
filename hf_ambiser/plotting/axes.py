"""A figure with one pair of axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_ambiser.plotting.figure import new_figure
from hf_ambiser.run_folder.layout import RunFolder


def new_axes(x: str, y: str, size: tuple[float, float] = (7, 4.2)) -> tuple[Any, Any]:
    """A figure and its axes, with labels and a light grid."""
    figure = new_figure(size)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def mark_warmup(axes: Any, run: Path) -> None:
    """Draw a dashed line where the warm-up of a run ends, if it has one."""
    arguments = RunFolder(run).read_arguments()
    if "warmup_epochs" in arguments:
        axes.axvline(arguments["warmup_epochs"] + 0.5, color="grey", linestyle="--", linewidth=1)
        axes.annotate("warm-up ends", (arguments["warmup_epochs"] + 0.6, axes.get_ylim()[0]), fontsize=7, color="grey")
