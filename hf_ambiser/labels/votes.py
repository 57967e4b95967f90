"""Turn raters' ratings into votes, soft labels and consensus labels, and measure their ambiguity.

Everything here is a pure function of arrays. Only a named `LabelPolicy` decides what counts as a vote (which classes
count, and what happens to second labels, self-reports and votes for other classes) and where the training labels come
from (vote shares, or a model of the raters). Each policy has a fingerprint, so equal fingerprints mean equal rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ambiser.labels.aggregation import AggregationError, posterior
from hf_ambiser.labels.policies import LabelPolicy


Array = np.ndarray
# If a posterior gives all K classes together less than this, it says nothing about them.
NO_MASS = 1e-6
# One rating: the labels, whether the rater is the speaker, and the rater's name if it is known.
Answer = tuple[Sequence[str], bool] | tuple[Sequence[str], bool, str | None]


@dataclass(frozen=True)
class RatingArrays:
    """All ratings of a corpus: one row per label, R rows in any order.

    Args:
        n_utterances: N.
        utterance: `(R,)` int in [0, N), the utterance that was rated.
        rating: `(R,)` int, the rating that the label belongs to: one number per rater and utterance.
        label: `(R,)` int, index into `vocabulary`.
        position: `(R,)` int, place of the label within its rating, from 0.
        self_report: `(R,)` bool, whether the rater is the speaker.
        vocabulary: The raw labels, in lower case.
        rater: `(R,)` int, index into `raters`, or -1 for a rater without a name. None if no rater has a name.
        raters: Names of the raters.
        group: `(N,)` int, the group of each utterance; only an aggregation with `within="group"` needs it.

    Raises:
        ValueError: If columns differ in length, if an utterance, label or rater is out of range, or if the words of
            the vocabulary are not distinct and in lower case.
    """

    n_utterances: int
    utterance: Array
    rating: Array
    label: Array
    position: Array
    self_report: Array
    vocabulary: tuple[str, ...]
    rater: Array | None = None
    raters: tuple[str, ...] = ()
    group: Array | None = None

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("utterance", "rating", "label", "position", "self_report")}
        if self.rater is not None:
            columns["rater"] = self.rater
        rows = {name: len(column) for name, column in columns.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"ratings: the columns have different lengths: {rows}.")
        # An index out of range would silently count for another utterance, label or rater.
        for name, lowest, n, what in (
            ("utterance", 0, self.n_utterances, "n_utterances"),
            ("label", 0, len(self.vocabulary), "len(vocabulary)"),
            ("rater", -1, len(self.raters), "len(raters)"),
        ):
            column = columns.get(name, ())
            if len(column) and not (column.min() >= lowest and column.max() < n):
                raise ValueError(
                    f"ratings: column {name!r} runs from {column.min()} to {column.max()}; allowed is {lowest} to"
                    f" {n - 1} ({what} - 1)."
                )
        if len(set(self.vocabulary)) < len(self.vocabulary) or any(word != word.lower() for word in self.vocabulary):
            raise ValueError(f"ratings: vocabulary {self.vocabulary} must hold different words, all in lower case.")

    @classmethod
    def from_lists(cls, ratings: Sequence[Iterable[Answer]]) -> RatingArrays:
        """Make the arrays from one list of `(labels, self_report)` or `(labels, self_report, rater)` per utterance.

        Labels are changed to lower case. `rater` is a name, or None if it is not known.
        """
        codes: dict[str, int] = {}
        raters: dict[str, int] = {}
        rows: list[tuple[int, int, int, int, bool, int]] = []
        answer = 0
        for n, answers in enumerate(ratings):
            for labels, is_self, *named in answers:
                name = named[0] if named else None
                who = -1 if name is None else raters.setdefault(name, len(raters))
                for position, label in enumerate(labels):
                    code = codes.setdefault(label.lower(), len(codes))
                    rows.append((n, answer, code, position, is_self, who))
                answer += 1
        table = np.array(rows, dtype=np.int64).reshape(-1, 6)
        return cls(
            n_utterances=len(ratings),
            utterance=table[:, 0],
            rating=table[:, 1],
            label=table[:, 2],
            position=table[:, 3],
            self_report=table[:, 4].astype(bool),
            vocabulary=tuple(codes),
            rater=table[:, 5],
            raters=tuple(raters),
        )


@dataclass(frozen=True)
class VoteTable:
    """The votes of N utterances for K classes, and the labels that follow from them.

    Args:
        votes: `(N, K)` float64 counts (fractions under `multi_label="fractional"`).
        outside: `(N,)` float64, weight of the votes for classes that are left out.
        vote_label: `(N,)` int64, consensus class of the votes, or -1.
        agreement: `(N,)` float64 in [0, 1], share of the votes for the consensus class, or for the strongest class if
            there is no consensus.
        kept: `(N,)` bool: the utterance has a vote for one of the classes and, unless the rule is `all_inclusive`, a
            consensus.
        votes_in: Weight of all votes that came in.
        excluded: Reason -> weight that did not become a vote. `votes_in == votes.sum() + sum(excluded.values())`.
        label: `(N,)` int64, class to learn from, or -1. It is `vote_label`; under a model of the raters it is the
            class with the highest posterior (with more than half of it, if the rule is `majority`).
        soft_label: `(N, K)` distribution to learn from: shares of the votes, or the model's posterior within the K
            classes. A row is zero if nobody voted for a class, or if the model is sure of a class that is left out.
    """

    votes: Array
    outside: Array
    vote_label: Array
    agreement: Array
    kept: Array
    votes_in: float
    excluded: dict[str, float]
    label: Array
    soft_label: Array

    @property
    def entropy(self) -> Array:
        """`(N,)` entropy of the soft label in bits; 0 if nobody voted."""
        return entropy_bits(self.soft_label)

    @property
    def vote_shares(self) -> Array:
        """`(N, K)` shares of the votes under any aggregation; a row is zero if nobody voted for a class."""
        return soft_labels(self.votes)


def soft_labels(votes: Array) -> Array:
    """Divide counts `(N, K)` by their row sums to get vote shares `(N, K)`; rows without votes stay zero."""
    votes = np.asarray(votes, dtype=np.float64)
    total = votes.sum(axis=-1, keepdims=True)
    return np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)


def top_shares(votes: Array) -> Array:
    """Return the largest share of each row's votes `(N, K)`: `(N,)` float64 in [0, 1], 0 without votes."""
    return soft_labels(votes).max(axis=1, initial=0.0)


