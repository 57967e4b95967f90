"""What a checkpoint says about its answers: a temperature, which class is answered, and when it abstains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_ambiser.run_folder.decision import is_balance, is_number


@dataclass(frozen=True)
class Decision:
    """How logits become an answer. A checkpoint stores it as `decision` in its config.json, a plain dictionary.

    Args:
        temperature: The logits are divided by it before the softmax.
        threshold: Least probability of the class that is answered; below it the model abstains. None: it never
            abstains.
        tau: The class with the largest p_k / m_k^tau is answered (`metrics.balanced_lead`); 0: the leading one.
        shares: m, the K classes' shares of the model's answers. Empty if tau is 0.
    """

    temperature: float = 1.0
    threshold: float | None = None
    tau: float = 0.0
    shares: tuple[float, ...] = ()

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
        if not (is_number(temperature) and temperature > 0):
            raise ValueError(f"config.json: decision.temperature is {temperature!r}; allowed: a number above 0.")
        where, value = ("threshold", threshold)
        if threshold is None:
            where, value = ("config.json: decision.threshold", stored.get("threshold"))
        if not (value is None or (is_number(value) and 0 <= value <= 1)):
            raise ValueError(f"{where} is {value!r}; allowed: a probability, 0 (never abstain) to 1.")
        return cls(float(temperature), None if value is None else float(value), *_balance(stored, config))

    def lead(self, probabilities: np.ndarray) -> int:
        """Return the class that is answered, of probabilities `(K,)`."""
        if not self.tau:
            return int(probabilities.argmax())
        # As `metrics.balanced_lead`, which is not imported: its package needs more than answers do.
        m = np.asarray(self.shares)
        with np.errstate(divide="ignore"):
            beside = np.log(probabilities) - self.tau * np.log(np.where(m > 0, m, 1.0))
        beside = np.where(probabilities > 0, beside, -np.finfo(np.float64).max)
        return int(np.where(m > 0, beside, -np.inf).argmax())


def _balance(stored: Mapping[str, Any], config: Any) -> tuple[float, tuple[float, ...]]:
    """Tau and the classes' shares; 0 and nothing without a balance.

    Raises:
        ValueError: If one is out of range, or the shares are not those of the model's classes.
    """
    balance = stored.get("balance")
    if balance is None:
        return 0.0, ()
    k = len(config.id2label)
    if not is_balance(balance, k):
        raise ValueError(
            f"config.json: decision.balance is {balance!r}; allowed: a tau above 0 and {k} shares of 0 or more, one"
            " for each class, or null."
        )
    return float(balance["tau"]), tuple(map(float, balance["shares"]))
