"""What votes and a model together say about an utterance, and what one more vote would tell.

The next rater of an utterance chooses class k with an unknown probability p_k. Before anybody votes, p has a Dirichlet
distribution around the model's answer m, as if S raters had voted as the model says:

    p ~ Dirichlet(S m'),    m' = (1 - u) m + u c,

where c are the shares of the classes among all votes, and u makes up for a model that is too sure. S is the *strength*
of the model's answer. A model knows some utterances better than others, so each utterance has a strength of its own,
one of `STRENGTHS`, with the prior probability pi_g. Given the votes v (n in all), Bayes' rule says

    w_g = P(S_g | v)  ~  pi_g  B(S_g m' + v) / B(S_g m'),    B(a) = prod_k Gamma(a_k) / Gamma(sum_k a_k),
    q_k(v) = P(the next vote is k | v) = sum_g w_g (S_g m'_k + v_k) / (S_g + n).

Votes that contradict the model move w to low strengths, so q follows the votes there, and is uncertain.

The *gain* of one more vote is what it tells about the vote after it, in bits:

    gain(v) = I(next vote; the vote after it) = H(q(v)) - sum_k q_k(v) H(q(v + e_k)).

It is also the expected fall of the error of q. If q is the estimate of p, its expected error E[KL(p || q)] is
H(q) - E[H(p)]. A vote leaves E[H(p)] as it is on average, so the error falls by just the gain. The gain is small where
all are sure of one class and where there are many votes, and large where people divide, where nobody has voted, or
where votes contradict the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from hf_ambiser.labels.votes import entropy_bits


Array = np.ndarray
# The strengths that an utterance may have, in votes.
STRENGTHS = 2.0 ** np.arange(-1, 7)
# u is sought from here (a probability of 0 would forbid a vote for ever) to 1 (the model tells nothing).
LOWEST_SHARE = 1e-4
# EM rounds for pi: while u is sought, and with the u that was found.
_ROUNDS, _LAST_ROUNDS = 30, 200
_AT_ONCE = 50_000  # utterances whose gains are computed together


@dataclass(frozen=True)
class Belief:
    """The belief about N utterances.

    Args:
        prior: `(N, K)` m', positive, rows sum to 1.
        votes: `(N, K)` v; fractions where votes count in part.
        weights: `(G,)` pi, the prior probability of each of `STRENGTHS`.
        class_shares: `(K,)` c.
        share_of_classes: u.
    """

    prior: Array
    votes: Array
    weights: Array
    class_shares: Array
    share_of_classes: float

    def expected(self) -> Array:
        """`(N, K)` q, the probability of each class for the next vote."""
        return np.concatenate([_next(part, part.votes, _strengths(part, part.votes)) for part in self._parts()])

    def model_share(self) -> Array:
        """`(N,)` the model's part in q, sum_g w_g S_g / (S_g + n): 1 without votes, and less with each of them."""
        return np.concatenate([(_strengths(p, p.votes) * _model_parts(p.votes)).sum(axis=1) for p in self._parts()])

    def gain(self) -> Array:
        """`(N,)` bits that one more vote tells about the vote after it, at least 0."""
        return np.concatenate([_gain(part) for part in self._parts()])

    def with_votes(self, votes: Array) -> Belief:
        """The same prior with other votes `(N, K)`, as if it had been fitted to them."""
        return replace(self, votes=np.asarray(votes, dtype=np.float64))

    def of_rows(self, rows: Array, votes: Array | None = None) -> Belief:
        """The belief about some of the utterances `(M,)`, each any number of times, also with other votes `(M, K)`."""
        return replace(self, prior=self.prior[rows], votes=self.votes[rows] if votes is None else votes)

    def _parts(self) -> Iterator[Belief]:
        for start in range(0, max(len(self.votes), 1), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            yield replace(self, prior=self.prior[rows], votes=self.votes[rows])


def fit_belief(model: Array, votes: Array) -> Belief:
    """Fit u and pi to the votes, by their likelihood.

    The likelihood of an utterance's votes is sum_g pi_g B(S_g m' + v) / B(S_g m'). pi is found by EM for each u, as if
    each strength had been seen once more (so that few utterances rule no strength out). Utterances with less than two
    votes do not tell their strength; if there are no others, all strengths are equally likely.

    Args:
        model: `(N, K)` m, rows sum to 1. A row of NaN is an utterance without an answer; its prior is c.
        votes: `(N, K)` v, at least 0.

    Raises:
        ValueError: If there is no utterance, or the shapes differ.
    """
    model, votes = np.asarray(model, dtype=np.float64), np.asarray(votes, dtype=np.float64)
    if model.shape != votes.shape or model.ndim != 2 or len(model) == 0:
        raise ValueError(f"model {model.shape} and votes {votes.shape} must both be (N, K), with an N of at least 1.")
    n_classes = votes.shape[1]
    shares = (votes.sum(axis=0) + 1 / n_classes) / (votes.sum() + 1)
    model = np.where(np.isnan(model), shares, model)
    uniform = np.full(len(STRENGTHS), 1 / len(STRENGTHS))
    rated, several = votes.sum(axis=1) > 0, votes.sum(axis=1) > 1
    start = Belief(model, votes, uniform, shares, 1.0)

    def with_share(u: float) -> Belief:
        return replace(start, prior=(1 - u) * model + u * shares, share_of_classes=float(u))

    def fitted(belief: Belief, rounds: int) -> Belief:
        return replace(belief, weights=_strength_weights(_log_likelihood(belief, several), rounds))

    def misfit(u: float) -> float:
        belief = fitted(with_share(u), _ROUNDS)
        return -float(_log_sum(_log_likelihood(belief, rated), belief.weights).sum())

    if not rated.any():
        return with_share(LOWEST_SHARE)
    found = minimize_scalar(misfit, bounds=(LOWEST_SHARE, 1.0), method="bounded", options={"xatol": 1e-3})
    return fitted(with_share(found.x), _LAST_ROUNDS)


def _log_likelihood(belief: Belief, rows: Array) -> Array:
    """`(M, G)` log B(S_g m' + v) / B(S_g m') of these rows."""
    return _log_evidence(belief.prior[rows], belief.votes[rows])


def _log_evidence(prior: Array, votes: Array) -> Array:
    n = votes.sum(axis=1)
    result = np.empty((len(votes), len(STRENGTHS)))
    for g, strength in enumerate(STRENGTHS):
        alpha = strength * prior
        of_classes = (gammaln(alpha + votes) - gammaln(alpha)).sum(axis=1)
        result[:, g] = of_classes - gammaln(strength + n) + gammaln(strength)
    return result


def _strength_weights(log_likelihood: Array, rounds: int) -> Array:
    """`(G,)` pi by EM, with one more utterance of each strength."""
    n, n_strengths = log_likelihood.shape
    weights = np.full(n_strengths, 1 / n_strengths)
    if n == 0:
        return weights
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    for _ in range(rounds):
        of_each = likelihood * weights
        weights = ((of_each / of_each.sum(axis=1, keepdims=True)).sum(axis=0) + 1) / (n + n_strengths)
    return weights


def _log_sum(log_likelihood: Array, weights: Array) -> Array:
    top = log_likelihood.max(axis=1)
    return np.log(np.exp(log_likelihood - top[:, None]) @ weights) + top


def _strengths(belief: Belief, votes: Array) -> Array:
    """`(N, G)` w, the probability of each strength given the votes."""
    log_weight = _log_evidence(belief.prior, votes) + np.log(belief.weights)
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def _of_strengths(belief: Belief, votes: Array) -> Array:
    """`(N, G, K)` probability of each class for the next vote, if the strength were known."""
    amount = STRENGTHS[:, None]
    n = votes.sum(axis=1)[:, None, None]
    return (amount * belief.prior[:, None, :] + votes[:, None, :]) / (amount + n)


def _model_parts(votes: Array) -> Array:
    """`(N, G)` the model's part in q for each strength."""
    return STRENGTHS / (STRENGTHS + votes.sum(axis=1, keepdims=True))


def _next(belief: Belief, votes: Array, strengths: Array) -> Array:
    return np.einsum("ng,ngk->nk", strengths, _of_strengths(belief, votes))


def _gain(belief: Belief) -> Array:
    strengths, of_strengths = _strengths(belief, belief.votes), _of_strengths(belief, belief.votes)
    now = np.einsum("ng,ngk->nk", strengths, of_strengths)
    gain = entropy_bits(now)
    for k in range(now.shape[1]):
        # Bayes' rule for one vote: each strength counts by what it gave to this class.
        after = strengths * of_strengths[:, :, k]
        after /= after.sum(axis=1, keepdims=True)
        one_more = belief.votes + (np.arange(now.shape[1]) == k)
        gain -= now[:, k] * entropy_bits(_next(belief, one_more, after))
    return np.maximum(gain, 0.0)  # rounding can give -1e-17
