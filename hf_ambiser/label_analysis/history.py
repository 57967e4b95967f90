"""How the label of every training utterance changed over the epochs, and how far it ended from the raters' votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ambiser.label_analysis.changed_labels import changed_labels, labels_of
from hf_ambiser.labels.votes import entropy_bits, soft_labels
from hf_ambiser.metrics.distribution import js_divergence
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.reference import read_reference
from hf_ambiser.run_folder.trajectory import read_trajectory, trajectory_epochs


@dataclass(frozen=True)
class Epochs:
    """The labels that ambiguous utterances had in one run, epoch by epoch `(E,)`.

    `differ` is the share of labels that are not the consensus, among the utterances with a label and a consensus.
    `entropy` is the mean entropy (bits) of the labels. Both are NaN before the first label.
    """

    epoch: np.ndarray
    differ: np.ndarray
    entropy: np.ndarray

    @property
    def has_labels(self) -> bool:
        """Whether any ambiguous utterance was labelled."""
        return bool(np.isfinite(self.entropy).any())


@dataclass(frozen=True)
class Moved:
    """An utterance whose label a method changed, averaged over the runs that changed it.

    Args:
        id: The utterance.
        votes: `(K,)` the raters' votes.
        label: `(K,)` the label after the last epoch, mean over runs.
        over_epochs: `(E, K)` the label after each epoch, mean over runs; rows of zeros before the first label.
        moved: JS (bit) between the votes' shares and `label`.
        runs: Number of runs that changed the label.
        answer: `(K,)` share of these runs in which the model itself, in training, answered each class; None if the
            method's trajectory does not tell.
    """

    id: str
    votes: np.ndarray
    label: np.ndarray
    over_epochs: np.ndarray
    moved: float
    runs: int
    answer: np.ndarray | None


@dataclass(frozen=True)
class History:
    """All runs of a system: their epochs, how many utterances have changed labels, and which moved furthest."""

    epochs: list[Epochs]
    n_utterances: int
    utterances: list[Moved]


def label_history(
    runs: Sequence[FinishedRun], most: int = 20, done: Callable[[], object] = lambda: None
) -> History | None:
    """Read every trajectory of a system once; None if no run changed a label or kept a trajectory.

    What a label is, and which labels are changed, is defined in `label_analysis.changed_labels`.

    Args:
        runs: Runs of one system, of any folds and seeds.
        most: Utterances to return, the furthest moved first.
        done: Called after each run.
    """
    ids: dict[str, int] = {}
    sums: list[np.ndarray] = []  # an epoch: (utterances, K + 1), the last column counts runs
    last = answer = np.zeros((0, 0))
    votes: dict[str, np.ndarray] = {}
    found = []
    for run in runs:
        epochs = trajectory_epochs(run.folder)
        done()
        if not epochs:
            continue
        reference, rows = read_reference(run.folder), []
        names = read_trajectory(run.folder, epochs[0])["id"]  # the same rows in every epoch
        place_of = np.array([reference["row"][name] for name in names], dtype=int)
        consensus = reference["reference_label"][place_of]
        for place, epoch in enumerate(epochs):
            table = read_trajectory(run.folder, epoch)
            label = labels_of(table)
            made = changed_labels(label, table["observed"])
            hidden = made & (table["observed"].sum(axis=1) == 0)
            known = hidden & (consensus >= 0)
            rows.append(
                (
                    float((label[known].argmax(axis=1) != consensus[known]).mean()) if known.any() else np.nan,
                    float(entropy_bits(soft_labels(label[hidden])).mean()) if hidden.any() else np.nan,
                )
            )
            if not made.any():
                continue
            index = np.array([ids.setdefault(name, len(ids)) for name in names[made]])
            while len(sums) <= place:
                sums.append(np.zeros((0, label.shape[1] + 1)))
            sums[place] = _added(sums[place], len(ids), index, label[made])
            if epoch == epochs[-1]:
                last = _added(last if last.size else sums[place][:0], len(ids), index, label[made])
                said = np.eye(label.shape[1] + 1)[table.get("classifier_label", np.full(len(names), -1))[made]]
                answer = _added(answer if answer.size else sums[place][:0], len(ids), index, said[:, :-1])
                votes |= zip(names[made], reference["reference_votes"][place_of[made]], strict=True)
        differ, entropy = np.array(rows).T
        found.append(Epochs(np.array(epochs), differ, entropy))
    if not len(last):
        return None
    return History(found, len(votes), _furthest_moved(ids, sums, last, answer, votes, most))


def _added(total: np.ndarray, n: int, index: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Grow `total` to n rows, and add these labels and a count of 1 at `index` (each row at most once)."""
    grown = np.zeros((n, label.shape[1] + 1))
    grown[: len(total)] = total
    grown[index] += np.column_stack([label, np.ones(len(label))])
    return grown


def _furthest_moved(
    ids: dict[str, int],
    sums: list[np.ndarray],
    last: np.ndarray,
    answer: np.ndarray,
    votes: dict[str, np.ndarray],
    most: int,
) -> list[Moved]:
    names = [name for name in votes if votes[name].sum() > 0]
    rows = np.array([ids[name] for name in names], dtype=int)
    if not names:
        return []
    label = soft_labels(last[rows, :-1])
    distance = js_divergence(soft_labels(np.stack([votes[name] for name in names])), label)
    found = []
    for place in np.argsort(-distance, kind="stable")[:most]:
        row = rows[place]
        over = soft_labels(np.stack([one[row, :-1] if row < len(one) else np.zeros(label.shape[1]) for one in sums]))
        said = soft_labels(answer[row : row + 1, :-1])[0] if answer[row, :-1].any() else None
        about = (votes[names[place]], label[place], over, float(distance[place]), int(last[row, -1]), said)
        found.append(Moved(names[place], *about))
    return found
