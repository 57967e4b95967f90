"""Placeholder utterances in the numbers that the papers print for IEMOCAP, with a speaker and a class only.

The real split code runs on them, so the sizes of a plan's splits can be shown and checked without the licensed corpus.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hf_ambiser.data.corpora.iemocap.published_counts import (
    FOUR_WITH_EXCITEMENT,
    META_CLASSES,
    META_TABLE_1,
    RELEASE,
    SLC_TABLE_2,
)
from hf_ambiser.data.splits import SplitError, SplitInput, split_base


CLASSES = ("anger", "happiness", "sadness", "neutral")
_CLASS = {"ang": 0, "hap": 1, "exc": 1, "sad": 2, "neu": 3}


def published(config: str) -> tuple[SplitInput, str]:
    """Make as many utterances as the paper that uses this split reports, and say in words what they are.

    Args:
        config: `ipr-paper` (IPR, Table 1), a plain config such as `loso-paper-Ses01F` (meta, Table 1) or an SLC config
            such as `slc-paper-loso` (SLC, Table II).

    Raises:
        SplitError: If no paper's counts give the sizes of this config.
    """
    family, folds = split_base(config)
    if family == "plain":
        rows = [
            (speaker, _CLASS[code], True)
            for speaker, counts in META_TABLE_1.items()
            for code, n in zip(META_CLASSES, counts, strict=True)
            for _ in range(n)
        ]
        return _as_input(rows), "meta, Table 1: 4490 utterances, excitement left out"
    if family == "slc":
        rows = [
            (f"{session}{'FM'[i % 2]}", 0 if clear else -1, clear)
            for session, counts in SLC_TABLE_2.items()
            for clear, n in zip((True, False), counts, strict=True)
            for i in range(n)
        ]
        note = "SLC, Table II: segments of at most 7 s, not utterances"
        return _as_input(rows), note + "; given per session, so each of its two speakers is taken for a half of it"
    if folds:
        raise SplitError(
            f"no published count gives the sizes of {config!r}: IPR's counts are of the whole corpus. Use 'ipr-paper'."
        )
    rows = [("unknown", _CLASS[code], True) for code in FOUR_WITH_EXCITEMENT for _ in range(RELEASE[code])]
    return _as_input(rows), "IPR, Table 1: 5531 utterances, excitement counted as happiness"


def _as_input(rows: Iterable[tuple[str, int, bool]]) -> SplitInput:
    """Make utterances from (speaker, class or -1, clear); the agreement is 1 if clear, else 0."""
    speaker, label, clear = (np.array(column) for column in zip(*rows, strict=True))
    votes = np.ones((len(label), len(CLASSES)))  # every utterance has a vote
    return SplitInput(
        id=np.array([f"{i:05d}" for i in range(len(label))]),
        speaker=speaker,
        group=np.array([name[:5] for name in speaker]),
        label=label,
        agreement=clear.astype(float),
        entropy=np.zeros(len(label)),
        votes=votes,
        kept=label >= 0,
        classes=CLASSES,
    )
