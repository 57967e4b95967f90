"""Soft targets: added votes against the literal formula, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.suite_methods import make_trainer, settings

from hf_ambiser.methods.soft_target import SoftTargetArguments
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.collator import LABELLED


BATCH = BatchRows(torch.arange(6), torch.full((6,), LABELLED))


@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_targets_are_the_counts_with_added_votes(alpha, tmp_path):
    trainer = make_trainer("soft_target", tmp_path, **settings("soft_target", "learns", added_votes=alpha))
    targets, weights = trainer.correct(None, BATCH)
    for row, votes in zip(targets.tolist(), trainer.data.votes[:6].tolist(), strict=True):
        total = sum(n + alpha for n in votes)
        assert sum(votes) == 5 and row == pytest.approx([(n + alpha) / total for n in votes], rel=1e-5)
    assert weights.tolist() == [1.0] * 6


def test_the_same_shares_of_more_votes_are_surer(tmp_path):
    def ten_fold(split):
        def change(row, i):
            return {"votes": [10 * n for n in row["votes"]] if i < 3 else row["votes"]}

        return split.map(change, with_indices=True, features=split.features, load_from_cache_file=False)

    trainer = make_trainer("soft_target", tmp_path, change=ten_fold, **settings("soft_target", "learns"))
    shares, (targets, _) = trainer.table.observed[:6].numpy(), trainer.correct(None, BATCH)
    share = np.abs(targets.numpy() - 0.25).sum(axis=1) / np.abs(shares - 0.25).sum(axis=1)
    np.testing.assert_allclose(share, [50 / 54] * 3 + [5 / 9] * 3, rtol=1e-5)


def test_a_soft_label_without_votes_is_refused(tmp_path):
    def without(split):
        return split.map(lambda row: {"votes": [0.0] * 4}, features=split.features, load_from_cache_file=False)

    with pytest.raises(ValueError, match=r"21 utterances have a soft label and no votes, the first is 'a000'; method"):
        make_trainer("soft_target", tmp_path, change=without, **settings("soft_target", "learns"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"added_votes": 0.0}, "added_votes=0.0 must be above 0; without added votes, take `soft_vote`"),
        ({"drop_raters": 0.2}, "drop_raters=0.2 leaves votes out .* needs the numbers of all votes"),
    ],
)
def test_values_that_are_not_allowed(given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        SoftTargetArguments(str(tmp_path), use_cpu=True, **given)
