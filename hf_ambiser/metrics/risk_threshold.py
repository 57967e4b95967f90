"""The threshold below which a model abstains, so that at most a wanted share of its answers is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from hf_ambiser.metrics.checks import Array, check_distributions, check_labels


RULES = ("bound", "empirical")
RULE = "bound"
CONFIDENCE = 0.95
# A threshold is lower by this share of itself than the probability that it was chosen for, so that this probability
# passes it in single precision, too.
ROOM = 1e-6
# Shares are fractions: ten tenths add up to 0.9999999999999999.
ROUNDING = 1e-9


def is_wrong(lead: Array, consensus: Array) -> Array:
    """`(N,)` bool: whether the class that is answered is not the consensus label; True without a consensus (-1)."""
    return np.asarray(lead) != np.asarray(consensus)


def probability_of(probabilities: Array, lead: Array) -> Array:
    """`(N,)`: of each of `(N, K)` answers, the probability of the class that is answered."""
    return np.take_along_axis(probabilities, np.asarray(lead)[:, None], axis=1)[:, 0]


def upper_bound(wrong: int, answered: int, failure: float) -> float:
    """Largest risk at which as few as `wrong` of `answered` independent answers are still wrong with p `failure`.

    The one-sided Clopper-Pearson bound: b with sum_{j <= wrong} C(answered, j) b^j (1 - b)^(answered - j) = failure
    (Geifman and El-Yaniv 2017, Lemma 3.1).
    """
    return 1.0 if wrong == answered else float(beta.ppf(1 - failure, wrong + 1, answered - wrong))


@dataclass(frozen=True)
class RiskThreshold:
    """A threshold for a wanted risk.

    Args:
        threshold: The model answers if the class that it would answer has at least this probability.
        coverage: Share of the utterances that are then answered.
        risk: Share of wrong answers among them.
        bound: What the rule compared with the wanted risk.
    """

    threshold: float
    coverage: float
    risk: float
    bound: float


def threshold_for_risk(
    probabilities: Array,
    consensus: Array,
    risk: float,
    rule: str = RULE,
    confidence: float = CONFIDENCE,
    lead: Array | None = None,
) -> RiskThreshold:
    """Threshold with the largest coverage whose risk is at most the wanted one; `is_wrong` says what counts.

    Candidates are the distinct probabilities of the answers, for equal ones are given together.

    - `bound`: selection with guaranteed risk (Geifman and El-Yaniv 2017, Algorithm 1). A binary search over the
      candidates compares `upper_bound` with the risk, each time with the failure probability (1 - confidence) / k, k
      being the largest number of comparisons. For independent utterances the true risk is at most the wanted one with
      the given confidence. The paper's search never tries to answer everything; this one does, with
      k = ceil(log2(C + 1)) for C candidates.
    - `empirical`: the risk on these utterances themselves. About every second time the true risk is higher.

    Args:
        probabilities: `(N, K)` rows that sum to 1, of utterances with votes.
        consensus: `(N,)` class of the raters' consensus, or -1.
        risk: Wanted share of wrong answers, above 0 and below 1.
        rule: One of `RULES`.
        confidence: Of the rule `bound`, above 0 and below 1.
        lead: `(N,)` the class that is answered; None: the leading one.

    Raises:
        ValueError: If an argument is not allowed, or no coverage reaches the risk; the message has the least one.
        UndefinedMetric: If there is no utterance.
    """
    check_share("risk", risk)
    check_share("confidence", confidence)
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; allowed are {', '.join(RULES)}.")
    q = check_distributions(probabilities, "probabilities")
    lead = q.argmax(axis=1) if lead is None else lead
    wrong = is_wrong(lead, check_labels(consensus, q.shape[1], "consensus", lowest=-1))
    levels, level = np.unique(-probability_of(q, lead), return_inverse=True)  # the most confident first
    answered = np.cumsum(np.bincount(level))
    errors = np.cumsum(np.bincount(level, weights=wrong)).astype(int)
    if rule == "empirical":
        tried = {place: float(errors[place] / answered[place]) for place in range(len(levels))}
    else:
        failure = (1 - confidence) / math.ceil(math.log2(len(levels) + 1))
        tried = {}
        low, high = 0, len(levels)  # answered are the first `low` levels at least
        while low < high:
            place = (low + high) // 2
            tried[place] = upper_bound(int(errors[place]), int(answered[place]), failure)
            low, high = (place + 1, high) if tried[place] <= risk + ROUNDING else (low, place)
    reached = [place for place, bound in tried.items() if bound <= risk + ROUNDING]
    if not reached:
        least = min(tried.values())
        words = f"with a confidence of {confidence:g}" if rule == "bound" else "on these utterances"
        raise ValueError(
            f"no coverage of these {len(wrong)} utterances reaches a risk of {risk:g} {words}; the least risk that can"
            f" be reached is {math.ceil(1e4 * least) / 1e4:g}. Ask for that or more, or choose on more utterances."
            + " Less confidence needs fewer, and so does the rule 'empirical', which promises nothing."
            * (rule == "bound")
        )
    best = max(reached)
    counts = int(errors[best]), int(answered[best])
    return RiskThreshold(with_room(-levels[best]), counts[1] / len(wrong), counts[0] / counts[1], tried[best])


def check_share(name: str, value: float) -> None:
    """Check that a value is above 0 and below 1.

    Raises:
        ValueError: If it is not.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value:g}; allowed is a share above 0 and below 1, for example 0.2.")


def with_room(level: float) -> float:
    """The threshold that a probability passes also in single precision."""
    return float(level) * (1 - ROOM)
