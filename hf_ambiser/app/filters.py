"""Which utterances the browser lists, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ambiser.app.rated_set import RatedUtterance
from hf_ambiser.metrics.distribution import js_divergence


# In brackets, for a class may have any name.
ANY, NO_CONSENSUS = "(any)", "(no consensus)"
BY_NAME, BY_AMBIGUITY, BY_DISAGREEMENT = "name", "most ambiguous first", "most disagreement first"
ORDERS = (BY_NAME, BY_AMBIGUITY, BY_DISAGREEMENT)


@dataclass(frozen=True)
class Filter:
    """What is asked of an utterance.

    Args:
        consensus: A class, `NO_CONSENSUS` or `ANY`.
        ambiguity: The least and the greatest ambiguity of the votes, in [0, 1].
        disagreement: The least disagreement of a model with the votes in bit; above 0, utterances where it is not
            known, because the model had no answer or has other classes, are left out.
        order: One of `ORDERS`.
    """

    consensus: str = ANY
    ambiguity: tuple[float, float] = (0.0, 1.0)
    disagreement: float = 0.0
    order: str = BY_NAME

    def of(
        self, utterances: Sequence[RatedUtterance], disagreements: Mapping[str, float] | None = None
    ) -> list[RatedUtterance]:
        """Return the utterances that pass, in order. Without a value, an utterance stands at the end.

        Args:
            utterances: All of them.
            disagreements: id -> disagreement of the model, where it is known; None: the model has not heard all.

        Raises:
            ValueError: If the least ambiguity is above the greatest, or the model has not heard all and is asked for.
        """
        low, high = self.ambiguity
        if low > high:
            raise ValueError(f"the least ambiguity ({low:g}) is above the greatest ({high:g}); move one of the two.")
        heard = disagreements or {}
        if disagreements is None and (self.disagreement > 0 or self.order == BY_DISAGREEMENT):
            raise ValueError("the model has not heard all utterances yet; let it hear them first.")
        passed = [one for one in utterances if self._passes(one, heard.get(one.id))]
        if self.order == BY_AMBIGUITY:
            return sorted(passed, key=lambda one: -1.0 if one.ambiguity is None else one.ambiguity, reverse=True)
        if self.order == BY_DISAGREEMENT:
            return sorted(passed, key=lambda one: heard.get(one.id, -1.0), reverse=True)
        return sorted(passed, key=lambda one: one.id)

    def _passes(self, one: RatedUtterance, disagreement: float | None) -> bool:
        low, high = self.ambiguity
        if self.consensus == NO_CONSENSUS:
            of_consensus = one.consensus is None
        else:
            of_consensus = self.consensus in (ANY, one.consensus)
        everything = (low, high) == (0.0, 1.0)
        of_ambiguity = everything if one.ambiguity is None else low <= one.ambiguity <= high
        return of_consensus and of_ambiguity and (self.disagreement <= 0 or (disagreement or 0.0) >= self.disagreement)


def disagreement(shares: Mapping[str, float] | None, answer: Mapping[str, float] | None) -> float | None:
    """How far a model's answer is from the votes: their Jensen-Shannon divergence in bit, 0 (equal) to 1 (disjoint).

    Args:
        shares: Class -> share of the votes.
        answer: Class -> probability.

    Returns:
        None if one of them is missing or they have other classes, which cannot be compared.
    """
    if shares is None or answer is None or set(shares) != set(answer):
        return None
    votes, heard = (np.array([[values[name] for name in shares]]) for values in (shares, answer))
    return float(js_divergence(votes, heard)[0])
