"""What a checkpoint says about its answers: a temperature, and the threshold under which it abstains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decision:
    """How logits become an answer. A checkpoint stores it as `decision` in its config.json, a plain dictionary.

    Args:
        temperature: The logits are divided by it before the softmax.
        threshold: Least probability of the leading class; below it the model abstains. None: it never abstains.
    """

    temperature: float = 1.0
    threshold: float | None = None

    @classmethod
    def of(cls, config: Any, threshold: float | None = None) -> Decision:
        """Return the decision of a model's configuration; a `threshold` of the caller's replaces the stored one.

        Raises:
            ValueError: If a value is out of range.
        """
        stored = getattr(config, "decision", None)
        if stored is None:
            stored = {}
        if not isinstance(stored, Mapping):
            raise ValueError(f"config.json: decision is {stored!r}; allowed: an object, or leave it out.")
        temperature = stored.get("temperature", 1.0)
        if not (_is_number(temperature) and temperature > 0):
            raise ValueError(f"config.json: decision.temperature is {temperature!r}; allowed: a number above 0.")
        where, value = ("threshold", threshold)
        if threshold is None:
            where, value = ("config.json: decision.threshold", stored.get("threshold"))
        if not (value is None or (_is_number(value) and 0 <= value <= 1)):
            raise ValueError(f"{where} is {value!r}; allowed: a probability, 0 (never abstain) to 1.")
        return cls(float(temperature), None if value is None else float(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
