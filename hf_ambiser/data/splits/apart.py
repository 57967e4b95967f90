"""Hold the sides of a split apart in more than the speaker: no sentence, dialogue or recording on two sides.

`WHAT` keeps validation and test as they are, and leaves those utterances of the training side out that share a value
with them. If every value stands on both sides (CREMA-D's twelve sentences), nothing would be left to learn from. For
this, `WHAT=SHARE` holds a share of the values out, which the seed chooses: the training side loses the utterances with
these values, and validation and test lose those with the other values.

An utterance of which the value is not known ("") is never left out.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from hf_ambiser.data.splits.common import (
    Array,
    Split,
    SplitError,
    SplitInput,
    SplitOptions,
    apart_of,
    shuffled,
    split_fingerprint,
)


SIDES = ("train", "validation", "test")


def side_of(split: str) -> str:
    """The side that a split belongs to, by its name: `train`, `validation` or `test`."""
    if split.startswith("validation"):
        return "validation"
    return "test" if split == "d3" or split.startswith("test") else "train"


def sides_of(split: Split) -> Array:
    """`(N,)` str: the side of each utterance, "" if it is in no split."""
    side = {name: side_of(name) for name in np.unique(split.assignment).tolist() if name}
    return np.array([side.get(name, "") for name in split.assignment.tolist()], dtype=str)


def hold_apart(split: Split, data: SplitInput, options: SplitOptions) -> Split:
    """Leave out what `options.disjoint` asks for, and return a split with a fingerprint of its own.

    Raises:
        SplitError: If a column is not known of this corpus, or if a split would have nothing left.
    """
    sides, assignment = sides_of(split), split.assignment.astype(object)
    placed = sides != ""
    left_out: dict[int, tuple[str, str]] = {}
    # Shares first: what they take off validation and test need not be held apart any more.
    for what in sorted(options.disjoint, key=lambda what: ("=" not in what, what)):
        column, share = apart_of(what)
        if column not in data.columns:
            raise SplitError(
                f"disjoint={column!r}: of this corpus it is not known for any utterance; known are"
                f" {sorted(data.columns)}. Name one of them, or leave it out."
            )
        values = np.asarray(data.columns[column]).astype(str)
        train, held_out, known = sides == "train", np.isin(sides, ("validation", "test")), values != ""
        if share is None:
            gone = train & known & np.isin(values, values[held_out])
        else:
            order = shuffled(values[known & placed], options.seed, f"apart by {column}")
            apart = np.isin(values, order[: max(1, round(share * len(order)))])
            gone = known & ((train & apart) | (held_out & ~apart))
        for row in np.flatnonzero(gone & (assignment != "")).tolist():
            left_out[row] = (str(assignment[row]), column)
            assignment[row] = ""
        sides = np.where(gone, "", sides)
        _check_left(split, assignment, column, share)
    new = assignment.astype(str)
    used = {**split.options, **options.only("disjoint", "seed")}
    counts = Counter(column for _, column in left_out.values())
    what = ", ".join(f"{n} for their {column}" for column, n in counts.items()) or "none"
    return dataclasses.replace(
        split,
        assignment=new,
        options=used,
        fingerprint=split_fingerprint(split.config, split.protocol, used, data.id, new),
        description=f"{split.description} Held apart: {', '.join(options.disjoint)}; utterances left out: {what}.",
        left_out=left_out,
    )


def _check_left(split: Split, assignment: Array, column: str, share: float | None) -> None:
    """Check that no split that had utterances has none now; those without a consensus label may be missed."""
    for name in np.unique(split.assignment).tolist():
        if name and not name.endswith("no_consensus") and not (assignment == name).any():
            n = int((split.assignment == name).sum())
            cure = (
                f"Hold out a share of the values instead, for example --disjoint {column}=0.25 (then validation and"
                " test lose the utterances with the other values), or leave it out."
                if share is None
                else "Ask for another share or seed, or leave it out."
            )
            raise SplitError(
                f"{split.config}: disjoint={column}{'' if share is None else f'={share:g}'} would leave nothing of the"
                f" {n} utterances of {name!r}, because each has a {column} that belongs to another side. {cure}"
            )
