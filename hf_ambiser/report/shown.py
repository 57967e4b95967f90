"""The figures that tables show: their names, units and digits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """One figure: its heading with its unit, its digits, and what its value is multiplied by to be in that unit."""

    title: str
    digits: int
    factor: float = 1.0

    def text(self, value: float | None) -> str:
        """As a reader sees it."""
        return "undefined" if value is None else f"{value * self.factor:.{self.digits}f}"

    def signed(self, value: float) -> str:
        """A difference, with its sign."""
        return f"{value * self.factor:+.{self.digits}f}"

    def interval(self, low: float, high: float, signed: bool = False) -> str:
        """As `[low, high]`."""
        ends = (self.signed(low), self.signed(high)) if signed else (self.text(low), self.text(high))
        return f"[{ends[0]}, {ends[1]}]"


COLUMNS: dict[str, Shown] = {
    "wa": Shown("WA %", 1, 100),
    "ua": Shown("UA %", 1, 100),
    "macro_f1": Shown("macro-F1 %", 1, 100),
    "js": Shown("JS (bit)", 3),
    "brier": Shown("Brier", 3),
    "entropy_pearson": Shown("entropy r", 2),
    "ece": Shown("ECE", 3),
}
# Figures that systems are compared in, pair by pair: two of the answer, one of the distribution.
COMPARED = ("wa", "ua", "js")
