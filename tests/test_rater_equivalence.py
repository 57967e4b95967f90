"""Rater equivalence against a slow literal version, against theory, and on simulated raters of known worth."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from helpers.crema_d_votes import needs_crema_d, voice_only_votes
from scipy.stats import dirichlet_multinomial

from hf_ambiser.metrics import UndefinedMetric
from hf_ambiser.metrics.distribution import KL_SMOOTHING
from hf_ambiser.metrics.rater_equivalence import RaterCount, rater_equivalence
from hf_ambiser.metrics.smoothed_shares import (
    HIGHEST_AMOUNT,
    LOWEST_AMOUNT,
    fit_pseudo_votes,
    pseudo_votes_of_other_speakers,
)


SCORES = ("cross_entropy", "brier")
PSEUDO_VOTES = np.array([1.2, 0.5, 0.3])  # the raters' truth is drawn from Dirichlet(PSEUDO_VOTES)


def simulated(n, n_votes, seed=0, n_speakers=40):
    """Truth `(n, 3)`, votes of `n_votes` raters, speakers, and the generator for further raters."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(PSEUDO_VOTES, size=n)
    return truth, rng.multinomial(n_votes, truth), rng.integers(n_speakers, size=n), rng


@pytest.fixture
def small():
    """Distributions, votes (0 to 6 an utterance) and speakers of 40 utterances."""
    rng = np.random.default_rng(3)
    truth = rng.dirichlet(PSEUDO_VOTES, size=40)
    votes = np.stack([rng.multinomial(size, p) for size, p in zip(rng.integers(0, 7, size=40), truth, strict=True)])
    return rng.dirichlet(np.ones(3), size=40), votes, np.array([f"s{i % 5}" for i in range(40)])


def literal_score(q, answer, score):
    if score == "cross_entropy":
        return -math.log2(q[answer])
    return sum((q[k] - (k == answer)) ** 2 for k in range(len(q)))


def literal_raters(row, pseudo_votes, n, score):
    """Mean score over every held-out rater and every choice of n of the other raters."""
    raters = [k for k, v in enumerate(row) for _ in range(v)]
    scores = []
    for held_out in range(len(raters)):
        others = raters[:held_out] + raters[held_out + 1 :]
        for asked in itertools.combinations(others, n):
            q = [(asked.count(k) + a) / (n + sum(pseudo_votes)) for k, a in enumerate(pseudo_votes)]
            scores.append(literal_score(q, raters[held_out], score))
    return sum(scores) / len(scores)


def literal_model(row, q, score):
    if score == "cross_entropy":
        q = [(1 - KL_SMOOTHING) * value + KL_SMOOTHING / len(q) for value in q]
    return sum(v * literal_score(q, k, score) for k, v in enumerate(row)) / sum(row)


def literal_worth(difference):
    """From raters minus model at n = 1, 2, ..."""
    for n, d in enumerate(difference, start=1):
        if d <= 0:
            if n == 1:
                return 1.0 if d == 0 else -math.inf
            before = difference[n - 2]
            return n - 1 + before / (before - d)
    return math.inf


def as_number(count):
    return {"=": count.value, "<": -math.inf, ">": math.inf}[count.bound]


