"""Count what stands on two sides of each split of a build: the training side against validation and against test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hf_ambiser.data.overlap.audio_print import LENGTHS, THRESHOLD, AudioPrint, identical_groups
from hf_ambiser.data.overlap.record import HELD_OUT, IDENTICAL, NEAR
from hf_ambiser.data.splits import Split
from hf_ambiser.data.splits.apart import sides_of


# So many groups of recordings that occur twice are named in a report; all are counted.
_NAMED = 100


def audit_splits(
    ids: Sequence[str], columns: Mapping[str, np.ndarray], prints: Sequence[AudioPrint], splits: Sequence[Split]
) -> dict[str, Any]:
    """Count what stands on two sides.

    Args:
        ids: N utterances.
        columns: `overlap.columns.known_columns` of them.
        prints: Their N prints.
        splits: The splits of the build.

    Returns:
        `columns` (what could be compared); `rule` (when recordings are near-identical, and how many could not be
        compared); `same_audio` (groups of near-identical utterances by their ids, the first 100, and `n_same_audio`,
        how many groups there are); `configs[config][column][side]`, with `side` `validation` or `test`: `values` of
        that side, how many of them are `shared` with the training side, and the `utterances` of the training side that
        have one of these. `identical_audio` and `near_identical_audio` are such columns; the latter includes the
        former. A split that repeats another (`paper`: validation is test) is counted as the other.
    """
    kinds = {name: values for name, values in columns.items() if name != "audio"}
    kinds |= {IDENTICAL: identical_groups(prints).astype(str), NEAR: columns["audio"]}
    groups: dict[str, list[str]] = {}
    for name, group in zip(ids, columns["audio"].tolist(), strict=True):
        groups.setdefault(group, []).append(name)
    same = sorted(sorted(names) for names in groups.values() if len(names) > 1)
    return {
        "columns": sorted(kinds),
        "rule": {
            "threshold": THRESHOLD,
            "lengths_differ_by_at_most": LENGTHS,
            "not_comparable": sum(not one.comparable for one in prints),
        },
        "n_same_audio": len(same),
        "same_audio": [names[:_NAMED] for names in same[:_NAMED]],
        "configs": {split.config: {name: shared(values, split) for name, values in kinds.items()} for split in splits},
    }


def shared(values: np.ndarray, split: Split) -> dict[str, dict[str, int]]:
    """Count for each held-out side which of its values the training side has, too.

    Args:
        values: `(N,)` str, "" where an utterance has none; such utterances are not compared.
        split: The split. A side without an utterance is left out.
    """
    sides, known = sides_of(split), values != ""
    train = values[(sides == "train") & known]
    found = {}
    for side in HELD_OUT:
        if (sides == side).any():
            there = np.unique(values[(sides == side) & known])
            both = there[np.isin(there, train)]
            counts = len(there), len(both), int(np.isin(train, both).sum())
            found[side] = dict(zip(("values", "shared", "utterances"), counts, strict=True))
    return found
