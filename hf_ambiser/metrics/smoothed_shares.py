"""What n raters of an utterance tell about the answer of the next rater: their vote shares, smoothed by pseudo-votes.

Raw shares give 0 to every class that none of the n raters chose. If the next rater chooses that class, the
cross-entropy is infinite. Resnick et al. (arXiv 2106.01254) avoid this with Bayes' rule ("anonymous Bayesian
combiner"): the probability of the next answer, given n answers, taken from how often these answers occur together on
all other items. Nine votes for six classes fall in 2002 ways, and a corpus has too few utterances to count each of
them. We therefore apply Bayes' rule with a Dirichlet distribution over the emotion distributions of utterances. From
c_k votes for class k among n raters it predicts

    q_k = (c_k + a_k) / (n + A),    A = sum_k a_k,

which is a mixture of the n raters' shares (weight n / (n + A)) and of the class prior a / A (weight A / (n + A)): the
prior counts less, the more raters have answered. The pseudo-votes a are fitted on the votes of other speakers.

A Dirichlet distribution does not know which emotions are often confused with each other, and Bayes' rule on all joint
frequencies does. Smoothed shares are therefore the weaker prediction of the two, and by them a model is worth more
raters than it would be by the combiner of Resnick et al.: numbers from the two must not be compared.

A prediction is scored against one more rater of the same utterance. The expectation, over which rater is held out
and which n others are asked, is exact: both scores need the number of votes for one class at a time, and that number
has a hypergeometric distribution. So there is nothing to draw.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import Array, UndefinedMetric
from hf_ambiser.metrics.raters import counts_of_two_votes


# The amount A is sought in this range. At the lower end one rater decides, at the upper end raters add nothing.
LOWEST_AMOUNT, HIGHEST_AMOUNT = 1e-3, 1e3


def fit_pseudo_votes(votes: Array) -> Array:
    """`(K,)` pseudo-votes a that describe the votes of these utterances best.

    The class prior a / A is the share of each class among all votes, after one vote has been divided among all
    classes, so that no class has the prior 0. The amount A maximises the likelihood of the votes v,

        sum_n [ sum_k log prod_{j < v_nk} (A prior_k + j)  -  log prod_{j < V_n} (A + j) ],

    which is the sum of the log-probabilities that 0, 1, ..., V - 1 raters give to the next one (the
    Dirichlet-multinomial distribution). A is sought from `LOWEST_AMOUNT` to `HIGHEST_AMOUNT`.

    Args:
        votes: `(N, K)` whole counts. Utterances with fewer than two votes are left out: they do not tell how much
            raters agree.

    Raises:
        UndefinedMetric: Fractional votes, or no utterance with two votes.
    """
    counts = counts_of_two_votes(votes)
    one_group = np.zeros(len(counts), dtype=np.int64)
    per_class, per_utterance = _more_than(counts, one_group)
    return _fit(per_class[0], per_utterance[0])


def pseudo_votes_of_other_speakers(votes: Array, speakers: Array) -> Array:
    """`(N, K)` pseudo-votes of each utterance, fitted on the utterances of all other speakers.

    Args:
        votes: `(N, K)` whole counts with at least two votes in every row.
        speakers: `(N,)` who speaks.

    Raises:
        UndefinedMetric: Fewer than two speakers.
    """
    names, speaker = np.unique(np.asarray(speakers), return_inverse=True)
    if len(names) < 2:
        raise UndefinedMetric(f"smoothing is fitted on other speakers' votes, and there is {len(names)} speaker")
    per_class, per_utterance = _more_than(np.asarray(votes), speaker)
    all_classes, all_utterances = per_class.sum(axis=0), per_utterance.sum(axis=0)
    fitted = [_fit(all_classes - c, all_utterances - u) for c, u in zip(per_class, per_utterance, strict=True)]
    return np.stack(fitted)[speaker]


def _more_than(counts: Array, group: Array) -> tuple[Array, Array]:
    """Per group, the utterances with more than j votes: for each class `(G, K, J)`, and in all `(G, J)`."""
    total = counts.sum(axis=1)
    n_groups, longest = int(group.max()) + 1, int(total.max())
    per_class, per_utterance = np.zeros((n_groups, counts.shape[1], longest)), np.zeros((n_groups, longest))
    for j in range(longest):
        np.add.at(per_class[:, :, j], group, counts > j)
        np.add.at(per_utterance[:, j], group, total > j)
    return per_class, per_utterance


def _fit(per_class: Array, per_utterance: Array) -> Array:
    """`(K,)` pseudo-votes from the numbers of utterances with more than j votes, `(K, J)` and `(J,)`."""
    n_classes, longest = per_class.shape
    of_class = per_class.sum(axis=1)  # the number of votes for each class
    prior = (of_class + 1 / n_classes) / (of_class.sum() + 1)
    j = np.arange(longest)

    def negative_log_likelihood(log_amount: float) -> float:
        amount = np.exp(log_amount)
        of_classes = (per_class * np.log(amount * prior[:, None] + j)).sum()
        return float((per_utterance * np.log(amount + j)).sum() - of_classes)

    # The options keep the search going to 1e-6 of the amount: its default stops at 1e-5 of the whole range.
    found = minimize_scalar(
        negative_log_likelihood,
        bounds=(np.log(LOWEST_AMOUNT), np.log(HIGHEST_AMOUNT)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return np.exp(found.x) * prior


def raters_cross_entropy(votes: Array, pseudo_votes: Array, n: int) -> Array:
    """`(N,)` expected -log2 of what n raters give to one more rater's answer, in bits.

    With v_k of V votes for class k, the held-out answer is k with probability v_k / V, and the number of votes for k
    among n of the V - 1 others is hypergeometric:

        sum_k v_k / V sum_j C(v_k - 1, j) C(V - v_k, n - j) / C(V - 1, n) (-log2 (j + a_k) / (n + A)).

    Args:
        votes: `(N, K)` whole counts with at least n + 1 votes in every row.
        pseudo_votes: `(N, K)` a, above 0.
        n: The raters who are asked, at least 1.
    """
    total = votes.sum(axis=1)
    utterance, answer = np.nonzero(votes)
    same, size = votes[utterance, answer][:, None], total[utterance][:, None]
    j = np.arange(n + 1)
    chance = np.exp(_log_choices(same - 1, j) + _log_choices(size - same, n - j) - _log_choices(size - 1, n))
    amount = pseudo_votes.sum(axis=1)[utterance][:, None]
    bits = -np.log2((j + pseudo_votes[utterance, answer][:, None]) / (n + amount))
    weight = (same / size)[:, 0]
    return np.bincount(utterance, weights=weight * (chance * bits).sum(axis=1), minlength=len(votes))


def _log_choices(n: Array, k: Array | int) -> Array:
    """The log of C(n, k); minus infinity where k > n."""
    return gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - k + 1)


def raters_brier(votes: Array, pseudo_votes: Array, n: int) -> Array:
    """`(N,)` expected sum_k (q_k - [answer is k])^2 of n raters against one more rater's answer, from 0 to 2.

    It is E[sum_k q_k^2] - 2 E[q_answer] + 1. In the first part, the n raters are any n of the V, so each c_k has the
    mean and variance of a hypergeometric distribution; in the second part, c_answer has the mean
    n (v_answer - 1) / (V - 1).

    Args: as `raters_cross_entropy`.
    """
    total, amount = votes.sum(axis=1)[:, None], pseudo_votes.sum(axis=1)
    share = soft_labels(votes)
    variance = n * share * (1 - share) * (total - n) / (total - 1)
    squares = (variance + (n * share + pseudo_votes) ** 2).sum(axis=1) / (n + amount) ** 2
    of_answer = (share * (n * (votes - 1) / (total - 1) + pseudo_votes)).sum(axis=1) / (n + amount)
    return squares - 2 * of_answer + 1
