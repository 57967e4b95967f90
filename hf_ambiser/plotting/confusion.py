"""Matrices of class against class, in per cent of the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def draw_confusion(
    axes: Any, counts: np.ndarray, names: Sequence[str], totals: bool = False, size: float = 10
) -> None:
    """Draw a confusion matrix: rows are the raters' consensus, columns the model's answer.

    Args:
        axes: Where to draw.
        counts: `(K, K)` utterances. A class without utterances has an empty row.
        names: The K class names.
        totals: Whether each row's name has its number of utterances.
        size: Of the letters, in points.
    """
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.full(counts.shape, np.nan), where=rows > 0)
    rows_named = [f"{name} ({int(n)})" for name, n in zip(names, rows[:, 0], strict=True)] if totals else names
    draw_shares(axes, shares, names, rows_named, size)


def draw_shares(axes: Any, shares: np.ndarray, columns: Sequence[str], rows: Sequence[str], size: float = 10) -> Any:
    """Draw a matrix of shares as a heat map with its numbers in per cent; the image, for a colour bar.

    Args:
        axes: Where to draw.
        shares: `(K, K)` of 1; NaN stays empty.
        columns: K names.
        rows: K names.
        size: Of the letters, in points.
    """
    image = axes.imshow(100 * shares, vmin=0, vmax=100, cmap="Blues")
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            ink = "white" if share > 0.55 else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=ink, fontsize=size)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=size)
    axes.set_yticks(range(len(rows)), rows, fontsize=size)
    return image
