"""The one definition of a changed label, by hand, and against the ones that it replaced on the recorded runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hf_ambiser.label_analysis.changed_labels import TOLERANCE, changed_labels, class_moves, labels_of
from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.methods.meta.figures import share_moved
from hf_ambiser.methods.slc.figures import read_corrected
from hf_ambiser.run_folder.trajectory import read_last, read_trajectory, trajectory_epochs


CARDS = Path(__file__).parent.parent / "model_cards"
RECORDED = [CARDS / family / "run" for family in ("blstm", "fusion", "prototype")]  # meta, slc, ipr
EPOCHS = [(run, epoch) for run in RECORDED for epoch in trajectory_epochs(run)]


def test_a_label_is_changed_if_it_differs_by_more_than_rounding():
    observed = np.array([[1, 0], [1, 0], [0.6, 0.4], [0, 0], [0, 0], [0.6, 0.4]], np.float32)
    label = np.array([[1, 0], [0, 1], [0.6, 0.4], [0, 0], [0.5, 0.5], [0.6 + 3 * TOLERANCE, 0.4 - 3 * TOLERANCE]])
    label[2, 0] += TOLERANCE / 4
    assert changed_labels(label, observed).tolist() == [False, True, False, False, True, True]


def test_the_label_is_the_methods_soft_label_or_else_the_target():
    target, soft = np.array([[1, 0], [0, 1], [0, 0]], np.float32), np.array([[0, 0], [0.3, 0.7], [0, 0]], np.float32)
    assert labels_of({"target": target}).tolist() == target.tolist()
    assert labels_of({"target": target, "soft_label": soft}).tolist() == [[1, 0], soft[1].tolist(), [0, 0]]


def test_there_are_recorded_runs_of_methods_that_change_labels():
    assert len(RECORDED) == 3 and len(EPOCHS) > 20
    last = [read_trajectory(run, trajectory_epochs(run)[-1]) for run in RECORDED]
    assert all(changed_labels(labels_of(table), table["observed"]).any() for table in last)


@pytest.mark.parametrize("run,epoch", EPOCHS, ids=[f"{run.parent.name}-{epoch}" for run, epoch in EPOCHS])
def test_recorded_runs_have_the_changed_labels_that_they_had_before(run, epoch):
    """The three former definitions, each as it was written."""
    table = read_trajectory(run, epoch)
    label, observed = labels_of(table), table["observed"]
    changed = changed_labels(label, observed)
    there = label.sum(axis=1) > 0
    of_history = there & ~np.isclose(label, observed, atol=1e-6).all(axis=1)
    assert (changed == of_history).all()
    given = table.get("soft_label", table["target"])
    of_corrected = (given.sum(axis=1) > 0) & (given != observed).any(axis=1)
    assert (changed == of_corrected).all() and (label[changed] == given[changed]).all()
    votes, target = soft_labels(observed), soft_labels(table["target"])
    of_slc = (votes.max(axis=1) < 1) | (np.abs(votes - target).max(axis=1) > 0)
    found = read_corrected(run, epoch)
    assert (found[0] == votes[of_slc]).all() and (found[1] == target[of_slc]).all()


def test_recorded_runs_have_the_class_moves_that_they_had_before():
    drawn = 0
    for run in RECORDED:
        table, _ = read_last(run)
        after = table.get("label_logits", table["target"])
        k = table["observed"].shape[1]
        one_hot = [F.one_hot(torch.as_tensor(x).argmax(dim=1), k).double() for x in (table["observed"], after)]
        pairs = one_hot[0].T @ one_hot[1]
        former = (pairs / pairs.sum(dim=1, keepdim=True).clamp(min=1)).numpy()
        assert (class_moves(table["observed"], after) == former).all()
        if "label_logits" in table:
            assert (share_moved(run) == former).all()
            drawn += 1
    assert drawn == 1
