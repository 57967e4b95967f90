"""What every split shares: its input and result, the order of ambiguity, keyed hashes, and the rule about sides."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


Array = np.ndarray

# Agreement from which an utterance is called clear: with IEMOCAP's three raters, two of them.
CLEAR_AGREEMENT = 2 / 3
# Agreement from which it is still called moderate: at least half of the votes.
MODERATE_AGREEMENT = 1 / 2
PROTOCOLS = ("strict", "paper")


class SplitError(ValueError):
    """A split that cannot be made as asked; the message says what to change."""


@dataclass(frozen=True)
class SplitInput:
    """What a split looks at, for N utterances in any order.

    Args:
        id: `(N,)` str, unique.
        speaker: `(N,)` str.
        group: `(N,)` str, the unit that is never on two sides of a strict split (a speaker, or a session).
        label: `(N,)` int, consensus class or -1.
        agreement: `(N,)` float in [0, 1].
        entropy: `(N,)` float, bits.
        votes: `(N, K)` float.
        kept: `(N,)` bool, as in `labels.VoteTable`.
        classes: The K class names.
    """

    id: Array
    speaker: Array
    group: Array
    label: Array
    agreement: Array
    entropy: Array
    votes: Array
    kept: Array
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.id)
        for name in ("speaker", "group", "label", "agreement", "entropy", "votes", "kept"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, id has {n}.")
        names, counts = np.unique(self.id, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"utterance ids must be unique; {names[counts > 1][:5].tolist()} occur more than once.")

    @property
    def labelled(self) -> Array:
        """`(N,)` bool: kept, with a consensus label."""
        return np.asarray(self.kept, bool) & (np.asarray(self.label) >= 0)

    @property
    def unlabelled(self) -> Array:
        """`(N,)` bool: somebody voted for one of the classes, but there is no consensus label among them."""
        return (np.asarray(self.votes).sum(axis=1) > 0) & ~self.labelled

    def order(self, rows: Array) -> Array:
        """`rows` from the clearest to the most ambiguous.

        Agreement from high to low, then entropy from low to high, then a hash of the id: the same order whatever the
        order of the input.
        """
        rows = np.asarray(rows, dtype=np.int64)
        # Shares like 2/3 may differ in their last bit by how they were summed; that must not decide an order.
        agreement, entropy = np.round(self.agreement[rows], 9), np.round(self.entropy[rows], 9)
        tie = np.array([keyed_hash(None, "order", name) for name in self.id[rows]], dtype=np.uint64)
        return rows[np.lexsort((tie, entropy, -agreement))]


@dataclass(frozen=True)
class SplitOptions:
    """Everything a split can be told; each family reads the part that its page names.

    Args:
        seed: Decides which groups are on which side and which utterances validate.
        d1_quota: IPR. `agreement`: D1 is the most agreed upon of all; `per_class`: of each class, so that no class
            that people rarely agree on is missing.
        sizes: IPR. Exact sizes (D1, D2, D3) instead of shares; D1's includes its validation part. What is beyond the
            sum is in no split.
        d1_share: IPR. Share of D1 among D1 and D2; the default is the paper's 1710 / (1710 + 3421).
        d3_share: IPR. Share of D3; the default is the paper's 400 / 5531 of all under `paper`, a third of the held-out
            speakers' utterances under `strict`.
        validation_share: IPR, `paper`. Share of D1 that is held out for validation.
        min_per_class: IPR. Fewest utterances of each class that D1 must hold: a prototype is their mean.
        clear_threshold: SLC. Agreement from which an utterance is clear: a share, or `unanimous`.
        group_shares: `strict` IPR and SLC. Shares of the groups for training, validation and test; each side gets one
            group at least, so that five sessions are divided 3 / 1 / 1.
    """

    seed: int = 0
    d1_quota: str = "agreement"
    sizes: tuple[int, int, int] | None = None
    d1_share: float | None = None
    d3_share: float | None = None
    validation_share: float = 0.1
    min_per_class: int = 10
    clear_threshold: float | str = CLEAR_AGREEMENT
    group_shares: tuple[float, float, float] = (0.7, 0.1, 0.2)

    def __post_init__(self) -> None:
        if self.d1_quota not in ("agreement", "per_class"):
            raise ValueError(f"d1_quota={self.d1_quota!r} is not one of ['agreement', 'per_class'].")
        if self.sizes is not None and (len(self.sizes) != 3 or min(self.sizes) < 1):
            raise ValueError(f"sizes={self.sizes} must be three positive numbers: D1, D2, D3.")
        for name in ("d1_share", "d3_share"):
            share = getattr(self, name)
            if share is not None and not 0 < share < 1:
                raise ValueError(f"{name}={share} must be between 0 and 1.")
            if share is not None and self.sizes is not None:
                raise ValueError(f"give either sizes={self.sizes} or {name}={share}, not both.")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share} must be at least 0 and below 1.")
        threshold = self.clear_threshold
        if threshold != "unanimous" and (isinstance(threshold, str) or not 0 < threshold <= 1):
            raise ValueError(f"clear_threshold={threshold!r} must be 'unanimous' or a share in (0, 1].")
        if len(self.group_shares) != 3 or min(self.group_shares) <= 0:
            raise ValueError(f"group_shares={self.group_shares} must be three positive shares: train, valid, test.")

    def only(self, *names: str) -> dict[str, Any]:
        """The named options as a JSON-ready dict."""
        values = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v := values[name], tuple) else v for name in names}


@dataclass(frozen=True)
class Split:
    """One way to divide a corpus.

    Args:
        config: Its name, e.g. `ipr-strict`.
        protocol: `strict` or `paper`.
        assignment: `(N,)` str, the split of each utterance; "" for one that is in none.
        aliases: Splits that repeat others: name to the splits they are made of (the papers' validation on test data).
        masked: Splits whose labels are hidden (IPR's D2).
        options: The options it was made with.
        fingerprint: Twelve hex digits over all of this.
        description: What it is, in a sentence or two for the card.
    """

    config: str
    protocol: str
    assignment: Array
    options: dict[str, Any]
    fingerprint: str
    description: str = ""
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    masked: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """Its splits that hold something, aliases included, sorted."""
        own = set(np.unique(self.assignment).tolist()) - {""}
        return sorted(own | {name for name, parts in self.aliases.items() if own & set(parts)})

    def rows(self, name: str) -> Array:
        """Row numbers of one split (or alias)."""
        return np.flatnonzero(np.isin(self.assignment, self.aliases.get(name, (name,))))


def finish(
    config: str, protocol: str, data: SplitInput, parts: Mapping[str, Array], options: dict[str, Any], **more: Any
) -> Split:
    """A `Split` from row numbers per split.

    Raises:
        AssertionError: If a row is in two parts; that would be a bug here, not bad input.
    """
    assignment = np.full(len(data.id), "", dtype=object)
    for name, rows in parts.items():
        assert not (assignment[rows] != "").any(), f"{config}: {name} takes rows of another split"
        assignment[rows] = name
    assignment = assignment.astype(str)
    fingerprint = split_fingerprint(config, protocol, options, data.id, assignment)
    return Split(config, protocol, assignment, options, fingerprint, **more)


def split_fingerprint(config: str, protocol: str, options: Mapping[str, Any], ids: Array, assignment: Array) -> str:
    """Twelve hex digits over protocol, options (the seed is one) and the sorted (id, split) pairs."""
    pairs = sorted((str(i), str(a)) for i, a in zip(ids, assignment, strict=True) if a)
    content = json.dumps([config, protocol, dict(options), pairs], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def keyed_hash(seed: int | None, purpose: str, text: str) -> int:
    """A 64-bit number that depends on these three only; `None` for what no seed may change."""
    key = b"" if seed is None else str(seed).encode()
    return int.from_bytes(hashlib.blake2b(f"{purpose}\0{text}".encode(), digest_size=8, key=key).digest(), "big")


def shuffled(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """The distinct names in an order that the seed decides."""
    return sorted({str(n) for n in names}, key=lambda name: (keyed_hash(seed, purpose, name), name))


def divide(total: int, shares: Sequence[float]) -> list[int]:
    """`total` in whole numbers proportional to `shares` (largest remainder; ties to the first)."""
    weights = np.asarray(shares, dtype=np.float64)
    if weights.sum() == 0:
        return [0] * len(weights)
    exact = np.round(total * weights / weights.sum(), 9)
    parts = np.floor(exact).astype(int)
    for i in np.argsort(-(exact - parts), kind="stable")[: total - parts.sum()]:
        parts[i] += 1
    return parts.tolist()


def check_disjoint(sides: Mapping[str, Array], values: Array, config: str) -> None:
    """Check that no speaker or group is on two sides.

    Args:
        sides: Side to row numbers.
        values: `(N,)` speaker or group of each row.
        config: Named in the message.

    Raises:
        SplitError: Naming the first that is on two sides, and the sides.
    """
    seen: dict[str, str] = {}
    for side, rows in sides.items():
        for value in np.unique(np.asarray(values)[rows]).tolist():
            if value in seen:
                raise SplitError(
                    f"{config}: {value!r} is on two sides, {seen[value]!r} and {side!r}; a strict split keeps a"
                    " speaker or session on one. Check the corpus parser's speaker and session."
                )
            seen[value] = side


def tiers(label: Array, agreement: Array) -> list[str]:
    """Tier of each utterance: the only place where the words are given a meaning.

    `no_consensus` without a label; else `clear` from an agreement of 2/3 on, `moderate` from 1/2 on, `ambiguous`
    below.
    """
    agreement = np.asarray(agreement) + 1e-9  # 2/3 in float32 is still 2/3
    named = np.select(
        [np.asarray(label) < 0, agreement >= CLEAR_AGREEMENT, agreement >= MODERATE_AGREEMENT],
        ["no_consensus", "clear", "moderate"],
        "ambiguous",
    )
    return named.tolist()
