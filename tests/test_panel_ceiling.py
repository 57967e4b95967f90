"""One panel's consensus against another's, by drawing every pair of panels out of single raters."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from helpers.crema_d_votes import needs_crema_d, voice_only_votes

from hf_ambiser.metrics import UndefinedMetric, js_divergence, split_half_js
from hf_ambiser.metrics.classification import f1_from_confusion, ua_from_confusion, wa_from_confusion
from hf_ambiser.metrics.panel_ceiling import panel_ceiling


def literal_consensus(panel, rule):
    counts = np.bincount(panel, minlength=3)
    leaders = np.flatnonzero(counts == counts.max())
    if len(leaders) > 1 or (rule == "majority" and counts.max() <= len(panel) / 2):
        return -1
    return int(leaders[0])


def literal(votes, rule):
    """Confusion matrix, JS and number without consensus, each utterance counting 1."""
    confusion, js, without = np.zeros((3, 3)), 0.0, 0.0
    for row in votes:
        raters = [k for k, v in enumerate(row) for _ in range(v)]
        h = len(raters) // 2
        pairs = [
            ([raters[i] for i in one], [raters[i] for i in other])
            for one in itertools.combinations(range(len(raters)), h)
            for other in itertools.combinations([i for i in range(len(raters)) if i not in one], h)
        ]
        for one, other in pairs:
            answer, label = literal_consensus(one, rule), literal_consensus(other, rule)
            if answer < 0 or label < 0:
                without += 1 / len(pairs)
            else:
                confusion[label, answer] += 1 / len(pairs)
            shares = [np.bincount(panel, minlength=3)[None] / h for panel in (one, other)]
            js += js_divergence(*shares)[0] / len(pairs)
    return confusion, js / len(votes), without


@pytest.mark.parametrize("rule", ["plurality", "majority"])
def test_against_literal(rule):
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([1.0, 0.7, 0.5], size=12)
    votes = np.stack([rng.multinomial(size, p) for size, p in zip(np.arange(12) % 6 + 2, truth, strict=True)])
    result = panel_ceiling(np.concatenate([votes, [[0, 0, 0], [0, 1, 0]]]), rule)
    confusion, js, without = literal(votes, rule)
    assert (result.wa, result.ua, result.macro_f1) == pytest.approx(
        (wa_from_confusion(confusion), ua_from_confusion(confusion), f1_from_confusion(confusion))
    )
    assert result.macro_f1 == pytest.approx(result.ua)
    assert (result.js, result.n_without_consensus, result.n_compared) == pytest.approx((js, without, 12 - without))
    assert (result.n_utterances, result.n_too_few_votes, result.rule) == (12, 2, rule)
    assert (result.smallest_panel, result.largest_panel) == (1, 3) and result.panel_size == 2.0
    json.dumps(result.to_dict(), allow_nan=False)


def test_js_of_even_numbers_of_votes_is_that_of_split_halves():
    votes = np.random.default_rng(1).multinomial(8, [0.4, 0.3, 0.2, 0.1], size=20)
    assert panel_ceiling(votes).js == pytest.approx(split_half_js(votes))


def test_two_votes_are_one_rater_against_another():
    result = panel_ceiling(np.array([[2, 0], [1, 1], [0, 2], [1, 1]]))
    assert (result.wa, result.js, result.n_without_consensus, result.panel_size) == (0.5, 0.5, 0, 1)


def test_panels_that_tie_are_left_out_and_counted():
    """Of four votes in pairs, one way in three puts equal votes together; the two panels then disagree."""
    result = panel_ceiling(np.array([[2, 2]]))
    assert (result.n_compared, result.n_without_consensus, result.wa) == pytest.approx((1 / 3, 2 / 3, 0))


def test_order_of_classes_and_utterances_does_not_matter():
    votes = np.random.default_rng(2).multinomial(7, [0.5, 0.3, 0.2], size=30)
    again = panel_ceiling(votes[np.random.default_rng(3).permutation(30)][:, [1, 2, 0]])
    assert again.to_dict() == pytest.approx(panel_ceiling(votes).to_dict())


def test_unanimous_raters_are_their_own_ceiling():
    result = panel_ceiling(9 * np.eye(3, dtype=int))
    assert (result.wa, result.ua, result.js, result.n_without_consensus) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    "votes,reason",
    [
        (np.eye(3), "no utterance has two votes"),
        (np.full((2, 3), 0.5), "fractions"),
        (np.array([[1, 1, 1, 1]]), "no two panels of any utterance both have a consensus by plurality"),
        (np.full((1, 9), 9), "more than 100000 ways"),
    ],
)
def test_undefined(votes, reason):
    with pytest.raises(UndefinedMetric, match=reason):
        panel_ceiling(votes)


def test_a_rule_that_is_not_known():
    with pytest.raises(ValueError, match="allowed are plurality, majority"):
        panel_ceiling(np.full((2, 3), 2), "all_inclusive")


@needs_crema_d
def test_crema_d_voice_only():
    """A majority is the clearer consensus, and every utterance is compared or counted as without one."""
    votes, _ = voice_only_votes()
    plurality, majority = panel_ceiling(votes), panel_ceiling(votes, "majority")
    assert plurality.n_compared + plurality.n_without_consensus == pytest.approx(len(votes))
    assert majority.wa > plurality.wa > 0.5 and majority.n_compared < plurality.n_compared
