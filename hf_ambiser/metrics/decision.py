"""What does a model answer, when, and how sure? A temperature, a balance of classes, a threshold, prediction sets.

All are chosen on utterances that the model has not learnt from. An answer is the leading class, or that of a balanced
decision. It is wrong if it is not the consensus label; where the raters have no consensus every answer is wrong, and
to abstain is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import scipy.special

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.balanced import balanced_lead
from hf_ambiser.metrics.calibration import expected_calibration_error
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions, check_labels, check_votes
from hf_ambiser.metrics.classification import wa_and_ua
from hf_ambiser.metrics.distribution import cross_entropy
from hf_ambiser.metrics.prediction_sets import threshold_of_sets
from hf_ambiser.metrics.risk_threshold import (
    CONFIDENCE,
    RULE,
    RULES,
    check_share,
    is_wrong,
    probability_of,
    threshold_for_risk,
)
from hf_ambiser.metrics.selective import RiskCoverage, risk_coverage
from hf_ambiser.metrics.temperature import fit_temperature, with_temperature


@dataclass(frozen=True)
class Balance:
    """How much more rare classes count in an answer; see `balanced_lead`.

    Args:
        tau: 0 or more; at 0 the leading class is answered, and the shares lie there for whoever asks for another tau.
        shares: The K classes' shares of the model's answers.
    """

    tau: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Decision:
    """How a model's logits become answers.

    Args:
        temperature: The logits are divided by it before the softmax; 1: they stay as they are.
        threshold: The model answers if the class that it would answer has at least this probability; None: always.
        risk: The share of wrong answers that the threshold was chosen for; None: no threshold was chosen.
        set_threshold: A class is in the prediction set if it has at least this probability; None: there are no sets.
        set_coverage: The share of votes that the sets were made for.
        balance: Which class is answered; None: the leading one. Sets are those of the distribution in any case.
    """

    temperature: float = 1.0
    threshold: float | None = None
    risk: float | None = None
    set_threshold: float | None = None
    set_coverage: float | None = None
    balance: Balance | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Decision:
        """The decision that `to_dict` has made plain values of. One of before there was a balance has none."""
        balance = stored.get("balance")
        plain = ("temperature", "threshold", "risk", "set_threshold", "set_coverage")
        return cls(
            **{name: stored[name] for name in plain},
            balance=None if balance is None else Balance(balance["tau"], tuple(balance["shares"])),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        balance = self.balance
        plain = None if balance is None else {"tau": balance.tau, "shares": list(balance.shares)}
        return {**vars(self), "balance": plain}

    def lead(self, probabilities: Array) -> Array:
        """`(N,)` int64: the class that is answered, of `(N, K)` probabilities with the temperature."""
        if self.balance is None:
            return np.asarray(probabilities).argmax(axis=1)
        return balanced_lead(probabilities, np.asarray(self.balance.shares), self.balance.tau)


def choose_decision(
    logits: Array,
    votes: Array,
    consensus: Array,
    *,
    risk: float | None = None,
    set_coverage: float | None = None,
    temperature: bool = False,
    balance: float | None = None,
    rule: str | None = None,
    confidence: float | None = None,
) -> Decision:
    """Choose what is asked for, the temperature first. Utterances without votes are left out.

    Args:
        logits: `(N, K)`.
        votes: `(N, K)` counts or shares.
        consensus: `(N,)` class of the raters' consensus, or -1.
        risk: See `threshold_for_risk`; None: no threshold.
        set_coverage: See `threshold_of_sets`; None: no sets.
        temperature: Whether to choose one; otherwise it is 1.
        balance: Tau of a balanced decision (`balanced_lead`), 0 or more; the shares are the mean of these answers.
            None: the leading class is answered, and no shares are kept.
        rule: See `threshold_for_risk`; None: `RULE`. Only with a risk.
        confidence: See `threshold_for_risk`; None: `CONFIDENCE`. Only with a risk and the rule `bound`.

    Raises:
        ValueError: If nothing is asked for, shapes do not fit, or what is asked for cannot be reached.
    """
    check_asked(risk, set_coverage, temperature, balance, rule, confidence)
    logits = np.asarray(logits, dtype=np.float64)
    shares, label, voted = _with_votes(votes, consensus)
    t = fit_temperature(logits[voted], shares) if temperature else 1.0
    answers = with_temperature(scipy.special.softmax(logits[voted], axis=1), t)
    balanced = None if balance is None else Balance(float(balance), tuple(map(float, answers.mean(axis=0))))
    lead = Decision(balance=balanced).lead(answers)
    how = (rule or RULE, CONFIDENCE if confidence is None else confidence)
    threshold = None if risk is None else threshold_for_risk(answers, label, risk, *how, lead).threshold
    sets = None if set_coverage is None else threshold_of_sets(answers, shares, set_coverage)
    return Decision(t, threshold, risk, sets, set_coverage, balanced)


def curve_of_answers(probabilities: Array, votes: Array, consensus: Array, decision: Decision) -> RiskCoverage:
    """Risk-coverage curve of all utterances with votes, `is_wrong` being the loss; arguments as `decision_figures`."""
    _, label, voted = _with_votes(votes, consensus)
    q = with_temperature(probabilities, decision.temperature)[voted]
    lead = decision.lead(q)
    return risk_coverage(probability_of(q, lead), is_wrong(lead, label).astype(np.float64))


def decision_figures(probabilities: Array, votes: Array, consensus: Array, decision: Decision) -> dict[str, Any]:
    """Measure what a decision gives on utterances with votes; those without votes are left out and counted.

    Args:
        probabilities: `(N, K)` answers of the model as it is, without the temperature.
        votes: `(N, K)` counts or shares.
        consensus: `(N,)` class of the raters' consensus, or -1.
        decision: What was chosen.

    Returns:
        `n, n_without_votes, n_without_consensus`; `answered`, `coverage` and `risk` (None if nothing is answered) at
        the threshold, and `risk_of_all`; `aurc`, the area below `curve_of_answers`; `set_coverage_votes` (the mean
        share of an utterance's votes in its set), `set_coverage_consensus` (of the utterances with a consensus) and
        `set_size` (mean number of classes); `cross_entropy` (nats, against shares of votes) and `ece` (against the
        consensus) with the temperature, and both `_before`; with a balance `wa` and `ua` of all answers to utterances
        with a consensus, and both `_before`, of the leading classes. None: not chosen, or no such utterance.

    Raises:
        ValueError: If shapes or values do not fit.
        UndefinedMetric: If no utterance has votes.
    """
    before = check_distributions(probabilities, "probabilities")
    shares, label, voted = _with_votes(votes, consensus)
    if voted.shape != (len(before),) or shares.shape[1] != before.shape[1]:
        raise ValueError(
            f"votes of {len(voted)} utterances and {shares.shape[1]} classes for probabilities of shape"
            f" {before.shape}; the shapes must be equal."
        )
    # Both from the same numbers, so that a temperature of 1 changes not even their rounding.
    before, q = before[voted], with_temperature(probabilities, decision.temperature)[voted]
    lead, labelled = decision.lead(q), label >= 0
    wrong, sure = is_wrong(lead, label), probability_of(q, lead)
    figures: dict[str, Any] = {
        "n": len(q),
        "n_without_votes": int((~voted).sum()),
        "n_without_consensus": int((~labelled).sum()),
        "risk_of_all": float(wrong.mean()),
        "aurc": risk_coverage(sure, wrong.astype(np.float64)).aurc,
        **dict.fromkeys(("answered", "coverage", "risk")),
        **dict.fromkeys(("set_coverage_votes", "set_coverage_consensus", "set_size")),
        **dict.fromkeys(("wa_before", "wa", "ua_before", "ua")),
    }
    if decision.balance is not None and labelled.any():
        for name, answer in (("", lead), ("_before", q.argmax(axis=1))):
            figures[f"wa{name}"], figures[f"ua{name}"] = wa_and_ua(label, answer, q.shape[1])
    if decision.threshold is not None:
        answered = sure >= decision.threshold
        figures["answered"], figures["coverage"] = int(answered.sum()), float(answered.mean())
        figures["risk"] = float(wrong[answered].mean()) if answered.any() else None
    if decision.set_threshold is not None:
        sets = q >= decision.set_threshold
        figures["set_coverage_votes"] = float((shares * sets).sum(axis=1).mean())
        figures["set_size"] = float(sets.sum(axis=1).mean())
        if labelled.any():
            figures["set_coverage_consensus"] = float(sets[labelled, label[labelled]].mean())
    for name, answers in (("", q), ("_before", before)):
        figures[f"cross_entropy{name}"] = float(cross_entropy(shares, answers, np.finfo(np.float64).tiny).mean())
        figures[f"ece{name}"] = (
            expected_calibration_error(answers[labelled], label[labelled])[0] if labelled.any() else None
        )
    return figures


def check_asked(
    risk: float | None,
    set_coverage: float | None,
    temperature: bool,
    balance: float | None,
    rule: str | None,
    confidence: float | None,
) -> None:
    """Check what is asked of `choose_decision`, before a model answers anything.

    Raises:
        ValueError: If nothing is asked for, a value is not allowed, or one of these two would change nothing.
    """
    if risk is None and set_coverage is None and not temperature and balance is None:
        raise ValueError(
            "nothing is asked for: give a risk (--risk), a set_coverage (--set-coverage), temperature=True"
            " (--temperature), or a balance (--balance)."
        )
    is_tau = isinstance(balance, Real) and not isinstance(balance, bool) and 0 <= balance < math.inf
    if balance is not None and not is_tau:
        raise ValueError(
            f"balance is {balance!r}; allowed is a tau of 0 or more, for example 0.5. At 0 the leading class is"
            " answered, as without a balance, and who answers may ask for another tau."
        )
    for name, value in (("risk", risk), ("set_coverage", set_coverage), ("confidence", confidence)):
        if value is not None:
            check_share(name, value)
    if rule is not None and rule not in RULES:
        raise ValueError(f"rule is {rule!r}; allowed are {', '.join(RULES)}.")
    for name, option in (("rule", rule), ("confidence", confidence)):
        if option is not None and risk is None:
            raise ValueError(
                f"{name}={option!r} is of the threshold that keeps a risk, and no risk is asked for: give a risk"
                f" (--risk), or leave {name} out."
            )
    if confidence is not None and rule == "empirical":
        raise ValueError(
            f"confidence={confidence!r} is of the rule 'bound', and rule is 'empirical'. Leave one of the two out."
        )


def _with_votes(votes: Array, consensus: Array) -> tuple[Array, Array, Array]:
    """Soft labels and consensus of the utterances with votes, and `(N,)` which these are.

    Raises:
        ValueError: If lengths or values do not fit.
        UndefinedMetric: If no utterance has votes.
    """
    shares = soft_labels(check_votes(votes))
    label = check_labels(consensus, shares.shape[1], "consensus", lowest=-1)
    if len(label) != len(shares):
        raise ValueError(f"{len(label)} consensus labels for {len(shares)} rows of votes; the numbers must be equal.")
    voted = shares.sum(axis=1) > 0
    if not voted.any():
        raise UndefinedMetric("no utterance has votes")
    return shares[voted], label[voted], voted
