"""IEMOCAP's published counts, and sentences that compare a scan with them.

The papers count by the release's own majority code, not by a consensus recomputed from the ratings. So every
comparison with a paper's figure uses that code; what the ratings themselves give is reported separately.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hf_ambiser.data.corpora.iemocap.blocks import RELEASE_CODES
from hf_ambiser.data.schema import CorpusScan, Utterance
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.labels.votes import VoteTable, tally


UTTERANCES, LABEL_FILES = 10039, 151
RELEASE = dict(ang=1103, dis=2, exc=1041, fea=40, fru=1849, hap=595, neu=1708, oth=3, sad=1084, sur=107, xxx=2507)
FOUR_WITH_EXCITEMENT = ("ang", "hap", "exc", "sad", "neu")
FOUR_LABELS = frozenset(RELEASE_CODES[code] for code in FOUR_WITH_EXCITEMENT)
# Sun et al. (IPR), Table 1.
IPR_SIZES = {"D1": 1710, "D2": 3421, "D3": 400}
# Fujioka et al. (meta), Table 1: speaker -> happiness (without excitement), sadness, neutral, anger.
META_CLASSES = ("hap", "sad", "neu", "ang")
META_TABLE_1 = {
    "Ses01F": (69, 78, 171, 147),
    "Ses01M": (66, 116, 213, 82),
    "Ses02F": (70, 113, 135, 67),
    "Ses02M": (47, 84, 227, 70),
    "Ses03F": (80, 172, 130, 92),
    "Ses03M": (55, 133, 190, 148),
    "Ses04F": (31, 62, 76, 205),
    "Ses04M": (34, 81, 182, 122),
    "Ses05F": (77, 132, 221, 78),
    "Ses05M": (66, 113, 163, 92),
}
# Gan et al. (SLC), Table II: session -> clear (S_A) and ambiguous (S_B) segments of at most 7 s.
SLC_TABLE_2 = {
    "Ses01": (1316, 726),
    "Ses02": (1248, 801),
    "Ses03": (1324, 973),
    "Ses04": (1216, 1059),
    "Ses05": (1494, 890),
}
SLC_SECONDS = 7.0


def compare(
    scan: CorpusScan, table: VoteTable | None = None, *, durations: Mapping[str, float] | None = None
) -> list[str]:
    """Compare a scan with the published counts.

    Args:
        scan: The result of `scan`.
        table: Votes of `scan.utterances` in their order; by default under the policy `iemocap-4`. They are used only
            for the agreement and for the consensus recomputed from the ratings.
        durations: Utterance id -> length of the audio in s, for SLC's segments; by default the label file's times.

    Returns:
        Sentences. Each comparison ends in "same (n)" or "differs: ours n, published m (difference d)".

    Raises:
        ValueError: If the number of rows in `table` is not the number of utterances in the scan.
    """
    if table is None:
        table = tally(get_policy("iemocap-4"), scan.ratings())
    if len(table.label) != len(scan.utterances):
        raise ValueError(
            f"the table has {len(table.label)} rows, the scan {len(scan.utterances)} utterances; they must be equal."
            " Make the table with tally(policy, scan.ratings())."
        )
    return [
        *_completeness(scan),
        *_release(scan),
        *_recomputed(scan, table),
        *_ipr(scan, table),
        *_meta(scan),
        *_slc(scan, durations),
    ]


def labels_published(classes: Sequence[str]) -> tuple[str, dict[str, list[int]]] | None:
    """Return a paper's counts per speaker: the table's name, and speaker (and `all`) -> number of each class.

    Return None if the classes are not those of the table.
    """
    columns = {RELEASE_CODES[code]: i for i, code in enumerate(META_CLASSES)}
    if set(classes) != set(columns):
        return None
    order = [columns[name] for name in classes]
    counts = {speaker: [row[i] for i in order] for speaker, row in META_TABLE_1.items()}
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    return "Fujioka et al., Table 1 (excitement left out)", counts


def _versus(what: str, ours: int, published: int) -> str:
    if ours == published:
        return f"{what}: same ({ours})"
    return f"{what}: differs: ours {ours}, published {published} (difference {ours - published:+d})"


def _code(utterance: Utterance) -> str:
    return str(utterance.extra["release_label"])


def _codes(utterances: Iterable[Utterance]) -> Counter[str]:
    return Counter(map(_code, utterances))


def _completeness(scan: CorpusScan) -> list[str]:
    dialogs = {u.extra["dialogue"] for u in scan.utterances}
    missing = [s for s in SLC_TABLE_2 if s not in {u.session for u in scan.utterances}]
    lines = []
    if len(scan.utterances) < UTTERANCES or len(dialogs) < LABEL_FILES:
        gone = f"; no utterance of {', '.join(missing)}" if missing else ""
        lines.append(
            f"This is a partial release: {len(scan.utterances)} of {UTTERANCES} utterances, {len(dialogs)} of"
            f" {LABEL_FILES} dialogues{gone}. Totals below are expected to differ."
        )
    lines.append(_versus("dialogues with labelled utterances", len(dialogs), LABEL_FILES))
    lines.append(_versus("utterances", len(scan.utterances), UTTERANCES))
    if scan.listed:
        reasons = Counter(item.reason for item in scan.listed)
        said = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
        lines.append(f"Not among the utterances, and listed: {said}.")
    return lines


def _release(scan: CorpusScan) -> list[str]:
    ours = _codes(scan.utterances)
    lines = [_versus(f"release's majority code {code}", ours[code], n) for code, n in RELEASE.items()]
    unknown = {code: n for code, n in sorted(ours.items()) if code not in RELEASE}
    if unknown:
        lines.append(f"Majority codes that the release does not have: {unknown}.")
    return lines


def _recomputed(scan: CorpusScan, table: VoteTable) -> list[str]:
    """Compare the release's code with the consensus of the ratings, so that a policy's labels can be judged."""
    lines = []
    expected = [RELEASE_CODES.get(_code(u)) for u in scan.utterances]
    for multi_label in ("first", "each", "fractional"):
        policy = get_policy("iemocap-all", multi_label=multi_label)
        label = tally(policy, scan.ratings()).label
        same = sum((policy.classes[k] if k >= 0 else None) == e for k, e in zip(label.tolist(), expected, strict=True))
        lines.append(
            f"The plurality of the external raters (several labels by one: {multi_label}) equals the release's code"
            f" for {same} of {len(expected)} utterances."
        )
    with_label = int((table.label >= 0).sum())
    lines.append(
        f"A consensus label recomputed from the ratings under the data set's policy: {with_label} utterances (the"
        " papers' sets below go by the release's code instead)."
    )
    return lines


def _ipr(scan: CorpusScan, table: VoteTable) -> list[str]:
    chosen = np.array([_code(u) in FOUR_WITH_EXCITEMENT for u in scan.utterances], dtype=bool)
    published = sum(IPR_SIZES.values())
    n = int(chosen.sum())
    lines = [_versus("four classes with excitement as happiness, by the release's code (IPR: D1+D2+D3)", n, published)]
    if n != published:
        lines.append("IPR's D1, D2, D3 are not placed: their sizes belong to exactly 5531 utterances.")
        return lines
    agreement = np.sort(np.round(table.agreement[chosen], 9))[::-1]
    end = 0
    for name, size in list(IPR_SIZES.items())[:2]:
        end += size
        level = agreement[end - 1]
        above, on = int((agreement > level).sum()), int((agreement == level).sum())
        lines.append(
            f"IPR {name} (published {size}; its rule is not): ordered by agreement, its end (the first {end}) falls at"
            f" agreement {level:.3f}: {above} utterances lie above, {on} on it, of which {end - above} are taken (by"
            " entropy, then a hash of the id)."
        )
    return lines


def _meta(scan: CorpusScan) -> list[str]:
    by_speaker: dict[str, Counter[str]] = {s: Counter() for s in META_TABLE_1}
    for utterance in scan.utterances:
        by_speaker[utterance.speaker][_code(utterance)] += 1
    rule = "by the release's code, excitement left out (meta, Table 1)"
    total = sum(sum(row) for row in META_TABLE_1.values())
    ours = sum(counts[code] for counts in by_speaker.values() for code in META_CLASSES)
    lines = [_versus(f"four classes {rule}", ours, total)]
    for speaker, row in META_TABLE_1.items():
        counts = by_speaker[speaker]
        if not counts:
            lines.append(f"{speaker}: no utterance in this copy; published {sum(row)} {rule}.")
            continue
        for code, published in zip(META_CLASSES, row, strict=True):
            lines.append(_versus(f"{speaker} {code}, {rule}", counts[code], published))
    return lines


def _slc(scan: CorpusScan, durations: Mapping[str, float] | None) -> list[str]:
    source = "the label file's times" if durations is None else "the audio"
    clear, ambiguous, seconds_known = Counter[str](), Counter[str](), 0
    for utterance in scan.utterances:
        if durations is None:
            seconds = utterance.extra["end"] - utterance.extra["start"]
        else:
            seconds = durations.get(utterance.id, math.nan)
        if not math.isfinite(seconds):
            continue
        seconds_known += 1
        # With the tolerance, 7 s stay one segment although they are the difference of two decimal numbers.
        segments = max(1, math.ceil(seconds / SLC_SECONDS - 1e-6))
        if _code(utterance) in FOUR_WITH_EXCITEMENT:
            clear[utterance.session] += segments
        elif _code(utterance) == "xxx" and _has_vote(utterance):
            ambiguous[utterance.session] += segments
    lines = [
        "SLC (Table II) counts segments of at most 7 s and does not give its rule for S_A and S_B. Ours: S_A has a"
        " majority code among the four classes (excitement as happiness); S_B has the code xxx and an external vote"
        f" for one of the four; utterances over 7 s count once per started 7 s; durations from {source}, known for"
        f" {seconds_known} of {len(scan.utterances)}. A difference here is expected and only shows how far the"
        " rules lie apart."
    ]
    present = {u.session for u in scan.utterances}
    for session, (a, b) in SLC_TABLE_2.items():
        if session not in present:
            lines.append(f"{session}: no utterance in this copy; SLC has {a} and {b} segments.")
            continue
        lines.append(_versus(f"{session} S_A segments (SLC)", clear[session], a))
        lines.append(_versus(f"{session} S_B segments (SLC)", ambiguous[session], b))
    totals = (sum(row[i] for row in SLC_TABLE_2.values()) for i in (0, 1))
    for name, ours, published in zip("AB", (clear, ambiguous), totals, strict=True):
        lines.append(_versus(f"S_{name} segments in all (SLC)", sum(ours.values()), published))
    return lines


def _has_vote(utterance: Utterance) -> bool:
    return any(
        label in FOUR_LABELS for rating in utterance.ratings if not rating.self_report for label in rating.labels
    )
