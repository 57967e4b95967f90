"""From annotators' ratings to votes, soft labels, consensus labels and their ambiguity.

Everything here is a pure function of arrays. What a vote *is* (which classes count, what happens to a rater's second
label, to the actors' own ratings, to votes for classes left out) and where the labels come from that are learnt from
(vote shares, or a model of the raters) is decided by a named, fingerprinted `LabelPolicy` and by nothing else, so two
results can be compared by comparing two fingerprints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ambiser.labels.aggregation import AggregationError, posterior
from hf_ambiser.labels.policies import LabelPolicy


Array = np.ndarray
# A posterior that gives less than this to all classes together says nothing of them.
NO_MASS = 1e-6
# Labels of one rater, whether he is the speaker, and his name where it is known.
Answer = tuple[Sequence[str], bool] | tuple[Sequence[str], bool, str | None]


@dataclass(frozen=True)
class RatingArrays:
    """All ratings of a corpus, one row a label, R rows in any order.

    Args:
        n_utterances: N.
        utterance: `(R,)` int, which utterance the label is for, in [0, N).
        rating: `(R,)` int, which answer it belongs to: one number per rater and utterance.
        label: `(R,)` int, index into `vocabulary`.
        position: `(R,)` int, place of the label within its rating, 0 first.
        self_report: `(R,)` bool, whether the rater is the speaker.
        vocabulary: The raw labels, lower case.
        rater: `(R,)` int, index into `raters`, -1 for a rater without a name; None: no rater has one.
        raters: Names of the raters.
        group: `(N,)` int, the group of each utterance; needed by an aggregation `within` groups only.

    Raises:
        ValueError: If columns differ in length, an utterance, label or rater lies outside its range, or the vocabulary
            is not of different lower-case words.
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
        # Out of range they would be counted for another utterance, label or rater, silently.
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
            raise ValueError(f"ratings: vocabulary {self.vocabulary} must be of different words in lower case.")

    @classmethod
    def from_lists(cls, ratings: Sequence[Iterable[Answer]]) -> RatingArrays:
        """From one list of `(labels, self_report)` or `(labels, self_report, rater)` per utterance.

        Labels are lower-cased; a rater is a name, or None where it is not known.
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
    """Votes of N utterances for K classes and what follows from them.

    Args:
        votes: `(N, K)` float64 counts (fractions under `fractional`).
        outside: `(N,)` float64, weight of the votes for classes left out.
        vote_label: `(N,)` int64, consensus class of the votes or -1.
        agreement: `(N,)` float64 in [0, 1]: share of the votes' consensus class, or of the strongest class without
            consensus.
        kept: `(N,)` bool: has a vote for one of the classes and, unless the rule is `all_inclusive`, the votes have a
            consensus.
        votes_in: Weight of all votes that came in.
        excluded: Reason -> weight that did not become a vote. `votes_in == votes.sum() + sum(excluded.values())`.
        label: `(N,)` int64, class to learn from or -1: `vote_label`, or under a model of the raters the class that
            leads its posterior (more than half of it, where the rule is `majority`).
        soft_label: `(N, K)` distribution to learn from: shares of the votes, or that posterior within the K classes;
            a row of zeros where nobody voted for any of the classes, or the model is sure of one that is left out.
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
        """`(N,)` entropy of the soft label in bits; 0 where nobody voted."""
        return entropy_bits(self.soft_label)

    @property
    def vote_shares(self) -> Array:
        """`(N, K)` shares of the votes, whatever the aggregation; zeros where nobody voted for any of the classes."""
        return soft_labels(self.votes)


def soft_labels(votes: Array) -> Array:
    """Vote shares `(N, K)` from counts `(N, K)`; rows without votes stay zero."""
    votes = np.asarray(votes, dtype=np.float64)
    total = votes.sum(axis=-1, keepdims=True)
    return np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)


def entropy_bits(distribution: Array) -> Array:
    """Entropy in bits along the last axis of `(..., K)`; `0 log 0 = 0`."""
    p = np.asarray(distribution, dtype=np.float64)
    logarithm = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return -(p * logarithm).sum(axis=-1) + 0.0  # + 0.0 turns -0.0 into 0.0