@pytest.mark.parametrize("score", SCORES)
def test_against_literal(small, score):
    q, votes, speakers = small
    options = {"pseudo_votes": PSEUDO_VOTES, "min_utterances": 10, "min_share": 0.3, "n_resamples": 60, "seed": 5}
    result = rater_equivalence(q, votes, speakers, score=score, **options)
    two = [i for i in range(40) if votes[i].sum() >= 2]
    stated = max(n for n in range(1, 6) if sum(votes[i].sum() > n for i in two) >= max(10, 0.3 * len(two)))
    assert (result.n_utterances, result.n_too_few_votes, result.n_speakers) == (len(two), 40 - len(two), 5)
    assert [point.n for point in result.curve] == list(range(1, stated + 1)) and stated >= 2

    model = {i: literal_model(votes[i], q[i], score) for i in two}
    raters = {
        (i, n): literal_raters(votes[i], PSEUDO_VOTES, n, score)
        for i in two
        for n in range(1, stated + 1)
        if votes[i].sum() > n
    }
    for point in result.curve:
        rows = [i for i in two if (i, point.n) in raters]
        assert point.n_utterances == len(rows)
        assert point.raters == pytest.approx(np.mean([raters[i, point.n] for i in rows]))
        assert point.model == pytest.approx(np.mean([model[i] for i in rows]))
    assert as_number(result.worth) == pytest.approx(literal_worth([p.raters - p.model for p in result.curve]))

    rng, values, names = np.random.default_rng(5), [], sorted(set(speakers))
    for times in rng.multinomial(5, [0.2] * 5, size=60):
        rows = [i for name, t in zip(names, times, strict=True) for i in two if speakers[i] == name for _ in range(t)]
        means = [np.mean([raters[i, n] - model[i] for i in rows if (i, n) in raters]) for n in range(1, stated + 1)]
        values.append(literal_worth(means))
    values.sort()
    assert result.n_resamples == 60
    assert [as_number(result.low), as_number(result.high)] == pytest.approx([values[1], values[58]])


def test_interpolates_between_neighbours():
    """Raters and model meet inside the curve, so the value is none of the bounds."""
    truth, votes, speakers, _ = simulated(600, 8)
    q = 0.55 * truth + 0.45 / 3
    result = rater_equivalence(q, votes, speakers)
    difference = {point.n: point.raters - point.model for point in result.curve}
    below = math.floor(result.worth.value)
    assert result.worth.bound == "=" and 1 < result.worth.value < 7
    assert difference[below] > 0 >= difference[below + 1]
    line = difference[below] + (result.worth.value - below) * (difference[below + 1] - difference[below])
    assert line == pytest.approx(0, abs=1e-12)


def test_fit_maximises_the_likelihood():
    _, votes, _, _ = simulated(500, 6)
    fitted = fit_pseudo_votes(votes)
    prior = (votes.sum(axis=0) + 1 / 3) / (votes.sum() + 1)
    assert fitted / fitted.sum() == pytest.approx(prior)
    amounts = fitted.sum() * np.exp(np.linspace(-0.3, 0.3, 61))
    likelihood = [dirichlet_multinomial.logpmf(votes, amount * prior, 6).sum() for amount in amounts]
    assert np.argmax(likelihood) == 30
    assert fitted.sum() == pytest.approx(PSEUDO_VOTES.sum(), rel=0.2)


def test_fit_for_a_speaker_leaves_that_speaker_out():
    _, votes, speakers, _ = simulated(300, 5, n_speakers=4)
    fitted = pseudo_votes_of_other_speakers(votes, speakers)
    for speaker in range(4):
        rows = speakers == speaker
        assert fitted[rows] == pytest.approx(np.broadcast_to(fit_pseudo_votes(votes[~rows]), (rows.sum(), 3)))


def test_fit_of_unanimous_and_of_random_raters_stays_in_its_range():
    unanimous = 5 * np.eye(3, dtype=int)[np.arange(60) % 3]
    rng = np.random.default_rng(0)
    evenly = np.tile([2, 2, 2], (200, 1))  # raters agree less than chance
    assert fit_pseudo_votes(unanimous).sum() == pytest.approx(LOWEST_AMOUNT, rel=1e-3)
    assert fit_pseudo_votes(evenly).sum() == pytest.approx(HIGHEST_AMOUNT, rel=1e-3)
    without_a_class = np.column_stack([rng.multinomial(4, [0.5, 0.5], size=50), np.zeros(50, dtype=int)])
    assert (fit_pseudo_votes(without_a_class) > 0).all()


