"""Prediction sets that hold a wanted share of the raters' votes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from hf_ambiser.metrics.checks import Array, check_distributions
from hf_ambiser.metrics.risk_threshold import ROUNDING, check_share, with_room


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
    enough = covered >= float((n + 1) * wanted) - ROUNDING * n
    return with_room(-levels[int(np.argmax(enough))])