def entropy_bits(distribution: Array) -> Array:
    """Compute the entropy in bits along the last axis of `(..., K)`; `0 log 0 = 0`."""
    p = np.asarray(distribution, dtype=np.float64)
    logarithm = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return -(p * logarithm).sum(axis=-1) + 0.0  # + 0.0 turns -0.0 into 0.0


def tally(policy: LabelPolicy, ratings: RatingArrays) -> VoteTable:
    """Count the votes under a policy and derive the labels.

    It is vectorised: it makes a few passes over the R labels and an `(N, K + left-out labels)` table.

    A model of the raters gets the ratings that count. It chooses among the same candidates as the consensus: the
    classes (or the raw labels, if `merge="after"`) and, if agreement is over all votes, the labels that are left out.
    Under `multi_label="each"` every label is a separate answer, so a rater with two labels counts twice.

    Raises:
        ValueError: If a raw label is not in the policy's class map.
        AggregationError: If the policy's model of the raters cannot be used: a rater has no name, crowd-kit is
            missing, or the model diverges.
    """
    vocabulary = ratings.vocabulary
    unknown = sorted({label for label in vocabulary if label not in policy.class_map})
    if unknown:
        raise ValueError(
            f"label(s) {unknown} are not in the class map of policy {policy.name!r}, which knows"
            f" {sorted(policy.class_map)}. Add each to the map: to a class, or to None to leave it out."
        )
    n, k = ratings.n_utterances, len(policy.classes)
    in_class = np.array(
        [policy.classes.index(c) if (c := policy.class_map[label]) is not None else -1 for label in vocabulary],
        dtype=np.int64,
    )
    weight = _weights(policy, ratings)
    votes_in = float(weight.sum())
    excluded: dict[str, float] = {}

    use = np.ones(len(weight), dtype=bool)
    if not policy.self_reports:
        _exclude(excluded, "self-report", use, ratings.self_report, weight)
    if policy.multi_label == "first":
        _exclude(excluded, "second label of a rater", use, ratings.position > 0, weight)
    elif policy.multi_label == "each":
        # Excitement and happiness by one rater are one vote for the merged class, not two.
        target = in_class[ratings.label]
        key = np.where(target >= 0, target, k + ratings.label)
        _exclude(excluded, "same class twice by one rater", use, _repeats(ratings, key, use), weight)

    # One column per raw label, because the consensus may come before classes are merged or dropped.
    v = max(len(vocabulary), 1)
    raw = np.bincount(ratings.utterance[use] * v + ratings.label[use], weights=weight[use], minlength=n * v).reshape(
        n, v
    )
    votes = np.zeros((n, k))
    for column, target in enumerate(in_class):
        if target >= 0:
            votes[:, target] += raw[:, column]
        elif raw[:, column].any():
            excluded[f"outside the classes: {vocabulary[column]}"] = float(raw[:, column].sum())
    outside = raw[:, : len(vocabulary)][:, in_class < 0].sum(axis=1)

    # The candidates for the consensus, and the class that each one stands for.
    candidate, target = _candidates(policy, in_class)
    among = (candidate[:, None] == np.arange(len(target))).astype(np.float64)  # (V, C)
    counts = raw[:, : len(vocabulary)] @ among
    has_vote = votes.sum(axis=1) > 0
    label = _leader(policy, counts, target)
    strongest = np.where(label >= 0, label, votes.argmax(axis=1))
    share, total = votes[np.arange(n), strongest], counts.sum(axis=1)
    agreement = np.divide(share, total, out=np.zeros(n), where=total > 0)
    kept = has_vote & ((label >= 0) | (policy.rule == "all_inclusive"))
    if policy.aggregation == "shares":
        return VoteTable(votes, outside, label, agreement, kept, votes_in, excluded, label, soft_labels(votes))

    rows = np.flatnonzero(use & (candidate[ratings.label] >= 0))
    belief = posterior(
        policy.aggregation,
        policy.aggregation_options,
        ratings.utterance[rows],
        rater_numbers(policy, ratings)[rows],
        candidate[ratings.label[rows]],
        counts.shape,
        ratings.group,
    )
    in_classes = belief @ (target[:, None] == np.arange(k))
    # Below NO_MASS the shares within the K classes would be rounding errors of the model.
    known = has_vote & (in_classes.sum(axis=1) > NO_MASS)
    soft = soft_labels(in_classes) * known[:, None]
    modelled = np.where(has_vote, _leader(policy, belief, target), -1)
    return VoteTable(votes, outside, label, agreement, kept, votes_in, excluded, modelled, soft)


