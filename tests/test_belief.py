"""The belief about an utterance and the gain of a vote, against a literal transcription of their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import digamma

from hf_ambiser.next_ratings import belief as module
from hf_ambiser.next_ratings.belief import STRENGTHS, Belief, fit_belief


RNG = np.random.default_rng(0)
K = 4


def made(n: int = 12, fractions: bool = False) -> Belief:
    votes = RNG.poisson(1.2, size=(n, K)).astype(float)
    votes[0] = 0
    votes[1] = [7, 0, 0, 0]
    if fractions:
        votes *= RNG.uniform(0.2, 1, size=(n, 1))
    shares = RNG.dirichlet(np.ones(K))
    prior = 0.9 * RNG.dirichlet(np.ones(K) / 2, size=n) + 0.1 * shares
    return Belief(prior, votes, RNG.dirichlet(np.ones(len(STRENGTHS))), shares, 0.1)


# ---- the formulas of the module's docstring, term by term ----------------------------------------------------------


def log_b(a: list[float]) -> float:
    return sum(math.lgamma(x) for x in a) - math.lgamma(sum(a))


def w(prior: list[float], v: list[float], pi: list[float]) -> list[float]:
    terms = []
    for s, p in zip(STRENGTHS.tolist(), pi, strict=True):
        before = [s * m for m in prior]
        terms.append(p * math.exp(log_b([b + x for b, x in zip(before, v, strict=True)]) - log_b(before)))
    return [term / sum(terms) for term in terms]


def q(prior: list[float], v: list[float], pi: list[float]) -> list[float]:
    weights, n = w(prior, v, pi), sum(v)
    return [
        sum(g * (s * prior[k] + v[k]) / (s + n) for g, s in zip(weights, STRENGTHS.tolist(), strict=True))
        for k in range(len(v))
    ]


def h(p: list[float]) -> float:
    return -sum(x * math.log2(x) for x in p if x > 0)


def plus(v: list[float], k: int) -> list[float]:
    return [x + (i == k) for i, x in enumerate(v)]


def slow_gain(prior: list[float], v: list[float], pi: list[float]) -> float:
    now = q(prior, v, pi)
    return h(now) - sum(now[k] * h(q(prior, plus(v, k), pi)) for k in range(len(v)))


def error(prior: list[float], v: list[float], pi: list[float]) -> float:
    """E[KL(p || q)] in bits, with E[p_k log p_k] of a Dirichlet distribution by digamma."""
    found = h(q(prior, v, pi))
    for weight, s in zip(w(prior, v, pi), STRENGTHS.tolist(), strict=True):
        alpha = [s * m + x for m, x in zip(prior, v, strict=True)]
        total = sum(alpha)
        found += weight * sum(a / total * (digamma(a + 1) - digamma(total + 1)) for a in alpha) / math.log(2)
    return found


@pytest.mark.parametrize("fractions", [False, True])
def test_expected_votes_and_gain_are_those_of_the_formulas(fractions):
    belief = made(fractions=fractions)
    expected, gain, share = belief.expected(), belief.gain(), belief.model_share()
    pi = belief.weights.tolist()
    for n, (prior, v) in enumerate(zip(belief.prior.tolist(), belief.votes.tolist(), strict=True)):
        assert expected[n] == pytest.approx(q(prior, v, pi), abs=1e-12)
        assert gain[n] == pytest.approx(slow_gain(prior, v, pi), abs=1e-12)
        parts = [s / (s + sum(v)) for s in STRENGTHS.tolist()]
        assert share[n] == pytest.approx(sum(a * b for a, b in zip(w(prior, v, pi), parts, strict=True)), abs=1e-12)
    assert share[0] == 1.0


def test_the_gain_is_the_expected_fall_of_the_expected_error():
    belief = made()
    gain, expected, pi = belief.gain(), belief.expected(), belief.weights.tolist()
    for n, (prior, v) in enumerate(zip(belief.prior.tolist(), belief.votes.tolist(), strict=True)):
        after = sum(expected[n, k] * error(prior, plus(v, k), pi) for k in range(K))
        assert gain[n] == pytest.approx(error(prior, v, pi) - after, abs=1e-10)
        assert gain[n] > 0


def test_parts_and_rows_change_nothing(monkeypatch):
    belief = made(10)
    whole = belief.expected(), belief.gain(), belief.model_share()
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    for one, other in zip(whole, (belief.expected(), belief.gain(), belief.model_share()), strict=True):
        np.testing.assert_array_equal(one, other)
    rows = np.array([4, 1, 4])
    np.testing.assert_allclose(belief.of_rows(rows).gain(), whole[1][rows], atol=1e-15)
    np.testing.assert_allclose(belief.of_rows(rows, belief.votes[[1, 1, 4]]).expected()[2], whole[0][4], atol=1e-15)


def test_a_vote_tells_more_where_there_are_few_and_where_they_contradict_the_model():
    prior = np.tile([[0.7, 0.1, 0.1, 0.1]], (4, 1))
    votes = np.array([[3, 0, 0, 0], [6, 0, 0, 0], [0, 3, 0, 0], [0, 6, 0, 0]], dtype=float)
    pi = np.full(len(STRENGTHS), 1 / len(STRENGTHS))
    belief = Belief(prior, votes, pi, np.full(K, 1 / K), 0.0)
    agree3, agree6, differ3, differ6 = belief.gain()
    assert agree3 > agree6 and differ3 > differ6 and differ3 > agree3 and differ6 > agree6
    share = belief.model_share()
    assert share[0] > share[2] and share[1] > share[3]  # contradicted, the model counts less


# ---- the fit -------------------------------------------------------------------------------------------------------


def likelihood(model: np.ndarray, votes: np.ndarray, u: float, pi: np.ndarray) -> float:
    """Of all votes, by the formula; c as `fit_belief` says."""
    c = (votes.sum(axis=0) + 1 / K) / (votes.sum() + 1)
    total = 0.0
    for m, v in zip(model, votes, strict=True):
        prior = ((1 - u) * m + u * c).tolist()
        terms = []
        for s, p in zip(STRENGTHS.tolist(), pi.tolist(), strict=True):
            before = [s * x for x in prior]
            terms.append(p * math.exp(log_b([b + x for b, x in zip(before, v, strict=True)]) - log_b(before)))
        total += math.log(sum(terms))
    return total


def drawn(strength: float, n: int = 400, n_votes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    model = rng.dirichlet(np.ones(K) / 2, size=n) * 0.95 + 0.05 / K
    truth = np.array([rng.dirichlet(strength * m) for m in model])
    return model, np.array([rng.multinomial(n_votes, p) for p in truth]).astype(float)


def test_the_fit_finds_the_strength_that_votes_were_drawn_with():
    for strength in (1.0, 16.0):
        model, votes = drawn(strength)
        found = fit_belief(model, votes)
        geometric = 2 ** (found.weights @ np.log2(STRENGTHS))
        assert strength / 1.6 < geometric < strength * 1.6
        assert found.share_of_classes < 0.1


def test_the_fit_is_a_maximum_of_the_likelihood():
    model, votes = drawn(4.0, n=60)
    found = fit_belief(model, votes)
    best = likelihood(model, votes, found.share_of_classes, found.weights)
    for u in (0.0, found.share_of_classes + 0.1, 0.5, 1.0):
        assert likelihood(model, votes, u, found.weights) < best + 1e-6
    uniform = np.full(len(STRENGTHS), 1 / len(STRENGTHS))
    assert likelihood(model, votes, found.share_of_classes, uniform) < best
    # EM has come to rest: one more round, with one more utterance of each strength, changes nothing.
    rounds = np.array(
        [w(p, v, found.weights.tolist()) for p, v in zip(found.prior.tolist(), votes.tolist(), strict=True)]
    )
    np.testing.assert_allclose((rounds.sum(axis=0) + 1) / (len(votes) + len(STRENGTHS)), found.weights, atol=2e-3)


def test_a_model_that_knows_nothing_is_not_trusted():
    model, votes = drawn(16.0)
    shuffled = np.random.default_rng(2).permutation(model)
    assert fit_belief(shuffled, votes).share_of_classes > 0.7
    assert fit_belief(model, votes).share_of_classes < 0.1


def test_without_answers_or_votes_the_prior_is_what_is_known():
    model, votes = drawn(4.0, n=30)
    model[3] = np.nan
    found = fit_belief(model, votes)
    np.testing.assert_allclose(found.prior[3], found.class_shares)
    nothing = fit_belief(model, np.zeros_like(votes))
    np.testing.assert_allclose(nothing.expected()[0], model[0], atol=1e-3)
    np.testing.assert_allclose(nothing.expected()[3], 1 / K)
    single = fit_belief(model, np.eye(K)[votes.argmax(axis=1)])
    np.testing.assert_allclose(single.weights, 1 / len(STRENGTHS))  # one vote does not tell the strength
    assert (single.gain() > 0).all()
    for wrong in (votes[:5], votes[:, :2], np.zeros((0, K))):
        with pytest.raises(ValueError, match="must both be"):
            fit_belief(model[: len(wrong)] if len(wrong) == 0 else model, wrong)