def test_brier_curve_is_what_theory_says():
    """The posterior mean of n votes leaves 1 - sum p^2 - sum p (1 - p) / (A + 1) n / (n + A), p the class prior."""
    _, votes, speakers, _ = simulated(6000, 9)
    result = rater_equivalence(np.tile([0.6, 0.25, 0.15], (6000, 1)), votes, speakers, score="brier", n_resamples=20)
    amount = PSEUDO_VOTES.sum()
    prior = PSEUDO_VOTES / amount
    for point in result.curve:
        known = (prior * (1 - prior)).sum() / (amount + 1) * point.n / (point.n + amount)
        assert point.raters == pytest.approx(1 - (prior**2).sum() - known, abs=0.01)
    assert len(result.curve) == 8


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("m", [2, 4])
def test_the_smoothed_shares_of_m_more_raters_are_worth_m_raters(score, m):
    truth, votes, speakers, rng = simulated(4000, 9, seed=m)
    others = rng.multinomial(m, truth)
    result = rater_equivalence((others + PSEUDO_VOTES) / (m + PSEUDO_VOTES.sum()), votes, speakers, score=score)
    assert result.worth.bound == "=" and result.worth.value == pytest.approx(m, abs=0.35)
    assert as_number(result.low) <= m <= as_number(result.high)
    assert as_number(result.low) < result.worth.value < as_number(result.high)


@pytest.mark.parametrize("score", SCORES)
def test_truth_is_worth_more_than_any_panel_and_the_prior_less_than_one_rater(score):
    truth, votes, speakers, _ = simulated(1500, 9)
    best = rater_equivalence(truth, votes, speakers, score=score, n_resamples=200)
    assert [str(best.worth), str(best.low), str(best.high)] == ["> 8"] * 3
    prior = np.tile(PSEUDO_VOTES / PSEUDO_VOTES.sum(), (1500, 1))
    worst = rater_equivalence(prior, votes, speakers, score=score, n_resamples=200)
    assert [str(worst.worth), str(worst.low), str(worst.high)] == ["< 1"] * 3
    raters = [point.raters for point in best.curve]
    assert raters == sorted(raters, reverse=True) and raters == [point.raters for point in worst.curve]


def test_one_hot_answers_have_a_finite_cross_entropy():
    truth, votes, speakers, _ = simulated(200, 5)
    one_hot = np.eye(3)[truth.argmax(axis=1)]
    result = rater_equivalence(one_hot, votes, speakers, n_resamples=50)
    assert str(result.worth) == "< 1" and math.isfinite(result.curve[0].model)
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize("score", SCORES)
def test_order_of_classes_utterances_and_names_of_speakers_do_not_matter(small, score):
    q, votes, speakers = small
    options = {"score": score, "min_utterances": 10, "min_share": 0.3, "n_resamples": 50}
    result = rater_equivalence(q, votes, speakers, **options)
    order, classes = np.random.default_rng(1).permutation(40), [2, 0, 1]
    again = rater_equivalence(q[order][:, classes], votes[order][:, classes], speakers[order], **options)
    assert again.n_utterances == result.n_utterances and again.pseudo_votes == pytest.approx(result.pseudo_votes)
    for a, b in zip(again.curve, result.curve, strict=True):
        assert (a.n, a.n_utterances) == (b.n, b.n_utterances)
        assert (a.raters, a.model) == pytest.approx((b.raters, b.model))
    for name in ("worth", "low", "high"):
        assert as_number(getattr(again, name)) == pytest.approx(as_number(getattr(result, name)))


def test_repeatable_and_utterances_with_too_few_votes_change_nothing(small):
    q, votes, speakers = small
    options = {"min_utterances": 10, "n_resamples": 50}
    result = rater_equivalence(q, votes, speakers, **options)
    assert result == rater_equivalence(q, votes, speakers, **options)
    enough = votes.sum(axis=1) >= 2
    without = rater_equivalence(q[enough], votes[enough], speakers[enough], **options)
    assert without.n_too_few_votes == 0 < result.n_too_few_votes
    assert (without.curve, without.worth, without.low) == (result.curve, result.worth, result.low)