def tally(policy: LabelPolicy, ratings: RatingArrays) -> VoteTable:
    """Count votes under a policy.

    Vectorised: cost is a few passes over R labels and an `(N, K + left-out labels)` table.

    A model of the raters takes the ratings that count as answers, and chooses among the candidates of the consensus:
    the classes (or raw labels, where they are merged after it) and, where agreement is over all votes, the labels left
    out. Under `multi_label="each"` every label of a rater is an answer of its own: who gives two has two voices.

    Raises:
        ValueError: If a raw label is not in the policy's class map.
        AggregationError: If the policy models raters and cannot here: raters without a name, no crowd-kit, a model
            that diverges.
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
        # Excitement and happiness by one rater are one voice for the merged class, not two.
        target = in_class[ratings.label]
        key = np.where(target >= 0, target, k + ratings.label)
        _exclude(excluded, "same class twice by one rater", use, _repeats(ratings, key, use), weight)

    # One column a raw label: the consensus may have to be found before classes are merged or dropped.
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

    # The candidates among which the winner is sought, and the class each stands for.
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
    # Shares of next to nothing are shares of what the model rounds at.
    known = has_vote & (in_classes.sum(axis=1) > NO_MASS)
    soft = soft_labels(in_classes) * known[:, None]
    modelled = np.where(has_vote, _leader(policy, belief, target), -1)
    return VoteTable(votes, outside, label, agreement, kept, votes_in, excluded, modelled, soft)


def rater_numbers(policy: LabelPolicy, ratings: RatingArrays) -> Array:
    """`(R,)` int, the raters numbered in the order of their names, whatever order they come in; -1 without a name.

    Raises:
        AggregationError: If the policy models raters and a rating that may count is by nobody in particular.
    """
    rater = np.full(len(ratings.label), -1) if ratings.rater is None else ratings.rater
    counts = np.ones(len(rater), dtype=bool) if policy.self_reports else ~ratings.self_report
    anonymous = counts & (rater < 0)
    if policy.aggregation != "shares" and anonymous.any():
        raise AggregationError(
            f"label policy {policy.name!r}: aggregation={policy.aggregation!r} models each rater, but"
            f" {anonymous.sum()} of {counts.sum()} ratings do not say whose they are (CREMA-D's release, for one,"
            " counts anonymous votes). Use aggregation='shares', or a corpus that names raters (IEMOCAP, simulated)."
        )
    return np.append(np.argsort(np.argsort(ratings.raters)), -1)[rater]


def _weights(policy: LabelPolicy, ratings: RatingArrays) -> Array:
    """`(R,)` weight of each label: 1, or 1/n of a rating with n labels under `fractional`."""
    if policy.multi_label != "fractional" or len(ratings.rating) == 0:
        return np.ones(len(ratings.rating))
    return 1.0 / np.bincount(ratings.rating)[ratings.rating]


def _exclude(excluded: dict[str, float], reason: str, use: Array, out: Array, weight: Array) -> None:
    """Take rows out of `use` (in place) and write down their weight."""
    gone = use & out
    if gone.any():
        excluded[reason] = float(weight[gone].sum())
        use &= ~out


def _repeats(ratings: RatingArrays, key: Array, use: Array) -> Array:
    """`(R,)` bool: a used row whose (rating, key) also stands in a used row of an earlier position."""
    repeated = np.zeros(len(key), dtype=bool)
    rows = np.flatnonzero(use)
    pair = ratings.rating[rows] * (key.max(initial=0) + 1) + key[rows]
    order = np.lexsort((ratings.position[rows], pair))
    repeated[rows[order[1:]]] = pair[order[1:]] == pair[order[:-1]]
    return repeated


def _candidates(policy: LabelPolicy, in_class: Array) -> tuple[Array, Array]:
    """Raw label -> candidate `(V,)` (-1: none), and candidate -> class `(C,)` (-1: left out).

    Candidates are the classes or, where they are merged after the consensus, the raw labels; and, where agreement is
    over all votes, every raw label that is left out.
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
    """`(N,)` class of the candidate that leads weights `(N, C)`, -1 where none does or it is left out."""
    n, c = weight.shape
    if c == 0 or n == 0:
        return np.full(n, -1, dtype=np.int64)
    top = weight.max(axis=1)
    # Fractional votes are sums of thirds and halves: equal up to rounding is equal.
    unique = (weight >= top[:, None] - 1e-9).sum(axis=1) == 1
    if policy.rule == "majority":
        unique &= top > weight.sum(axis=1) / 2 + 1e-9
    return np.where(unique & (top > 0), target[weight.argmax(axis=1)], -1).astype(np.int64)


def fleiss_kappa(votes: Array) -> float:
    """Chance-corrected agreement (Fleiss 1971) from counts `(N, K)`, for any number of raters from 2 on.

    The observed part is the mean over utterances of the share of agreeing pairs of raters; utterances with fewer than
    two votes say nothing about agreement and are left out.

    Raises:
        ValueError: If no utterance has two votes.
    """
    votes = np.asarray(votes, dtype=np.float64)
    raters = votes.sum(axis=1)
    votes, raters = votes[raters >= 2], raters[raters >= 2]
    if len(votes) == 0:
        raise ValueError("Fleiss' kappa needs at least one utterance with two votes; there is none.")
    observed = ((votes * (votes - 1)).sum(axis=1) / (raters * (raters - 1))).mean()
    chance = float(((votes.sum(axis=0) / votes.sum()) ** 2).sum())
    return float((observed - chance) / (1 - chance)) if chance < 1 else 1.0
