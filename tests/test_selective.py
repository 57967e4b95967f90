"""Risk-coverage and detection of missing consensus, against scikit-learn and literal loops."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from sklearn import metrics as sk

from hf_ambiser.metrics import UndefinedMetric
from hf_ambiser.metrics.selective import auroc, average_precision, detect_no_consensus, risk_coverage


def literal_curve(losses):
    """Mean loss of the first 1, 2, ... of losses that are sorted by confidence."""
    return [sum(losses[: i + 1]) / (i + 1) for i in range(len(losses))]


def test_curve_against_literal():
    rng = np.random.default_rng(0)
    confidence, loss = rng.random(50), rng.random(50)
    by_confidence = [loss[i] for i in sorted(range(50), key=lambda i: -confidence[i])]
    result = risk_coverage(confidence, loss)
    assert result.coverage == pytest.approx([(i + 1) / 50 for i in range(50)])
    assert result.risk == pytest.approx(literal_curve(by_confidence))
    assert result.aurc == pytest.approx(np.mean(literal_curve(by_confidence)))
    assert result.optimal_aurc == pytest.approx(np.mean(literal_curve(sorted(loss))))
    assert result.excess_aurc == pytest.approx(result.aurc - result.optimal_aurc) and result.excess_aurc > 0


def test_ties_are_the_mean_over_all_their_orders():
    confidence, loss = np.array([0.9, 0.5, 0.5, 0.5, 0.2]), np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    curves = [literal_curve([0.0, *order, 0.0]) for order in itertools.permutations([1.0, 0.0, 1.0])]
    result = risk_coverage(confidence, loss)
    assert result.risk == pytest.approx(np.mean(curves, axis=0))
    again = risk_coverage(confidence[[2, 4, 1, 0, 3]], loss[[2, 4, 1, 0, 3]])
    assert again.risk == pytest.approx(result.risk)


def test_constant_confidence_leaves_the_mean_loss_everywhere():
    loss = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    assert risk_coverage(np.full(5, 0.3), loss).risk == pytest.approx(np.full(5, 0.6))


def test_perfect_and_reversed_confidence():
    wrong = np.repeat([0.0, 1.0], [70, 30])
    assert risk_coverage(-wrong, wrong).excess_aurc == pytest.approx(0)
    assert risk_coverage(wrong, wrong).aurc > 0.5
    # The approximation of the best area in Geifman et al. is near the exact one.
    rate = 0.3
    assert risk_coverage(-wrong, wrong).aurc == pytest.approx(rate + (1 - rate) * math.log(1 - rate), abs=0.01)


def test_risk_at_full_coverage_is_the_mean_loss():
    rng = np.random.default_rng(1)
    loss = rng.random(30)
    assert risk_coverage(rng.integers(4, size=30), loss).risk[-1] == pytest.approx(loss.mean())
    one = risk_coverage(np.array([0.4]), np.array([1.0]))
    assert (one.aurc, one.excess_aurc) == (1.0, 0.0)


@pytest.mark.parametrize("levels", [3, 10_000])  # many ties, next to none
def test_auroc_and_average_precision_against_sklearn(levels):
    rng = np.random.default_rng(levels)
    for _ in range(20):
        positive = rng.random(60) < 0.3
        score = rng.integers(levels, size=60) + positive * rng.integers(3, size=60)
        assert auroc(positive, score) == pytest.approx(sk.roc_auc_score(positive, score))
        assert average_precision(positive, score) == pytest.approx(sk.average_precision_score(positive, score))


def test_auroc_counts_ties_half():
    positive, score = np.array([1, 1, 0, 0, 0]), np.array([2.0, 1.0, 1.0, 1.0, 0.0])
    pairs = [(p > q) + (p == q) / 2 for p in score[:2] for q in score[2:]]
    assert auroc(positive, score) == pytest.approx(sum(pairs) / len(pairs))


def test_detection_against_sklearn():
    rng = np.random.default_rng(2)
    q, label = rng.dirichlet(np.ones(4), size=200), rng.integers(-1, 4, size=200)
    result = detect_no_consensus(q, label)
    entropy, without = [-sum(p * math.log2(p) for p in row) for row in q], label < 0
    assert result.auroc == pytest.approx(sk.roc_auc_score(without, entropy))
    assert result.aupr == pytest.approx(sk.average_precision_score(without, entropy))
    assert (result.n, result.n_without_consensus) == (200, without.sum())
    assert result.aupr_baseline == without.mean()
    json.dumps(result.to_dict(), allow_nan=False)


def test_equal_distributions_are_a_tie_whatever_the_order_of_their_classes():
    rows = list(itertools.permutations([0.1, 0.17, 0.23, 0.5]))
    label = np.where(np.arange(24) % 3 == 0, -1, 0)
    result = detect_no_consensus(np.array(rows), label)
    assert (result.auroc, result.aupr) == pytest.approx((0.5, result.aupr_baseline))


@pytest.mark.parametrize(
    "figure,reason",
    [
        (lambda: risk_coverage(np.zeros(0), np.zeros(0)), "no utterance to score"),
        (lambda: auroc(np.ones(3), np.arange(3)), "all utterances are positive"),
        (lambda: average_precision(np.zeros(3), np.arange(3)), "no utterance is positive"),
        (lambda: detect_no_consensus(np.full((3, 2), 0.5), np.array([0, 1, 1])), "every utterance has a consensus"),
        (lambda: detect_no_consensus(np.full((2, 2), 0.5), np.array([-1, -1])), "no utterance has a consensus"),
        (lambda: detect_no_consensus(np.zeros((0, 2)), np.zeros(0)), "no utterance"),
    ],
)
def test_undefined(figure, reason):
    with pytest.raises(UndefinedMetric, match=reason):
        figure()


@pytest.mark.parametrize(
    "figure,message",
    [
        (lambda: risk_coverage(np.zeros(3), np.zeros(2)), "must agree"),
        (lambda: risk_coverage(np.zeros(2), np.array([0.0, -1.0])), "values >= 0"),
        (lambda: risk_coverage(np.array([0.1, np.nan]), np.zeros(2)), "nan at position 1"),
        (lambda: risk_coverage(np.zeros((2, 2)), np.zeros(2)), "one number per utterance"),
        (lambda: auroc(np.array([0, 2]), np.zeros(2)), "True and False"),
        (lambda: auroc(np.array([0]), np.zeros(2)), "must agree"),
        (lambda: detect_no_consensus(np.full((2, 2), 0.5), np.array([-1])), "must agree"),
    ],
)
def test_refused(figure, message):
    with pytest.raises(ValueError, match=message):
        figure()
