"""Clips worth listening to: those whose labels moved most in training, and those the model is furthest from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hf_ambiser.label_analysis.history import History
from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.distribution import js_divergence
from hf_ambiser.report.groups import Group
from hf_ambiser.report.statistics import Clips, pooled


MOST = 20  # clips of each kind and system
MOST_SYSTEMS = 4
MOVED, FAR = "label moved", "answer far from the votes"


@dataclass(frozen=True)
class ClipCard:
    """One clip of one system, as the page shows it.

    Args:
        kind: `MOVED` (a training clip) or `FAR` (a test clip).
        group: Name of the group of runs.
        system: Whose label or answer it is.
        id: The clip.
        speaker: "" where the run folders do not say (a clip that was never tested).
        distance: JS (bit) between the votes and the corrected label (`MOVED`) or the prediction (`FAR`).
        votes: `(K,)` counts.
        label: `(K,)` corrected label; None for a test clip.
        prediction: `(K,)` mean answer of the runs in which the clip was held out; else the shares of its answers in
            training, where these are known; else None.
        held_out: Which of the two it is.
        over_epochs: `(E, K)` the label after each epoch; None for a test clip.
        classes: The K class names.
        runs: How many runs stand behind it.
    """

    kind: str
    group: str
    system: str
    id: str
    speaker: str
    distance: float
    votes: np.ndarray
    label: np.ndarray | None
    prediction: np.ndarray | None
    held_out: bool
    over_epochs: np.ndarray | None
    runs: int
    classes: list[str]


def clip_cards(
    group: Group, systems: list[str], histories: Mapping[str, History], splits: list[str]
) -> list[ClipCard]:
    """Of each system the clips whose labels moved most, then the test clips answered furthest from the votes."""
    found = []
    for system in [name for name in systems if name in histories][:MOST_SYSTEMS]:
        held_out = _held_out(group, system, splits)
        for clip in histories[system].clips[:MOST]:
            speaker, answer = held_out.get(clip.id, ("", clip.answer))
            known = clip.id in held_out
            about = (speaker, clip.moved, clip.votes, clip.label, answer, known, clip.over_epochs, clip.runs)
            found.append(ClipCard(MOVED, group.name, system, clip.id, *about, group.classes))
    for system in systems[:MOST_SYSTEMS]:
        found += _far(group, system, splits)
    return found


def _answers(group: Group, system: str, splits: list[str]) -> list[Clips]:
    return [pooled(group.systems[system], split) for split in splits]


def _held_out(group: Group, system: str, splits: list[str]) -> dict[str, tuple[str, np.ndarray | None]]:
    """Clip -> speaker and mean answer: a clip that trains in one fold is tested in another."""
    return {
        name: (speaker, answer)
        for clips in _answers(group, system, splits)
        for name, speaker, answer in zip(clips.id.tolist(), clips.speaker.tolist(), clips.probabilities, strict=True)
    }


def _far(group: Group, system: str, splits: list[str]) -> list[ClipCard]:
    ranked = []
    runs = len({cell.seed for cell in group.systems[system]})
    for clips in _answers(group, system, splits):
        voted = np.flatnonzero(clips.votes.sum(axis=1) > 0)
        answers = soft_labels(clips.probabilities[voted])
        distance = js_divergence(soft_labels(clips.votes[voted]), answers)
        for place in np.argsort(-distance, kind="stable")[:MOST]:
            row = voted[place]
            speaker, name, far = str(clips.speaker[row]), str(clips.id[row]), float(distance[place])
            about = (speaker, far, clips.votes[row], None, answers[place], True, None, runs, group.classes)
            ranked.append(ClipCard(FAR, group.name, system, name, *about))
    return sorted(ranked, key=lambda card: -card.distance)[:MOST]
