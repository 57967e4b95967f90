"""A figure without a window system, and how it becomes a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_ambiser.run_folder.layout import whole


DPI = 100


def new_figure(size: tuple[float, float], dpi: int = DPI) -> Any:
    """An empty figure of `size` (width, height) in inches. No window and no state of the process is involved."""
    # Imported here: a machine that only trains may lack matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, out: Path) -> Path:
    """Write a PNG at the figure's own resolution, whole or not at all.

    The name and version of the drawing library are left out: the same figure gives the same bytes.
    """
    with whole(out) as part:
        figure.savefig(part, dpi="figure", format="png", metadata={"Software": None})
    return out