def rater_numbers(policy: LabelPolicy, ratings: RatingArrays) -> Array:
    """Number the raters by the order of their names: `(R,)` int, -1 for a rater without a name.

    Raises:
        AggregationError: If the policy models raters and the rater of a rating that may count has no name.
    """
    rater = np.full(len(ratings.label), -1) if ratings.rater is None else ratings.rater
    counts = np.ones(len(rater), dtype=bool) if policy.self_reports else ~ratings.self_report
    anonymous = counts & (rater < 0)
    if policy.aggregation != "shares" and anonymous.any():
        raise AggregationError(
            f"label policy {policy.name!r}: aggregation={policy.aggregation!r} models each rater, but"
            f" {anonymous.sum()} of {counts.sum()} ratings do not name their rater. Use aggregation='shares', or a"
            " corpus that names raters (IEMOCAP, simulated; CREMA-D, if its release's finishedResponses.csv and"
            " finishedEmoResponses.csv are there)."
        )
    return np.append(np.argsort(np.argsort(ratings.raters)), -1)[rater]


def _weights(policy: LabelPolicy, ratings: RatingArrays) -> Array:
    """`(R,)` weight of each label: 1, or 1/n for a rating with n labels under `fractional`."""
    if policy.multi_label != "fractional" or len(ratings.rating) == 0:
        return np.ones(len(ratings.rating))
    return 1.0 / np.bincount(ratings.rating)[ratings.rating]


def _exclude(excluded: dict[str, float], reason: str, use: Array, out: Array, weight: Array) -> None:
    """Take rows out of `use` (in place) and record their weight under the reason."""
    gone = use & out
    if gone.any():
        excluded[reason] = float(weight[gone].sum())
        use &= ~out


