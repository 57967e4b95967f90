"""From annotators' ratings to votes, soft labels, consensus labels and their ambiguity.

Everything here is a pure function of arrays. What a vote *is* (which classes count, what happens to a rater's second
label, to the actors' own ratings, to votes for classes left out) is decided by a named, fingerprinted `LabelPolicy`
and by nothing else, so two results can be compared by comparing two fingerprints.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np


Array = np.ndarray
Rule = Literal["plurality", "majority", "all_inclusive"]
MultiLabel = Literal["first", "each", "fractional"]
AgreementOver = Literal["all", "mapped"]
Merge = Literal["before", "after"]


@dataclass(frozen=True)
class LabelPolicy:
    """How ratings become votes, and votes a consensus label.

    Args:
        name: Short name, written into every result.
        classes: The K classes; their order is the class index everywhere.
        class_map: Raw label (lower case) to class, or to `None` for a label that is known but left out.
        rule: `plurality`: the class with the most votes, none on a tie. `majority`: more than half of the votes.
            `all_inclusive`: every utterance with a vote is kept; its label is the plurality's where there is one.
        multi_label: What several labels by one rater count: `first` only the first; `each` one vote each (at most one
            a class and rater); `fractional` 1/n each.
        self_reports: Whether the actors' ratings of themselves are votes.
        agreement_over: What agreement is a share of, and among what the consensus is sought: `all` votes, those for
            classes left out included, or only the votes for `mapped` classes.
        merge: Whether raw labels that map to one class are merged `before` the consensus is sought, or `after` (the
            raw label with the most votes wins and is mapped then: IEMOCAP's usual 5531 utterances are made this way).
    """

    name: str
    classes: tuple[str, ...]
    class_map: Mapping[str, str | None]
    rule: str = "plurality"
    multi_label: str = "first"
    self_reports: bool = False
    agreement_over: str = "all"
    merge: str = "before"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("rule", get_args(Rule)),
            ("multi_label", get_args(MultiLabel)),
            ("agreement_over", get_args(AgreementOver)),
            ("merge", get_args(Merge)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"label policy {self.name!r}: {name}={getattr(self, name)!r} is not one of {list(allowed)}."
                )
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"label policy {self.name!r}: classes={self.classes} must be at least two different names."
            )
        for raw, target in self.class_map.items():
            if raw != raw.lower():
                raise ValueError(f"label policy {self.name!r}: class_map key {raw!r} must be lower case.")
            if target is not None and target not in self.classes:
                raise ValueError(
                    f"label policy {self.name!r}: class_map sends {raw!r} to {target!r}, which is not one of the"
                    f" classes {list(self.classes)}. Map it to one of them, or to None to leave it out."
                )
        missing = [c for c in self.classes if c not in self.class_map.values()]
        if missing:
            raise ValueError(f"label policy {self.name!r}: no raw label maps to class(es) {missing}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form; `from_dict` is its inverse."""
        return {**dataclasses.asdict(self), "classes": list(self.classes), "class_map": dict(self.class_map)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelPolicy:
        """Inverse of `to_dict`."""
        return cls(**{**values, "classes": tuple(values["classes"])})

    def with_(self, **changes: Any) -> LabelPolicy:
        """A copy with some fields changed; a changed policy has another fingerprint."""
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(self)})
        if unknown:
            allowed = [f.name for f in dataclasses.fields(self)]
            raise ValueError(f"label policy {self.name!r} has no field {unknown}; its fields are {allowed}.")
        return dataclasses.replace(self, **changes)

    def fingerprint(self) -> str:
        """Twelve hex digits over everything that decides a label (the name does not, so it is left out)."""
        content = {k: v for k, v in self.to_dict().items() if k != "name"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


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

    Raises:
        ValueError: If columns differ in length, an utterance or label lies outside its range, or the vocabulary is not
            of different lower-case words.
    """

    n_utterances: int
    utterance: Array
    rating: Array
    label: Array
    position: Array
    self_report: Array
    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        rows = {name: len(getattr(self, name)) for name in ("utterance", "rating", "label", "position", "self_report")}
        if len(set(rows.values())) > 1:
            raise ValueError(f"ratings: the columns have different lengths: {rows}.")
        # Out of range they would be counted for another utterance or label, silently.
        for name, n, what in (
            ("utterance", self.n_utterances, "n_utterances"),
            ("label", len(self.vocabulary), "len(vocabulary)"),
        ):
            column = getattr(self, name)
            if len(column) and not (column.min() >= 0 and column.max() < n):
                raise ValueError(
                    f"ratings: column {name!r} runs from {column.min()} to {column.max()}; allowed is 0 to {n - 1}"
                    f" ({what} - 1)."
                )
        if len(set(self.vocabulary)) < len(self.vocabulary) or any(word != word.lower() for word in self.vocabulary):
            raise ValueError(f"ratings: vocabulary {self.vocabulary} must be of different words in lower case.")

    @classmethod
    def from_lists(cls, ratings: Sequence[Iterable[tuple[Sequence[str], bool]]]) -> RatingArrays:
        """From one list of `(labels, self_report)` per utterance; labels are lower-cased."""
        codes: dict[str, int] = {}
        rows: list[tuple[int, int, int, int, bool]] = []
        answer = 0
        for n, answers in enumerate(ratings):
            for labels, is_self in answers:
                for position, label in enumerate(labels):
                    code = codes.setdefault(label.lower(), len(codes))
                    rows.append((n, answer, code, position, is_self))
                answer += 1
        table = np.array(rows, dtype=np.int64).reshape(-1, 5)
        return cls(
            n_utterances=len(ratings),
            utterance=table[:, 0],
            rating=table[:, 1],
            label=table[:, 2],
            position=table[:, 3],
            self_report=table[:, 4].astype(bool),
            vocabulary=tuple(codes),
        )


@dataclass(frozen=True)
class VoteTable:
    """Votes of N utterances for K classes and what follows from them.

    Args:
        votes: `(N, K)` float64 counts (fractions under `fractional`).
        outside: `(N,)` float64, weight of the votes for classes left out.
        label: `(N,)` int64, consensus class or -1.
        agreement: `(N,)` float64 in [0, 1]: share of the consensus class, or of the strongest class without consensus.
        kept: `(N,)` bool: has a vote for one of the classes and, unless the rule is `all_inclusive`, a consensus.
        votes_in: Weight of all votes that came in.
        excluded: Reason -> weight that did not become a vote. `votes_in == votes.sum() + sum(excluded.values())`.
    """

    votes: Array
    outside: Array
    label: Array
    agreement: Array
    kept: Array
    votes_in: float
    excluded: dict[str, float] = field(default_factory=dict)

    @property
    def soft_label(self) -> Array:
        """`(N, K)` shares of the votes; a row of zeros where nobody voted for any of the classes."""
        return soft_labels(self.votes)

    @property
    def entropy(self) -> Array:
        """`(N,)` entropy of the soft label in bits; 0 where nobody voted."""
        return entropy_bits(self.soft_label)


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

    Raises:
        ValueError: If a raw label is not in the policy's class map.
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

    label, agreement = _consensus(policy, votes, outside, raw[:, : len(vocabulary)], in_class)
    has_vote = votes.sum(axis=1) > 0
    kept = has_vote & ((label >= 0) | (policy.rule == "all_inclusive"))
    return VoteTable(votes, outside, label, agreement, kept, votes_in, excluded)


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


def _consensus(policy: LabelPolicy, votes: Array, outside: Array, raw: Array, in_class: Array) -> tuple[Array, Array]:
    """Consensus class `(N,)` or -1, and agreement `(N,)`."""
    n, k = votes.shape
    everything = policy.agreement_over == "all"
    total = votes.sum(axis=1) + (outside if everything else 0.0)
    # The candidates: columns among which the winner is sought, and the class each stands for (-1: left out).
    if policy.merge == "before":
        left_out = raw[:, in_class < 0] if everything else raw[:, :0]
        candidates = np.concatenate([votes, left_out], axis=1)
        target = np.concatenate([np.arange(k), np.full(left_out.shape[1], -1)])
    else:
        columns = np.ones(len(in_class), dtype=bool) if everything else in_class >= 0
        candidates, target = raw[:, columns], in_class[columns]
    if candidates.shape[1] == 0 or n == 0:
        return np.full(n, -1, dtype=np.int64), np.zeros(n)

    top = candidates.max(axis=1)
    # Fractional votes are sums of thirds and halves: equal up to rounding is equal.
    unique = (candidates >= top[:, None] - 1e-9).sum(axis=1) == 1
    winner = target[candidates.argmax(axis=1)]
    if policy.rule == "majority":
        unique &= top > total / 2 + 1e-9
    label = np.where(unique & (top > 0), winner, -1).astype(np.int64)

    strongest = np.where(label >= 0, label, votes.argmax(axis=1))
    share = votes[np.arange(n), strongest]
    return label, np.divide(share, total, out=np.zeros(n), where=total > 0)


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
