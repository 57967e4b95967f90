"""When does a model answer, with which classes, and how sure? A temperature, a threshold and prediction sets.

All three are chosen on utterances that the model has not learnt from. An answer is the leading class. It is wrong if
it is not the consensus label; where the raters have no consensus every answer is wrong, and to abstain is right.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.special
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.calibration import expected_calibration_error
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions, check_labels, check_votes
from hf_ambiser.metrics.distribution import cross_entropy
from hf_ambiser.metrics.selective import RiskCoverage, risk_coverage


# Beyond these temperatures a model's answers are all the same, or all certain.
COLDEST, HOTTEST = 0.01, 100.0
RULES = ("bound", "empirical")
RULE = "bound"
CONFIDENCE = 0.95
# Shares of votes are fractions: ten tenths add up to 0.9999999999999999.
_ROUNDING = 1e-9
# A threshold is lower by this share of itself than the probability that it was chosen for, so that this probability
# passes it in single precision, too.
ROOM = 1e-6


@dataclass(frozen=True)
class Decision:
    """How a model's logits become answers.

    Args:
        temperature: The logits are divided by it before the softmax; 1: they stay as they are.
        threshold: The model answers if the leading class has at least this probability; None: always.
        risk: The share of wrong answers that the threshold was chosen for; None: no threshold was chosen.
        set_threshold: A class is in the prediction set if it has at least this probability; None: there are no sets.
        set_coverage: The share of votes that the sets were made for.
    """

    temperature: float = 1.0
    threshold: float | None = None
    risk: float | None = None
    set_threshold: float | None = None
    set_coverage: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Plain values, for JSON."""
        return asdict(self)