def _repeats(ratings: RatingArrays, key: Array, use: Array) -> Array:
    """`(R,)` bool: whether a used row of an earlier position has the same (rating, key)."""
    repeated = np.zeros(len(key), dtype=bool)
    rows = np.flatnonzero(use)
    pair = ratings.rating[rows] * (key.max(initial=0) + 1) + key[rows]
    order = np.lexsort((ratings.position[rows], pair))
    repeated[rows[order[1:]]] = pair[order[1:]] == pair[order[:-1]]
    return repeated


def _candidates(policy: LabelPolicy, in_class: Array) -> tuple[Array, Array]:
    """Map raw labels to candidates `(V,)` (-1: none), and candidates to classes `(C,)` (-1: left out).

    The candidates are the classes (or the raw labels, if `merge="after"`) and, if agreement is over all votes, every
    raw label that is left out.
    """
    k = len(policy.classes)
    own = (in_class < 0) if policy.merge == "before" else np.ones(len(in_class), dtype=bool)
    if policy.agreement_over == "mapped":
        own &= in_class >= 0
    first = k if policy.merge == "before" else 0
    candidate = in_class.copy() if first else np.full(len(in_class), -1, dtype=np.int64)
    candidate[own] = first + np.arange(own.sum())
    return candidate, np.concatenate([np.arange(first), in_class[own]])


def _leader(policy: LabelPolicy, weight: Array, target: Array) -> Array:
    """`(N,)` class of the candidate that leads the weights `(N, C)`; -1 if none leads or its class is left out."""
    n, c = weight.shape
    if c == 0 or n == 0:
        return np.full(n, -1, dtype=np.int64)
    top = weight.max(axis=1)
    # Fractional votes are sums of thirds and halves, so values that differ by rounding only count as equal.
    unique = (weight >= top[:, None] - 1e-9).sum(axis=1) == 1
    if policy.rule == "majority":
        unique &= top > weight.sum(axis=1) / 2 + 1e-9
    return np.where(unique & (top > 0), target[weight.argmax(axis=1)], -1).astype(np.int64)


def fleiss_kappa(votes: Array) -> float:
    """Compute the chance-corrected agreement (Fleiss 1971) from counts `(N, K)`, for two or more raters.

    The observed agreement is the share of rater pairs that agree, averaged over utterances. Utterances with fewer than
    two votes have no pair and are left out.

    Raises:
        ValueError: If no utterance has two votes.
    """
    votes = np.asarray(votes, dtype=np.float64)
    raters = votes.sum(axis=1)
    votes, raters = votes[raters >= 2], raters[raters >= 2]
    if len(votes) == 0:
        raise ValueError("Fleiss' kappa needs at least one utterance with two votes; these votes have none.")
    observed = ((votes * (votes - 1)).sum(axis=1) / (raters * (raters - 1))).mean()
    chance = float(((votes.sum(axis=0) / votes.sum()) ** 2).sum())
    return float((observed - chance) / (1 - chance)) if chance < 1 else 1.0


def krippendorff_alpha(votes: Array) -> float:
    """Compute Krippendorff's alpha for nominal classes from counts `(N, K)`; raters may have left utterances out.

    alpha = 1 - D_o / D_e (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C). D_o is the
    share of unlike pairs within utterances, where an utterance with m votes weighs its pairs by 1 / (m - 1). D_e is
    the share of unlike pairs among all votes. Utterances with fewer than two votes have no pair and are left out. If
    all votes are for one class, nothing can disagree and the value is 1.

    Raises:
        ValueError: If no utterance has two votes.
    """
    votes = np.asarray(votes, dtype=np.float64)
    raters = votes.sum(axis=1)
    votes, raters = votes[raters >= 2], raters[raters >= 2]
    if len(votes) == 0:
        raise ValueError("Krippendorff's alpha needs at least one utterance with two votes; these votes have none.")
    total, of_class = raters.sum(), votes.sum(axis=0)
    observed = ((raters**2 - (votes**2).sum(axis=1)) / (raters - 1)).sum() / total
    expected = (total**2 - (of_class**2).sum()) / (total * (total - 1))
    return float(1 - observed / expected) if expected > 0 else 1.0
