"""IEMOCAP as large as the papers print it, without the corpus: utterances that have a speaker and a class, no more.

The real split code is run on them, so what a plan would train on can be told, and checked, before the licence is
there.
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
    """Utterances in the numbers of the paper whose table is made with this split, and what they are.

    Args:
        config: `ipr-paper` (IPR, Table 1), a plain config such as `loso-paper-Ses01F` (meta, Table 1) or an SLC one
            such as `slc-paper-loso` (SLC, Table II).

    Raises:
        SplitError: If no paper's counts tell the sizes of this config.
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
            f"the sizes of {config!r} follow from no published count: IPR's are of the whole corpus (ipr-paper)."
        )
    rows = [("unknown", _CLASS[code], True) for code in FOUR_WITH_EXCITEMENT for _ in range(RELEASE[code])]
    return _as_input(rows), "IPR, Table 1: 5531 utterances, excitement counted as happiness"


def _as_input(rows: Iterable[tuple[str, int, bool]]) -> SplitInput:
    """Utterances with a speaker, a class (-1: none) and agreement, which is whole or none."""
    speaker, label, clear = (np.array(column) for column in zip(*rows, strict=True))
    votes = np.ones((len(label), len(CLASSES)))  # somebody heard something
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
