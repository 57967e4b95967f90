"""Utterances worth listening to: those whose labels moved most, and those whose answers are far from the votes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hf_ambiser.label_analysis.history import History
from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.distribution import js_divergence
from hf_ambiser.report.groups import Group
from hf_ambiser.report.statistics import PooledAnswers, pooled


MOST = 20  # utterances of each kind and system
MOST_SYSTEMS = 4
MOVED, FAR = "label moved", "answer far from the votes"


@dataclass(frozen=True)
class UtteranceCard:
    """One utterance of one system, as the page shows it.

    Args:
        kind: `MOVED` (a training utterance) or `FAR` (a test utterance).
        group: Name of the group of runs.
        system: Whose label or answer it is.
        id: The utterance.
        speaker: "" if the run folders do not tell, as for an utterance that was never tested.
        distance: JS (bit) between the votes and the corrected label (`MOVED`) or the prediction (`FAR`).
        votes: `(K,)` counts.
        label: `(K,)` corrected label; None for a test utterance.
        prediction: `(K,)` mean answer of the runs in which the utterance was held out; else the shares of the answers
            in training, if these are known; else None.
        held_out: Whether `prediction` is of runs in which the utterance was held out.
        over_epochs: `(E, K)` the label after each epoch; None for a test utterance.
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


def utterance_cards(
    group: Group, systems: list[str], histories: Mapping[str, History], splits: list[str]
) -> list[UtteranceCard]:
    """For each system: the utterances whose labels moved most, then the test utterances with the furthest answers."""
    found = []
    for system in [name for name in systems if name in histories][:MOST_SYSTEMS]:
        held_out = _held_out(group, system, splits)
        for one in histories[system].utterances[:MOST]:
            speaker, answer = held_out.get(one.id, ("", one.answer))
            known = one.id in held_out
            about = (speaker, one.moved, one.votes, one.label, answer, known, one.over_epochs, one.runs)
            found.append(UtteranceCard(MOVED, group.name, system, one.id, *about, group.classes))
    for system in systems[:MOST_SYSTEMS]:
        found += _far(group, system, splits)
    return found


def _answers(group: Group, system: str, splits: list[str]) -> list[PooledAnswers]:
    return [pooled(group.systems[system], split) for split in splits]


def _held_out(group: Group, system: str, splits: list[str]) -> dict[str, tuple[str, np.ndarray | None]]:
    """Speaker and mean answer of each utterance that was tested; one that trains in one fold is tested in another."""
    return {
        name: (speaker, answer)
        for pool in _answers(group, system, splits)
        for name, speaker, answer in zip(pool.id.tolist(), pool.speaker.tolist(), pool.probabilities, strict=True)
    }


def _far(group: Group, system: str, splits: list[str]) -> list[UtteranceCard]:
    ranked = []
    n_runs = len({run.seed for run in group.systems[system]})
    for pool in _answers(group, system, splits):
        voted = np.flatnonzero(pool.votes.sum(axis=1) > 0)
        answers = soft_labels(pool.probabilities[voted])
        distance = js_divergence(soft_labels(pool.votes[voted]), answers)
        for place in np.argsort(-distance, kind="stable")[:MOST]:
            row = voted[place]
            speaker, name, far = str(pool.speaker[row]), str(pool.id[row]), float(distance[place])
            about = (speaker, far, pool.votes[row], None, answers[place], True, None, n_runs, group.classes)
            ranked.append(UtteranceCard(FAR, group.name, system, name, *about))
    return sorted(ranked, key=lambda card: -card.distance)[:MOST]
