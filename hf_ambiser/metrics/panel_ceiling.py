"""How well does one panel of raters agree with another panel of the same size? The ceiling of consensus figures.

`raters` compares one rater with the others; here the consensus of half of an utterance's raters is compared with the
consensus of as many others. A model that is scored against a consensus label cannot be expected to do better than
the consensus of another panel. Everything is computed exactly, without drawing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from scipy.special import comb

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import Array, UndefinedMetric
from hf_ambiser.metrics.classification import f1_from_confusion, ua_from_confusion, wa_from_confusion
from hf_ambiser.metrics.distribution import js_divergence
from hf_ambiser.metrics.raters import MAX_HALVES, counts_of_two_votes


RULES = ("plurality", "majority")


@dataclass(frozen=True)
class PanelCeiling:
    """One panel's consensus as the answer, another panel's as the label.

    Args:
        wa: Share of equal consensus labels, in [0, 1].
        ua: Mean recall over classes.
        macro_f1: Mean F1 over classes.
        js: Mean Jensen-Shannon divergence between the two panels' vote shares, in bits, over all utterances.
        rule: How a panel finds its consensus.
        n_utterances: Utterances with two votes or more; `js` is a mean over these.
        n_compared: Expected number of them on which both panels have a consensus; `wa`, `ua` and `macro_f1` are over
            these.
        n_without_consensus: Expected number of the others: a tie, or no majority, in at least one panel.
        n_too_few_votes: Utterances with fewer than two votes, which are left out.
        panel_size: Mean number of raters in a panel.
        smallest_panel: Raters in the smallest panel.
        largest_panel: Raters in the largest one.
    """

    wa: float
    ua: float
    macro_f1: float
    js: float
    rule: str
    n_utterances: int
    n_compared: float
    n_without_consensus: float
    n_too_few_votes: int
    panel_size: float
    smallest_panel: int
    largest_panel: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def panel_ceiling(votes: Array, rule: str = "plurality") -> PanelCeiling:
    """Compare the consensus of two panels that are drawn from the votes of each utterance without replacement.

    Of V votes, each panel has h = floor(V / 2). Every way to divide the votes v into panels a and b counts with its
    probability, prod_k C(v_k, a_k) C(v_k - a_k, b_k) / (C(V, h) C(V - h, h)). If V is odd, one vote is in neither
    panel. Each panel is the answer as often as the label, so the expected confusion matrix is symmetric and macro-F1
    equals UA. (`split_half_js` gives that vote to the second half; for even V its value is the same as `js`.)

    Args:
        votes: `(N, K)` whole counts.
        rule: "plurality": the class with the most votes, none on a tie. "majority": more than half of the votes.
            As `LabelPolicy.rule` has them. Pairs in which a panel has no consensus are left out and counted.

    Raises:
        ValueError: A rule that is not allowed.
        UndefinedMetric: Fractional votes; no utterance with two votes; no pair of panels that both have a consensus;
            or an utterance whose votes divide in more than `MAX_HALVES` ways.
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; allowed are {', '.join(RULES)}.")
    counts = counts_of_two_votes(votes)
    n_classes, size = counts.shape[1], counts.sum(axis=1) // 2
    confusion, js = np.zeros((n_classes, n_classes)), 0.0
    for row, times in zip(*np.unique(counts, axis=0, return_counts=True), strict=True):
        present = np.flatnonzero(row)
        of_row, its_js = _of_votes(tuple(row[present].tolist()), rule)
        confusion[np.ix_(present, present)] += times * of_row
        js += times * its_js
    compared = float(confusion.sum())
    if compared == 0:
        raise UndefinedMetric(f"no two panels of any utterance both have a consensus by {rule}")
    return PanelCeiling(
        wa_from_confusion(confusion), ua_from_confusion(confusion), f1_from_confusion(confusion),
        float(js / len(counts)), rule, len(counts), compared, len(counts) - compared, len(votes) - len(counts),
        float(size.mean()), int(size.min()), int(size.max()),
    )  # fmt: skip


# The same votes are scored for every epoch of a run, and for every run of a report.
@lru_cache(maxsize=10_000)
def _of_votes(votes: tuple[int, ...], rule: str) -> tuple[Array, float]:
    """Expected `(P, P)` confusion and mean JS of the two panels of one utterance; each of its P counts is above 0."""
    one, other, chance = _panels(np.array(votes))
    answer, label = _consensus(one, rule), _consensus(other, rule)
    both = (answer >= 0) & (label >= 0)
    confusion = np.zeros((len(votes), len(votes)))
    np.add.at(confusion, (label[both], answer[both]), chance[both])
    return confusion, float(chance @ js_divergence(soft_labels(one), soft_labels(other)))


def _panels(votes: Array) -> tuple[Array, Array, Array]:
    """Every pair of panels of floor(V / 2) votes, `(P, K)` each, and its probability `(P,)`; each v_k is above 0."""
    total, n_classes = int(votes.sum()), len(votes)
    if prod(int(v) + 1 for v in votes) > MAX_HALVES:
        raise UndefinedMetric(f"{total} votes divide into halves in more than {MAX_HALVES} ways")
    one = np.indices(tuple(votes + 1)).reshape(n_classes, -1).T
    one = one[one.sum(axis=1) == total // 2]
    other = votes - one
    chance = comb(votes, one).prod(axis=1)
    if total % 2:  # each of the votes that remain is equally likely to be the one in neither panel
        chance = (chance[:, None] * other).ravel()
        one = np.repeat(one, n_classes, axis=0)
        other = (other[:, None, :] - np.eye(n_classes, dtype=np.int64)).reshape(-1, n_classes)
        possible = chance > 0
        one, other, chance = one[possible], other[possible], chance[possible]
    return one, other, chance / chance.sum()


def _consensus(panels: Array, rule: str) -> Array:
    """`(P,)` the consensus class of each row of votes, -1 without one."""
    top = panels.max(axis=1)
    found = (panels == top[:, None]).sum(axis=1) == 1
    if rule == "majority":
        found &= 2 * top > panels.sum(axis=1)
    return np.where(found, panels.argmax(axis=1), -1)
