"""What a checkpoint says about its answers: a temperature, which class is answered, and when it abstains."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_ambiser.run_folder.decision import is_balance, is_number


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """How logits become an answer. A checkpoint stores it as `decision` in its config.json, a plain dictionary.

    Args:
        temperature: The logits are divided by it before the softmax.
        threshold: Least probability of the class that is answered; below it the model abstains. None: it never
            abstains.
        tau: The class with the largest p_k / m_k^tau is answered (`metrics.balanced_lead`); 0: the leading one.
        shares: m, the K classes' shares of the model's answers. Empty if none are stored; then tau is 0.
    """

    temperature: float = 1.0
    threshold: float | None = None
    tau: float = 0.0
    shares: tuple[float, ...] = ()

    @classmethod
    def of(cls, config: Any, threshold: float | None = None, balance: float | None = None) -> Decision:
        """Return the decision of a model's configuration, in which values of the caller's replace the stored ones.

        Args:
            config: The configuration.
            threshold: Of the caller's; None: the stored one.
            balance: Tau of the caller's; None: the stored one.

        Raises:
            ValueError: If a value is out of range, or a `balance` is asked of a configuration without shares.
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
        own = cls(float(temperature), None if value is None else float(value), *_balance(stored, config))
        asked = own.with_tau(balance)
        if threshold is None and own.threshold and asked.tau != own.tau:
            logger.warning(
                "the stored threshold %g was chosen for tau %g, not %g: the model abstains below it as before, and"
                " which risk is left is not known.",
                own.threshold,
                own.tau,
                asked.tau,
            )
        return asked

    def with_tau(self, tau: float | None) -> Decision:
        """Return the same with a tau of the caller's; None: with its own.

        Raises:
            ValueError: If it is out of range, or there are no shares for it.
        """
        if tau is None:
            return self
        check_tau(tau)
        if not self.shares and tau:
            raise ValueError(
                f"balance is {tau:g}, and the model stores no shares of its answers, which a balanced decision needs."
                " `hf-ambiser calibrate` stores them with --balance 0, beside all else that the model's decision has"
                " to hold; or leave the balance out."
            )
        return replace(self, tau=float(tau))

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


def check_tau(tau: Any) -> None:
    """Check a tau of the caller's; None: none is given.

    Raises:
        ValueError: If it is out of range.
    """
    if not (tau is None or (is_number(tau) and tau >= 0)):
        raise ValueError(f"balance is {tau!r}; allowed: a number of 0 (the leading class is answered) or more.")


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
            f"config.json: decision.balance is {balance!r}; allowed: a tau and {k} shares, one for each class,"
            " all 0 or more, or null."
        )
    return float(balance["tau"]), tuple(map(float, balance["shares"]))
