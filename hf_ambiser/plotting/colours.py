"""Colours of classes and systems, the same in every figure and on the page (after Okabe and Ito)."""

from __future__ import annotations


PALETTE = (
    "#d55e00",
    "#e69f00",
    "#0072b2",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#8c6d31",
    "#5f5f5f",
    "#7a3db8",
    "#b8a100",
)
NONE = "#b0b0b0"


def colour(index: int) -> str:
    """The colour of a class or a system by its index; -1 (no consensus) is grey."""
    return NONE if index < 0 else PALETTE[index % len(PALETTE)]
