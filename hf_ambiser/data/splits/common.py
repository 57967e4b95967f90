"""What all splits share: input, options and result, the order of ambiguity, keyed hashes, the check of the sides."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


Array = np.ndarray

# An utterance is clear from this agreement on: with IEMOCAP's three raters, two of them agree.
CLEAR_AGREEMENT = 2 / 3
# It is moderate from this agreement on: at least half of the votes.
MODERATE_AGREEMENT = 1 / 2
PROTOCOLS = ("strict", "paper")
# What may be held apart beside the groups, if a corpus says it: columns of `SplitInput.columns`. `audio` numbers the
# recordings so that identical and near-identical ones have one number.
APART = ("speaker", "session", "dialogue", "script", "sentence", "audio")


class SplitError(ValueError):
    """The requested split cannot be made; the message says what to change."""


@dataclass(frozen=True)
class SplitInput:
    """The data that a split is made from, for N utterances in any order.

    Args:
        id: `(N,)` str, unique.
        speaker: `(N,)` str.
        group: `(N,)` str, the speaker or session; a strict split never puts one group on two sides.
        label: `(N,)` int, consensus class or -1.
        agreement: `(N,)` float in [0, 1].
        entropy: `(N,)` float, bits.
        votes: `(N, K)` float.
        kept: `(N,)` bool, as in `labels.votes.VoteTable`.
        classes: The K class names.
        columns: Of `APART`, those that are known: name -> `(N,)` str, "" where an utterance has no value.

    Raises:
        ValueError: If the arrays differ in length, or if an id occurs twice.
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
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.id)
        fields = ("speaker", "group", "label", "agreement", "entropy", "votes", "kept")
        for name, values in {**{name: getattr(self, name) for name in fields}, **self.columns}.items():
            if len(values) != n:
                raise ValueError(f"{name} has {len(values)} rows, id has {n}; they must be equal.")
        names, counts = np.unique(self.id, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"utterance ids must be unique; {names[counts > 1][:5].tolist()} occur more than once.")

    @property
    def labelled(self) -> Array:
        """`(N,)` bool: whether the utterance is kept and has a consensus label."""
        return np.asarray(self.kept, bool) & (np.asarray(self.label) >= 0)

    @property
    def unlabelled(self) -> Array:
        """`(N,)` bool: whether the utterance has a vote for one of the classes, but no consensus label."""
        return (np.asarray(self.votes).sum(axis=1) > 0) & ~self.labelled

    def order(self, rows: Array) -> Array:
        """Sort `rows` from the clearest to the most ambiguous.

        The keys are agreement (high to low), then entropy (low to high), then a hash of the id. So the result does not
        depend on the order of the input.
        """
        rows = np.asarray(rows, dtype=np.int64)
        # Equal shares such as 2/3 may differ in their last bit by how they were summed; this must not set the order.
        agreement, entropy = np.round(self.agreement[rows], 9), np.round(self.entropy[rows], 9)
        tie = np.array([keyed_hash(None, "order", name) for name in self.id[rows]], dtype=np.uint64)
        return rows[np.lexsort((tie, entropy, -agreement))]


# Which configs read an option, and one of them. Every config reads `disjoint`, and a build reads `seed`.
_READ_BY: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("d1_quota", "sizes", "d1_share", "d3_share", "min_per_class"), ("IPR's configs", "ipr-strict")),
    "validation_share": ("IPR's paper configs", "ipr-paper"),
    "clear_threshold": ("SLC's configs", "slc-strict"),
    "group_shares": ("strict configs without folds", "slc-strict"),
}