def test_an_n_is_stated_only_if_enough_utterances_have_the_votes():
    _, votes, speakers, _ = simulated(100, 4)
    few = np.concatenate([votes, np.full((29, 3), 2)])  # 29 of 129 utterances have 6 votes, the others 4
    q, names = np.full((129, 3), 1 / 3), np.concatenate([speakers, np.arange(29)])

    def stated(**options):
        return [(p.n, p.n_utterances) for p in rater_equivalence(q, few, names, n_resamples=20, **options).curve]

    three = [(1, 129), (2, 129), (3, 129)]
    assert stated() == three
    assert stated(min_share=0) == three
    assert stated(min_share=0, min_utterances=29) == [*three, (4, 29), (5, 29)]
    assert stated(min_share=0.3, min_utterances=29) == three


def test_draws_without_an_utterance_are_left_out_and_counted():
    votes = np.concatenate([np.full((40, 3), 1), np.full((30, 3), 2)])
    speakers = np.array(["many"] * 40 + ["few"] * 30)  # only one of two speakers has six votes
    result = rater_equivalence(np.full((70, 3), 1 / 3), votes, speakers, min_share=0.3, n_resamples=100)
    assert len(result.curve) == 5 and 5 < result.n_undefined < 50
    assert result.n_resamples + result.n_undefined == 100


@pytest.mark.parametrize(
    "change,reason",
    [
        ({"votes": np.zeros((60, 3))}, "no utterance has two votes"),
        ({"votes": np.eye(3)[np.arange(60) % 3]}, "no utterance has two votes"),
        ({"votes": np.full((60, 3), 0.5)}, "fractions"),
        ({"speakers": ["a"] * 60}, "needs two speakers"),
        ({"votes": np.where(np.arange(60)[:, None] < 29, 2, [0, 0, 1])}, "29 utterances have two votes, and 30 are"),
        ({"probabilities": np.ones((60, 1)), "votes": np.full((60, 1), 3)}, "one class"),
        ({"probabilities": np.zeros((0, 3)), "votes": np.zeros((0, 3)), "speakers": []}, "no utterance"),
    ],
)
def test_undefined(change, reason):
    given = {
        "probabilities": np.full((60, 3), 1 / 3),
        "votes": np.tile([2, 1, 0], (60, 1)),
        "speakers": [f"s{i % 4}" for i in range(60)],
    } | change
    with pytest.raises(UndefinedMetric, match=reason):
        rater_equivalence(**given)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"votes": np.ones((60, 2))}, "must agree"),
        ({"speakers": ["a"] * 59}, "speakers have shape"),
        ({"score": "accuracy"}, "allowed are cross_entropy, brier"),
        ({"pseudo_votes": [1.0, 0.0, 1.0]}, "above 0"),
        ({"pseudo_votes": [1.0, 1.0]}, "3 finite numbers"),
        ({"min_share": 2}, "min_share is 2"),
        ({"min_utterances": 0}, "min_utterances is 0"),
        ({"n_resamples": 0}, "n_resamples is 0"),
        ({"confidence": 1}, "confidence is 1"),
    ],
)
def test_refused(change, message):
    given = {
        "probabilities": np.full((60, 3), 1 / 3),
        "votes": np.tile([2, 1, 0], (60, 1)),
        "speakers": [f"s{i % 4}" for i in range(60)],
    } | change
    with pytest.raises(ValueError, match=message):
        rater_equivalence(**given)


def test_rater_count_reads_as_a_sentence_needs_it():
    assert [str(RaterCount(*c)) for c in ((7.249, "="), (8.0, ">"), (1.0, "<"))] == ["7.2", "> 8", "< 1"]


@needs_crema_d
def test_crema_d_voice_only():
    """Real raters: each rater more is worth something, by both scores, and the corpus prior is worth less than one."""
    votes, speakers = voice_only_votes()
    prior = np.tile(votes.sum(axis=0) / votes.sum(), (len(votes), 1))
    for score in SCORES:
        result = rater_equivalence(prior, votes, speakers, score=score, n_resamples=1000)
        raters = [point.raters for point in result.curve]
        assert len(raters) >= 5 and raters == sorted(raters, reverse=True)
        assert (str(result.worth), str(result.high)) == ("< 1", "< 1")
