"""Label augmentation by leaving raters out: the draw, what is trained on, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import made_data
from helpers.suite_checks import assert_same_run_folder, check_accumulation, check_ranks, check_resume
from helpers.suite_methods import make_trainer, run, settings
from helpers.suite_ranks import forked_ranks

from hf_ambiser.label_analysis.changed_labels import changed_labels
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.run_folder.trajectory import read_trajectory
from hf_ambiser.training.dropped_raters import DroppedRaters, dropped_raters, kept_votes


DROP = {"drop_raters": 0.4}
# Case, its arguments, and whether labelled and ambiguous utterances learn from their votes.
SOFT = {
    "soft_vote": ({}, True, False),
    "label_distribution": ({}, True, False),
    "emotion_existence": ({}, True, False),
    "inter_class": ({}, True, False),
    "meta": (dict(load_method("meta").variants["soft_target"]), True, False),
    "slc": ({}, False, True),
}


def kept_by_the_rule(votes, probability, seed, epoch, utterance) -> list[int]:
    """One vote after the other: each has a number of its own, and leaves if that is below the probability."""
    name = repr((seed, epoch, f"drop_raters {utterance}"))
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")
    numbers = np.random.Generator(np.random.Philox(key=key))
    people = [c for c, n in enumerate(votes) for _ in range(int(n))]
    drawn = [numbers.random() for _ in people]
    stay = [c for c, number in zip(people, drawn, strict=True) if not number < probability]
    if stay == []:
        stay = [people[drawn.index(max(drawn))]]
    return [stay.count(c) for c in range(len(votes))]


# ---- the draw ------------------------------------------------------------------------------------------------------


def test_the_draw_is_that_of_the_rule():
    rng = np.random.default_rng(0)
    for i in range(300):
        votes = rng.integers(0, 4, 5).astype(float)
        votes[rng.integers(5)] += 1
        given = (votes, float(rng.choice([0.0, 0.1, 0.5, 0.99])), int(rng.integers(5)), int(rng.integers(9)), f"u{i}")
        assert kept_votes(*given).tolist() == kept_by_the_rule(*given), given


@pytest.mark.parametrize("probability", [0.2, 0.6, 0.95])
def test_over_many_epochs_the_label_is_the_votes_shares(probability):
    votes = np.array([3.0, 1.0, 0.0, 2.0])
    kept = np.array([kept_votes(votes, probability, 1, epoch, "u") for epoch in range(8000)])
    assert (kept.sum(axis=1) >= 1).all() and (kept <= votes).all() and kept.shape == (8000, 4)
    shares = kept / kept.sum(axis=1, keepdims=True)
    # Five standard errors of a mean of numbers in [0, 1].
    np.testing.assert_allclose(shares.mean(axis=0), votes / 6, atol=5 * 0.5 / 8000**0.5)
    # A binomial number stays, where it is not zero; then one stays.
    expected = 6 * (1 - probability) + probability**6
    assert kept.sum(axis=1).mean() == pytest.approx(expected, abs=5 * 1.3 / 8000**0.5)


def test_nothing_is_dropped_at_zero_and_the_last_vote_never():
    votes = np.array([2.0, 5.0, 0.0])
    assert kept_votes(votes, 0.0, 0, 0, "u").tolist() == votes.tolist()
    assert all(kept_votes(np.array([0.0, 1.0]), 0.999, 0, epoch, "u").tolist() == [0, 1] for epoch in range(50))
    almost = [kept_votes(votes, 0.999999, 0, epoch, "u") for epoch in range(200)]
    assert all(kept.sum() == 1 for kept in almost) and len({tuple(kept) for kept in almost}) == 2


def test_the_draw_depends_on_seed_epoch_and_utterance_only():
    votes = np.full((4, 3), 3.0)
    observed = votes / 9
    drawn = DroppedRaters(["a", "b", "c", "c#1"], observed, votes, 0.5, seed=1)
    first = drawn(3).clone()
    drawn(4)
    assert torch.equal(drawn(3), first) and not torch.equal(drawn(4), first)
    other_rows = DroppedRaters(["c", "a"], observed[:2], votes[:2], 0.5, seed=1)(3)
    assert torch.equal(other_rows, first[[2, 0]])
    assert torch.equal(first[3], first[2]), "the segments of an utterance have one label"
    assert not torch.equal(DroppedRaters(["a"], observed[:1], votes[:1], 0.5, seed=2)(3), first[:1])
    assert first.dtype == torch.float32 and torch.allclose(first.sum(1), torch.ones(4))


def test_rows_with_another_target_stay_as_they_are():
    observed = np.array([[0, 1.0, 0], [0.5, 0.5, 0], [0, 0, 0]])
    votes = np.array([[0, 0, 0], [1.0, 1, 0], [0, 0, 0]])
    drawn = [DroppedRaters(["a", "b", "c"], observed, votes, 0.9, seed=0)(epoch) for epoch in range(9)]
    assert all(d[0].tolist() == [0, 1, 0] and d[2].tolist() == [0, 0, 0] for d in drawn)
    assert {tuple(d[1].tolist()) for d in drawn} >= {(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)}


# ---- what a run learns from ----------------------------------------------------------------------------------------


def literal_targets(made, epoch: int) -> np.ndarray:
    """Targets of an epoch from the columns of the splits, row by row."""
    rows = {row["id"]: row for split in (made_data.made_split(21, 0, name="a"),) for row in split}
    rows |= {row["id"]: row for row in made_data.made_split(25, 1, name="b")}
    _, labelled, ambiguous = SOFT[made.name]
    targets = []
    for i, name in enumerate(made.data.ids):
        if ambiguous if i >= made.data.n_labelled else labelled:
            kept = kept_by_the_rule(rows[name]["votes"], 0.4, made.args.seed, epoch, name)
            targets.append(np.array(kept) / sum(kept))
        else:
            targets.append(np.eye(4)[rows[name]["label"]])
    return np.array(targets, np.float32)


def chosen(case: str, prop: str = "learns", **more):
    return settings(case, prop, **(SOFT[case][0] | DROP | more))


@pytest.mark.parametrize("case", SOFT)
def test_each_epoch_learns_from_its_own_draw(case, tmp_path):
    # With alpha 0 the corrected label of SLC is the votes alone.
    more = {"alpha": 0.0} if case == "slc" else {}
    made = make_trainer(case, tmp_path, **chosen(case, trajectory_every=1, **more))
    seen = []
    correct = made.correct

    def watched(outputs, batch):
        targets, weights = correct(outputs, batch)
        seen.append((made.epoch, batch.index.clone(), targets.clone()))
        return targets, weights

    made.correct = watched
    made.train()
    assert {epoch for epoch, _, _ in seen} == {0, 1, 2}
    for epoch, index, targets in seen:
        np.testing.assert_allclose(targets, literal_targets(made, epoch)[index], atol=1e-6)
    different = literal_targets(made, 0) != literal_targets(made, 1)
    assert different.any()
    for epoch in range(3):
        table = read_trajectory(tmp_path, epoch + 1)
        np.testing.assert_allclose(table["observed"], literal_targets(made, epoch), atol=1e-6)
        np.testing.assert_allclose(table["target"], literal_targets(made, epoch), atol=1e-6)
        assert not changed_labels(table["target"], table["observed"]).any(), "what the raters said is no correction"
        assert "shown" not in table
    # The data set's own targets, from which class weights are made, stay.
    assert torch.equal(made.table.observed, torch.as_tensor(made.data.observed, dtype=torch.float32))


def test_slc_mixes_what_is_left_of_the_votes_with_its_answer(tmp_path):
    made = make_trainer("slc", tmp_path, **chosen("slc", trajectory_every=1, alpha=0.3, finetune_epochs=0))
    correct, seen = made.correct, []

    def watched(outputs, batch):
        targets, weights = correct(outputs, batch)
        mixed = 0.7 * torch.as_tensor(literal_targets(made, made.epoch))[batch.index] + 0.3 * outputs.logits.softmax(
            -1
        )
        torch.testing.assert_close(targets[batch.ambiguous], mixed[batch.ambiguous].detach())
        seen.append(int(batch.ambiguous.sum()))
        return targets, weights

    made.correct = watched
    made.train()
    assert sum(seen) > 25


@pytest.mark.parametrize("case", SOFT)
def test_zero_is_the_run_without_it_and_more_is_another(case, tmp_path):
    given = settings(case, "learns", **SOFT[case][0])
    plain, zero, some = (
        run(case, tmp_path / str(i), **{**given, **more}) for i, more in enumerate(({}, {"drop_raters": 0.0}, DROP))
    )
    assert plain.tensors.keys() == zero.tensors.keys()
    assert all(torch.equal(zero.tensors[name], tensor) for name, tensor in plain.tensors.items())
    assert not torch.equal(some.tensors["predictions"], plain.tensors["predictions"])


@pytest.mark.parametrize("case", SOFT)
def test_validation_and_test_are_scored_against_all_votes(case, tmp_path):
    """Rates of 0 leave the model as it is, so that what it is scored against is the only difference there could be."""
    still = {"learning_rate": 1e-30, "eval_strategy": "epoch", **({"finetune_epochs": 0} if case == "slc" else {})}
    losses = []
    for i, drop in enumerate((0.0, 0.8)):
        made = make_trainer(case, tmp_path / str(i), **chosen(case, **still, drop_raters=drop))
        made.train()
        losses.append([h["eval_loss"] for h in made.state.log_history if "eval_loss" in h])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6) and len(losses[0]) == 3


# ---- properties ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SOFT)
def test_a_run_resumes_bit_for_bit(case, tmp_path):
    check_resume(case, tmp_path, arguments={**SOFT[case][0], **DROP})


@pytest.mark.parametrize("case", SOFT)
def test_accumulation_changes_nothing(case, tmp_path):
    check_accumulation(case, tmp_path, **SOFT[case][0], **DROP)


def test_two_ranks_equal_one_process_also_with_a_warm_up_of_the_head(tmp_path: Path):
    given = {**DROP, "encoder_learning_rate": 1e-3, "layer_decay": 0.5, "head_warmup_epochs": 0.6}
    forked_ranks(tmp_path, "soft_vote", "slc", json.dumps(given))
    for case in ("soft_vote", "slc"):
        check_ranks(case, tmp_path / "one" / case, tmp_path, **given)
        assert_same_run_folder(tmp_path / "resumed" / case / "stopped", tmp_path / "resumed" / case / "whole")


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [name for name in available_methods() if name not in SOFT])
def test_methods_that_learn_from_no_votes_refuse_it(case, tmp_path):
    with pytest.raises(ValueError, match=rf"drop_raters=0.4 leaves votes out of soft labels, and method '{case}'"):
        make_trainer(case, tmp_path, **settings(case, "learns", **DROP))


@pytest.mark.parametrize("drop", [-0.1, 1.0])
def test_it_is_a_probability(drop, tmp_path):
    with pytest.raises(ValueError, match="is a probability; it must be 0 or more and less than 1"):
        load_method("soft_vote").arguments_class(str(tmp_path), use_cpu=True, drop_raters=drop)


@pytest.mark.parametrize(
    ("case", "given", "words"),
    [
        ("slc", {"correct_from": "last"}, "reads the votes only once"),
        ("meta", {"initial_labels": "soft"}, "belong to labels that stay"),
        ("meta", {"learn_labels": False}, "belong to labels that stay"),
        ("meta", {"learn_labels": False, "learn_weights": False, "labels_from": "x"}, "belong to labels that stay"),
    ],
)
def test_settings_in_which_it_cannot_act(case, given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        load_method(case).arguments_class(str(tmp_path), use_cpu=True, **DROP, **given)


def test_meta_on_consensus_labels_refuses_it(tmp_path):
    given = {"learn_labels": False, "learn_weights": False}
    with pytest.raises(ValueError, match="method 'meta' learns here from no soft label"):
        make_trainer("meta", tmp_path, **settings("meta", "learns", **DROP, **given))


def _changed(change):
    """A split whose rows are changed by a function."""
    return lambda split: split.map(change, features=split.features, load_from_cache_file=False)


def test_fractions_of_votes_and_models_of_raters_are_refused():
    method = load_method("soft_vote")

    def divided(row):
        return {"votes": [v + 0.5 for v in row["votes"]], "soft_label": [(v + 0.5) / 7 for v in row["votes"]]}

    def modelled(row):
        return {"soft_label": [0.7 * s + 0.3 / 4 for s in row["soft_label"]]}

    def alone(row):
        return {"votes": np.eye(4)[row["label"]].tolist(), "soft_label": np.eye(4)[row["label"]].tolist()}

    for change, words in (
        (divided, "21 utterances have fractions of votes, the first is 'a000'"),
        (modelled, "those of 21 utterances are not, the first is 'a000': the label policy takes them from a model"),
        (alone, "learns here from no soft label with two votes or more"),
    ):
        with pytest.raises(ValueError, match=words):
            dropped_raters(made_data.training_set(method, change=_changed(change)), "soft_vote", 0.5, 0)


def test_votes_of_consensus_labels_and_unread_splits_are_not_read():
    hard, ipr = (made_data.training_set(load_method(name)) for name in ("hard_vote", "ipr"))
    assert not hard.votes.any() and not ipr.votes.any() and ipr.votes.shape == (46, 4)
    slc = made_data.training_set(load_method("slc"))
    assert not slc.votes[:21].any() and (slc.votes[21:].sum(axis=1) == 5).all()
