"""Does the model know when it does not know? Risk over coverage, and finding utterances on which raters disagree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from hf_ambiser.labels.votes import entropy_bits
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions, check_labels


# Entropies of equal distributions differ by rounding, which must not break a tie.
_DIGITS = 9


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The risk that remains if a model answers only the utterances it is most confident of.

    Args:
        coverage: `(N,)` share of utterances that are answered: 1/N, 2/N, ..., 1.
        risk: `(N,)` mean loss of those.
        aurc: Area under the curve, the mean of `risk`; lower is better.
        optimal_aurc: The area for the best order, smallest loss first; it depends on the losses alone.
        excess_aurc: `aurc - optimal_aurc`, 0 for a confidence that orders the utterances perfectly.
    """

    coverage: Array
    risk: Array
    aurc: float
    optimal_aurc: float
    excess_aurc: float


def risk_coverage(confidence: Array, loss: Array) -> RiskCoverage:
    """Risk-coverage curve and its area.

    With the utterances sorted by falling confidence, risk(i / N) = (1 / i) sum of the first i losses, and
    AURC = (1 / N) sum_i risk(i / N) (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017). The excess AURC of
    Geifman, Uziel and El-Yaniv (ICLR 2019) subtracts the area of the best order; they approximate that area, here it
    is exact. Utterances with equal confidence have no order: the curve is its expectation over all their orders.

    Args:
        confidence: `(N,)` finite; more is more confident, for example the largest probability.
        loss: `(N,)` finite and not negative: 1 for a wrong answer and 0 for a right one, or any loss.

    Raises:
        ValueError: Shapes that differ, or values that are not allowed.
        UndefinedMetric: No utterance.
    """
    confidence, loss = _numbers(confidence, "confidence"), _numbers(loss, "loss")
    if confidence.shape != loss.shape:
        raise ValueError(f"confidence has shape {confidence.shape} and loss {loss.shape}; they must agree.")
    if (loss < 0).any():
        raise ValueError(f"loss holds {loss.min():.6g}; allowed are values >= 0, such as 1 for a wrong answer.")
    # In a random order of equals, the expected loss at each of their places is their mean.
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    expected = np.repeat(np.bincount(group, weights=loss) / size, size)
    answered = np.arange(1, len(loss) + 1)
    risk = np.cumsum(expected) / answered
    optimal = float((np.cumsum(np.sort(loss)) / answered).mean())
    aurc = float(risk.mean())
    return RiskCoverage(answered / len(loss), risk, aurc, optimal, aurc - optimal)


def auroc(positive: Array, score: Array) -> float:
    """Probability that a positive utterance has a higher score than a negative one, ties counted half: 0 to 1.

    AUROC = (R - P (P + 1) / 2) / (P Q), with R the sum of the P positives' ranks (ties get their mean rank) and Q the
    number of negatives. 0.5 is chance.

    Args:
        positive: `(N,)` bool.
        score: `(N,)` finite.

    Raises:
        ValueError: Shapes that differ, or values that are not allowed.
        UndefinedMetric: All utterances are positive, or none is.
    """
    positive, score = _two_groups(positive, score)
    n_positive, n = int(positive.sum()), len(positive)
    ranks = rankdata(score)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * (n - n_positive)))


def average_precision(positive: Array, score: Array) -> float:
    """AUPR as average precision: the sum over falling thresholds t of (recall_t - recall_before) precision_t.

    The thresholds are the distinct scores, so utterances with equal scores are found together. No interpolation.
    Chance is the share of positive utterances. Args and errors as `auroc`.
    """
    positive, score = _two_groups(positive, score)
    _, group, size = np.unique(-score, return_inverse=True, return_counts=True)
    found = np.bincount(group, weights=positive)
    precision = np.cumsum(found) / np.cumsum(size)
    return float((found * precision).sum() / found.sum())


@dataclass(frozen=True)
class NoConsensusDetection:
    """How well a model's entropy finds the utterances on which the raters have no consensus.

    Args:
        auroc: See `auroc`; chance is 0.5.
        aupr: See `average_precision`; chance is `aupr_baseline`.
        aupr_baseline: Share of utterances without a consensus.
        n: Utterances.
        n_without_consensus: Those to be found.
    """

    auroc: float
    aupr: float
    aupr_baseline: float
    n: int
    n_without_consensus: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def detect_no_consensus(probabilities: Array, label: Array) -> NoConsensusDetection:
    """Tell utterances without a consensus by the entropy of the model's distribution.

    Args:
        probabilities: `(N, K)` rows that sum to 1.
        label: `(N,)` consensus class in 0..K-1, or -1 without a consensus. Leave out utterances without votes: nobody
            disagreed about them.

    Raises:
        ValueError: Shapes or values that do not fit.
        UndefinedMetric: No utterance; all utterances have a consensus, or none has.
    """
    q = check_distributions(probabilities, "probabilities")
    label = check_labels(label, q.shape[1], "label", lowest=-1)
    if len(label) != len(q):
        raise ValueError(f"{len(label)} labels for {len(q)} rows of probabilities; they must agree.")
    without, n = label < 0, len(label)
    n_without = int(without.sum())
    if n_without in (0, n):
        raise UndefinedMetric(
            "every utterance has a consensus" if n_without == 0 else "no utterance has a consensus, so none stands out"
        )
    entropy = np.round(entropy_bits(q), _DIGITS)
    return NoConsensusDetection(
        auroc(without, entropy), average_precision(without, entropy), n_without / n, n, n_without
    )


def _numbers(values: Array, name: str) -> Array:
    """`(N,)` finite float64 of at least one utterance."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"{name} has shape {numbers.shape}; allowed is one number per utterance, (utterances,).")
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise ValueError(f"{name}: {numbers[bad[0]]} at position {bad[0]}; allowed are finite numbers.")
    if len(numbers) == 0:
        raise UndefinedMetric("no utterance to score")
    return numbers


def _two_groups(positive: Array, score: Array) -> tuple[Array, Array]:
    score, given = _numbers(score, "score"), np.asarray(positive)
    if given.shape != score.shape:
        raise ValueError(f"positive has shape {given.shape} and score {score.shape}; they must agree.")
    if not np.isin(given, (0, 1)).all():
        raise ValueError("positive holds values other than True and False; allowed is bool, or 1 and 0.")
    positive = given.astype(bool)
    if positive.all() or not positive.any():
        raise UndefinedMetric("all utterances are positive" if positive.all() else "no utterance is positive")
    return positive, score