def choose_decision(
    logits: Array,
    votes: Array,
    consensus: Array,
    *,
    risk: float | None = None,
    set_coverage: float | None = None,
    temperature: bool = False,
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
        rule: See `threshold_for_risk`; None: `RULE`. Only with a risk.
        confidence: See `threshold_for_risk`; None: `CONFIDENCE`. Only with a risk and the rule `bound`.

    Raises:
        ValueError: If nothing is asked for, shapes do not fit, or what is asked for cannot be reached.
    """
    check_asked(risk, set_coverage, temperature, rule, confidence)
    logits = np.asarray(logits, dtype=np.float64)
    shares, label, voted = _with_votes(votes, consensus)
    t = fit_temperature(logits[voted], shares) if temperature else 1.0
    answers = with_temperature(scipy.special.softmax(logits[voted], axis=1), t)
    how = (rule or RULE, CONFIDENCE if confidence is None else confidence)
    threshold = None if risk is None else threshold_for_risk(answers, label, risk, *how).threshold
    sets = None if set_coverage is None else threshold_of_sets(answers, shares, set_coverage)
    return Decision(t, threshold, risk, sets, set_coverage)


def fit_temperature(logits: Array, shares: Array) -> float:
    """Temperature T that minimises the cross-entropy of softmax(logits / T) against soft labels (Guo et al. 2017).

    The cross-entropy is convex in 1 / T, so there is one minimum; it is searched over log T.

    Args:
        logits: `(N, K)` finite.
        shares: `(N, K)` rows that sum to 1.

    Raises:
        ValueError: If shapes or values do not fit.
        UndefinedMetric: If there is no utterance, or no minimum between `COLDEST` and `HOTTEST`.
    """
    z, p = np.asarray(logits, dtype=np.float64), check_distributions(shares, "soft labels")
    if z.shape != p.shape:
        raise ValueError(f"logits have shape {z.shape} and soft labels {p.shape}; the shapes must be equal.")
    if not np.isfinite(z).all():
        raise ValueError("logits hold values that are no numbers; allowed are finite ones. The model has diverged.")

    def cross_entropy(log_t: float) -> float:
        return float(-(p * scipy.special.log_softmax(z / math.exp(log_t), axis=1)).sum(axis=1).mean())

    ends = (math.log(COLDEST), math.log(HOTTEST))
    best = float(minimize_scalar(cross_entropy, bounds=ends, method="bounded", options={"xatol": 1e-7}).x)
    for end in ends:  # flat towards an end is no minimum either: a softmax that rounds to 1 gets no better
        if cross_entropy(end) <= cross_entropy(best) + _ROUNDING:
            what = "all answers alike: the logits say nothing of these votes" if end > 0 else "all answers certain"
            raise UndefinedMetric(
                f"no temperature between {COLDEST:g} and {HOTTEST:g} is the best one: the cross-entropy falls up to"
                f" {math.exp(end):.3g}, which would make {what}. Ask for no temperature."
            )
    return math.exp(best)


def with_temperature(probabilities: Array, temperature: float) -> Array:
    """`(N, K)` softmax(logits / T) from softmax(logits): p_k^(1/T), divided by their sum. At T = 1 nothing changes.

    Raises:
        ValueError: If the temperature is not a positive number, or the rows do not sum to 1.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; allowed are numbers above 0.")
    q = check_distributions(probabilities, "probabilities")
    if temperature == 1:
        return q
    with np.errstate(divide="ignore"):  # log 0 = -inf, and stays a probability of 0
        return scipy.special.softmax(np.log(q) / temperature, axis=1)


def is_wrong(probabilities: Array, consensus: Array) -> Array:
    """`(N,)` bool: whether the leading class is not the consensus label; True where there is no consensus (-1)."""
    return np.asarray(probabilities).argmax(axis=1) != np.asarray(consensus)


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
        threshold: The model answers if the leading class has at least this probability.
        coverage: Share of the utterances that are then answered.
        risk: Share of wrong answers among them.
        bound: What the rule compared with the wanted risk.
    """

    threshold: float
    coverage: float
    risk: float
    bound: float


def threshold_for_risk(
    probabilities: Array, consensus: Array, risk: float, rule: str = "bound", confidence: float = CONFIDENCE
) -> RiskThreshold:
    """Threshold with the largest coverage whose risk is at most the wanted one; `is_wrong` says what counts.

    Candidates are the distinct probabilities of leading classes, for equal ones are answered together.

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

    Raises:
        ValueError: If an argument is not allowed, or no coverage reaches the risk; the message has the least one.
        UndefinedMetric: If there is no utterance.
    """
    check_share("risk", risk)
    check_share("confidence", confidence)
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; allowed are {', '.join(RULES)}.")
    q = check_distributions(probabilities, "probabilities")
    wrong = is_wrong(q, check_labels(consensus, q.shape[1], "consensus", lowest=-1))
    levels, level = np.unique(-q.max(axis=1), return_inverse=True)  # the most confident first
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
            low, high = (place + 1, high) if tried[place] <= risk + _ROUNDING else (low, place)
    reached = [place for place, bound in tried.items() if bound <= risk + _ROUNDING]
    if not reached:
        least = min(tried.values())
        words = f"with a confidence of {confidence:g}" if rule == "bound" else "on these utterances"
        raise ValueError(
            f"no coverage of these {len(wrong)} utterances reaches a risk of {risk:g} {words}; the least risk that can"
            f" be reached is {math.ceil(1e4 * least) / 1e4:g}. Ask for that or more, or choose on more utterances."
        )
    best = max(reached)
    counts = int(errors[best]), int(answered[best])
    return RiskThreshold(_room(-levels[best]), counts[1] / len(wrong), counts[0] / counts[1], tried[best])


def threshold_of_sets(probabilities: Array, shares: Array, coverage: float) -> float:
    """Probability from which on a class is in the prediction set, so that sets hold the wanted share of the votes.

    Split conformal prediction with the score 1 - p_c, where the class c is a rater's vote (Stutz et al. 2023). An
    utterance weighs one, and its votes share it: with w_i(q) the share of votes of utterance i for classes of
    p_i >= q, the threshold is the largest q, of the probabilities of classes with votes, with

        sum_i w_i(q) >= (n + 1) coverage.

    Where each utterance has one vote this is the usual quantile ceil((n + 1) coverage) / n. With shares it is
    conformal risk control (Angelopoulos et al. 2022, Theorem 1) of the loss 1 - w_i: of a new utterance, the expected
    share of votes that is in its set is at least `coverage`, if the utterances are exchangeable. Stutz et al. draw
    votes; nothing is drawn here, so the threshold is the same every time.

    Args:
        probabilities: `(N, K)` rows that sum to 1.
        shares: `(N, K)` rows that sum to 1.
        coverage: Above 0 and below 1.

    Raises:
        ValueError: If shapes or values do not fit, or there are too few utterances; the message says how many it
            takes.
        UndefinedMetric: If there is no utterance.
    """
    check_share("set_coverage", coverage)
    p, q = check_distributions(shares, "soft labels"), check_distributions(probabilities, "probabilities")
    if p.shape != q.shape:
        raise ValueError(f"soft labels have shape {p.shape} and probabilities {q.shape}; the shapes must be equal.")
    wanted = Fraction(str(coverage))
    needed, n = math.ceil(wanted / (1 - wanted)), len(q)
    if n < needed:
        raise ValueError(
            f"sets of coverage {coverage:g} need at least {needed} utterances with votes, and there are {n}. Ask for"
            f" at most {n / (n + 1):.4g}, or choose on more utterances."
        )
    given = p > 0
    levels, place = np.unique(-q[given], return_inverse=True)  # the most probable first
    covered = np.cumsum(np.bincount(place, weights=p[given]))
    enough = covered >= float((n + 1) * wanted) - _ROUNDING * n
    return _room(-levels[int(np.argmax(enough))])


def curve_of_answers(probabilities: Array, votes: Array, consensus: Array, temperature: float = 1.0) -> RiskCoverage:
    """Risk-coverage curve of all utterances with votes, `is_wrong` being the loss; arguments as `decision_figures`."""
    _, label, voted = _with_votes(votes, consensus)
    q = with_temperature(probabilities, temperature)[voted]
    return risk_coverage(q.max(axis=1), is_wrong(q, label).astype(np.float64))


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
        consensus) with the temperature, and both `_before`. None: not chosen, or no such utterance.

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
    before = before[voted]
    q = with_temperature(before, decision.temperature)
    wrong, labelled = is_wrong(q, label), label >= 0
    figures: dict[str, Any] = {
        "n": len(q),
        "n_without_votes": int((~voted).sum()),
        "n_without_consensus": int((~labelled).sum()),
        "risk_of_all": float(wrong.mean()),
        "aurc": risk_coverage(q.max(axis=1), wrong.astype(np.float64)).aurc,
        **dict.fromkeys(("answered", "coverage", "risk")),
        **dict.fromkeys(("set_coverage_votes", "set_coverage_consensus", "set_size")),
    }
    if decision.threshold is not None:
        answered = q.max(axis=1) >= decision.threshold
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
    risk: float | None, set_coverage: float | None, temperature: bool, rule: str | None, confidence: float | None
) -> None:
    """Check what is asked of `choose_decision`, before a model answers anything.

    Raises:
        ValueError: If nothing is asked for, a value is not allowed, or one of these two would change nothing.
    """
    if risk is None and set_coverage is None and not temperature:
        raise ValueError(
            "nothing is asked for: give a risk (--risk), a set_coverage (--set-coverage), or temperature=True"
            " (--temperature)."
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


def check_share(name: str, value: float) -> None:
    """Check that a value is above 0 and below 1.

    Raises:
        ValueError: If it is not.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value:g}; allowed is a share above 0 and below 1, for example 0.2.")


def _room(level: float) -> float:
    return float(level) * (1 - ROOM)


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