@dataclass(frozen=True)
class SplitOptions:
    """All options of the splits; each family of splits reads those that name it, and `seed`.

    Args:
        seed: Decides which groups are on which side and which utterances validate.
        d1_quota: IPR. `agreement`: D1 holds the utterances with the highest agreement of all. `per_class`: D1 holds
            those of each class, so that a class on which raters rarely agree is not missing.
        sizes: IPR. Exact sizes (D1, D2, D3) instead of shares; D1's size includes its validation part. Utterances
            beyond the sum are in no split.
        d1_share: IPR. Share of D1 among D1 and D2; the default is the paper's 1710 / (1710 + 3421).
        d3_share: IPR. Share of D3; the default is the paper's 400 / 5531 of all utterances under `paper`, and a third
            of the held-out speakers' utterances under `strict`.
        validation_share: IPR, `paper`. Share of D1 that is held out for validation.
        min_per_class: IPR. Fewest utterances of each class that D1 must hold, because a prototype is their mean.
        clear_threshold: SLC. Agreement from which an utterance is clear: a share, or `unanimous`.
        group_shares: `strict` IPR and SLC. Shares of the groups for training, validation and test. Each side gets at
            least one group; for example, five sessions are divided 3 / 1 / 1.
        disjoint: What is held apart, too (`splits.apart`): `WHAT` or `WHAT=SHARE`, with one of `APART`.

    Raises:
        ValueError: If a value is not allowed, or if `sizes` and a share are both given.
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
    disjoint: tuple[str, ...] = ()

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
            raise ValueError(
                f"group_shares={self.group_shares} must be three positive shares: training, validation, test."
            )
        if isinstance(self.disjoint, str):
            raise ValueError(f"disjoint={self.disjoint!r} must be a list of names, for example ({self.disjoint!r},).")
        object.__setattr__(self, "disjoint", tuple(self.disjoint))
        named = [apart_of(what)[0] for what in self.disjoint]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"disjoint names {twice[0]!r} more than once; name it once.")

    def only(self, *names: str) -> dict[str, Any]:
        """Return the named options as a JSON-ready dict."""
        values = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v := values[name], tuple) else v for name in names}


@dataclass(frozen=True)
class Split:
    """One way to divide a corpus.

    Args:
        config: Its name, e.g. `ipr-strict`.
        protocol: `strict` or `paper`.
        assignment: `(N,)` str, the split of each utterance, or "" if it is in none.
        aliases: Splits that repeat others: name -> the splits that they are made of (the papers validate on test
            data).
        masked: Splits whose labels are hidden (IPR's D2).
        options: The options that the split was made with.
        fingerprint: Twelve hex digits, see `split_fingerprint`.
        description: A sentence or two that describe the split in the card.
        left_out: Row -> the split that it would be in, and the column for which it was left out (`splits.apart`).
    """

    config: str
    protocol: str
    assignment: Array
    options: dict[str, Any]
    fingerprint: str
    description: str = ""
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    masked: frozenset[str] = frozenset()
    left_out: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of the splits that are not empty, including aliases, sorted."""
        own = set(np.unique(self.assignment).tolist()) - {""}
        return sorted(own | {name for name, parts in self.aliases.items() if own & set(parts)})

    def rows(self, name: str) -> Array:
        """Return the row numbers of one split (or alias)."""
        return np.flatnonzero(np.isin(self.assignment, self.aliases.get(name, (name,))))


def apart_of(what: str) -> tuple[str, float | None]:
    """Read one word of `SplitOptions.disjoint`: `sentence` -> (sentence, None), `sentence=0.25` -> (sentence, 0.25).

    Raises:
        ValueError: If there is no such column, or the share is none between 0 and 1.
    """
    column, equals, text = what.partition("=")
    if column not in APART:
        raise ValueError(f"disjoint={what!r}: what can be held apart is one of {list(APART)}.")
    try:
        share = float(text) if equals else None
    except ValueError:
        share = -1.0
    if share is not None and not 0 < share < 1:
        raise ValueError(f"disjoint={what!r}: the share of held-out values is a number between 0 and 1.")
    return column, share


def finish(
    config: str, protocol: str, data: SplitInput, parts: Mapping[str, Array], options: dict[str, Any], **more: Any
) -> Split:
    """Make a `Split` from the row numbers of each part.

    Raises:
        AssertionError: If a row is in two parts; that is a bug of the family, not bad input.
    """
    assignment = np.full(len(data.id), "", dtype=object)
    for name, rows in parts.items():
        assert not (assignment[rows] != "").any(), f"{config}: {name} takes rows of another split"
        assignment[rows] = name
    assignment = assignment.astype(str)
    fingerprint = split_fingerprint(config, protocol, options, data.id, assignment)
    return Split(config, protocol, assignment, options, fingerprint, **more)


def split_fingerprint(config: str, protocol: str, options: Mapping[str, Any], ids: Array, assignment: Array) -> str:
    """Twelve hex digits over config, protocol, options (also the seed) and the sorted (id, split) pairs."""
    pairs = sorted((str(i), str(a)) for i, a in zip(ids, assignment, strict=True) if a)
    content = json.dumps([config, protocol, dict(options), pairs], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def keyed_hash(seed: int | None, purpose: str, text: str) -> int:
    """Make a 64-bit number that depends only on these three; `seed=None` is for orders that no seed may change."""
    key = b"" if seed is None else str(seed).encode()
    return int.from_bytes(hashlib.blake2b(f"{purpose}\0{text}".encode(), digest_size=8, key=key).digest(), "big")


def shuffled(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """Sort the distinct names into an order that the seed decides."""
    return sorted({str(n) for n in names}, key=lambda name: (keyed_hash(seed, purpose, name), name))


def divide(total: int, shares: Sequence[float]) -> list[int]:
    """Divide `total` into whole numbers proportional to `shares` (largest remainder; on a tie, the first gets it)."""
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
        sides: Name of a side -> row numbers.
        values: `(N,)` speaker or group of each row.
        config: Name for the message.

    Raises:
        SplitError: If one is; the message names the first and its two sides.
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
    """Return the tier of each utterance; only this function defines the tiers.

    `no_consensus`: no label. `clear`: agreement of at least 2/3. `moderate`: at least 1/2. `ambiguous`: below 1/2.
    """
    agreement = np.asarray(agreement) + 1e-9  # 2/3 in float32 is still 2/3
    named = np.select(
        [np.asarray(label) < 0, agreement >= CLEAR_AGREEMENT, agreement >= MODERATE_AGREEMENT],
        ["no_consensus", "clear", "moderate"],
        "ambiguous",
    )
    return named.tolist()


def check_options(splits: Iterable[Split], options: SplitOptions) -> None:
    """Refuse an option that was changed and that none of the splits was made with.

    Raises:
        SplitError: Naming the option, its value, the configs that read it and the cure.
    """
    check_read(options, {split.config: split.options for split in splits})


def check_read(options: SplitOptions, configs: Mapping[str, Iterable[str]]) -> None:
    """Refuse an option that was changed and that no config reads.

    Args:
        options: The options.
        configs: Config -> names of the options that it reads.

    Raises:
        SplitError: Naming the option, its value, the configs that read it and the cure.
    """
    read = {name for names in configs.values() for name in names}
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if one.name in _READ_BY and one.name not in read and value != one.default:
            who, example = _READ_BY[one.name]
            raise SplitError(
                f"{one.name}={value!r} changes nothing in the configs {list(configs)[:5]}: only {who} read it. Leave"
                f" {one.name} out, or build such a config, too, for example {example!r}."
            )
