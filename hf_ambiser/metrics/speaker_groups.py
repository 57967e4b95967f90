"""WA, UA and JS of groups of speakers (sex, age), where a group is large enough to say something about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import Array, check_distributions, check_labels, check_votes
from hf_ambiser.metrics.classification import confusion_matrix, ua_from_confusion, wa_from_confusion
from hf_ambiser.metrics.distribution import js_divergence


# A figure of fewer utterances or speakers than this would be about these few, and not about the group.
MIN_UTTERANCES, MIN_SPEAKERS = 30, 2
# Each band begins at this age (years) and ends before the next one.
AGE_BANDS = {0: "under 30", 30: "30 to 49", 50: "50 or older"}
NOT_KNOWN = "not known"
# What speakers are grouped by, in the order of tables.
GROUPED_BY = ("sex", "age")


@dataclass(frozen=True)
class GroupFigures:
    """The figures of one group of speakers; None for a figure that has too few utterances or speakers.

    Args:
        n_utterances: Utterances of the group, each counted, with or without a consensus label.
        n_speakers: Their speakers.
        wa: WA in [0, 1], over the utterances with a consensus label.
        ua: UA in [0, 1], over the same, as the mean over the classes that occur among them.
        js: Mean JS divergence from the votes in bits, over the utterances with votes.
    """

    n_utterances: int
    n_speakers: int
    wa: float | None
    ua: float | None
    js: float | None


def age_band(age: int) -> str:
    """Name the band of an age in years."""
    return AGE_BANDS[max(start for start in AGE_BANDS if start <= age)]


def group_of(known: Mapping[str, Any], attribute: str) -> str:
    """Name the group of one speaker by an attribute: an age band, or the attribute's word; `not known` without one."""
    value = known.get(attribute)
    if value is None:
        return NOT_KNOWN
    return age_band(value) if attribute == "age" else str(value)


def figures_by_group(
    probabilities: Array,
    votes: Array,
    label: Array,
    speaker: Array,
    speakers: Mapping[str, Mapping[str, Any]],
    attribute: str,
) -> dict[str, GroupFigures]:
    """Compute the figures of every group of speakers: no utterance is in two groups, and none is in no group.

    A figure is given if at least `MIN_UTTERANCES` utterances by `MIN_SPEAKERS` speakers go into it.

    Args:
        probabilities: `(N, K)`, each row sums to 1.
        votes: `(N, K)` counts; a row of zeros has no votes and does not go into JS.
        label: `(N,)` consensus class, or -1.
        speaker: `(N,)` names.
        speakers: Name -> what is known of that speaker (`sex`, `age`).
        attribute: `sex` or `age`.

    Returns:
        Group -> figures: age bands from young to old, other groups by name, `not known` last. Empty if the attribute
        is known of none of these speakers.

    Raises:
        ValueError: If a shape or a value is not allowed.
    """
    names = np.array([group_of(speakers.get(str(name), {}), attribute) for name in speaker], dtype=object)
    groups = sorted(set(names), key=_place)
    if groups in ([], [NOT_KNOWN]):
        return {}
    probabilities, votes = check_distributions(probabilities, "probabilities"), check_votes(votes)
    label = check_labels(label, probabilities.shape[1], "label", lowest=-1)
    voted = votes.sum(axis=1) > 0
    js = np.zeros(len(label))
    if voted.any():
        js[voted] = js_divergence(soft_labels(votes[voted]), probabilities[voted])
    predicted = probabilities.argmax(axis=1)

    found = {}
    for group in groups:
        rows = names == group
        labelled, with_votes = rows & (label >= 0), rows & voted
        wa = ua = None
        if _enough(speaker[labelled]):
            confusion = confusion_matrix(label[labelled], predicted[labelled], probabilities.shape[1])
            wa, ua = wa_from_confusion(confusion), ua_from_confusion(confusion)
        found[group] = GroupFigures(
            n_utterances=int(rows.sum()),
            n_speakers=len(set(speaker[rows])),
            wa=wa,
            ua=ua,
            js=float(js[with_votes].mean()) if _enough(speaker[with_votes]) else None,
        )
    return found


def _enough(speaker: Array) -> bool:
    return len(speaker) >= MIN_UTTERANCES and len(set(speaker)) >= MIN_SPEAKERS


def _place(group: str) -> tuple[bool, int, str]:
    bands = list(AGE_BANDS.values())
    return group == NOT_KNOWN, bands.index(group) if group in bands else len(bands), group
