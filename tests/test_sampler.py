"""Which clips each optimiser step holds, for any division into micro-batches and ranks."""

import math
from collections import Counter

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from hf_ambiser.training.sampler import StepKey, StepSampler


def lengths(n: int, seed: int = 0) -> np.ndarray:
    """Seconds, spread as in speech corpora: most short, a few very long."""
    return np.random.default_rng(seed).lognormal(1.2, 0.5, n)


def sampler(labelled=50, ambiguous=100, batch=8, per_step=None, seed=0, **options) -> StepSampler:
    steps = math.ceil(labelled / batch)
    default = math.ceil(ambiguous / steps)
    return StepSampler(
        lengths(labelled),
        lengths(ambiguous, 1),
        effective_batch=batch,
        ambiguous_per_step=lambda epoch: default if per_step is None else per_step,
        seed=seed,
        **options,
    )


def epoch_steps(s: StepSampler, epoch: int = 0) -> list[list[StepKey]]:
    s.set_epoch(epoch)
    keys = list(s)
    assert len(keys) == len(s) and len(keys) % s.effective_batch == 0
    return [keys[i : i + s.effective_batch] for i in range(0, len(keys), s.effective_batch)]


def labelled_of(step):
    return [key.labelled for key in step]


def ambiguous_of(step):
    return [j for key in step for j in key.ambiguous]


SIZES = [
    (50, 100, 8),
    (48, 96, 8),
    (7, 20, 8),
    (8, 3, 8),
    (33, 5, 4),
    (256, 513, 8),
    (600, 1201, 8),
    (5, 9, 1),
    (9, 1, 4),
]


@pytest.mark.parametrize("grouping", [True, False])
@pytest.mark.parametrize("labelled,ambiguous,batch", SIZES)
def test_an_epoch_passes_once_over_everything_in_full_steps(labelled, ambiguous, batch, grouping):
    s = sampler(labelled, ambiguous, batch, length_grouping=grouping)
    per_step = math.ceil(ambiguous / math.ceil(labelled / batch))
    for epoch in range(3):
        steps = epoch_steps(s, epoch)
        assert len(steps) == s.steps == math.ceil(labelled / batch)
        assert all(key.epoch == epoch for step in steps for key in step)
        assert all(len(step) == batch and len(ambiguous_of(step)) == per_step for step in steps)
        for n, drawn in ((labelled, labelled_of), (ambiguous, ambiguous_of)):
            count = Counter(i for step in steps for i in drawn(step))
            # Each at least once; what fills the last step up comes at most once more, if there are enough for that.
            assert set(count) == set(range(n))
            total = sum(count.values())
            assert max(count.values()) == math.ceil(total / n)
            assert min(count.values()) == total // n


@pytest.mark.parametrize("grouping", [True, False])
@pytest.mark.parametrize("labelled,ambiguous,batch", SIZES)
def test_no_clip_is_twice_in_a_step_unless_there_are_too_few(labelled, ambiguous, batch, grouping):
    s = sampler(labelled, ambiguous, batch, length_grouping=grouping)
    for epoch in range(20):
        for step in epoch_steps(s, epoch):
            for n, drawn in ((labelled, labelled_of(step)), (ambiguous, ambiguous_of(step))):
                assert max(Counter(drawn).values()) == math.ceil(len(drawn) / n)


@pytest.mark.parametrize("per_step", [5, 12, 14])
def test_a_chosen_number_of_ambiguous_clips_rotates_over_the_epochs(per_step):
    s = sampler(50, 100, 8, per_step=per_step)
    seen = Counter()
    for epoch in range(60):
        steps = epoch_steps(s, epoch)
        drawn = [j for step in steps for j in ambiguous_of(step)]
        assert len(drawn) == 7 * per_step
        seen.update(drawn)
    expected = 60 * 7 * per_step / 100
    assert set(seen) == set(range(100)) and max(seen.values()) < expected + 6 * math.sqrt(expected)


@pytest.mark.parametrize("per_step", [16, 40, 90])
def test_many_passes_over_few_ambiguous_clips_put_none_twice_in_a_step(per_step):
    # 7 steps: more than one pass over the 100 in an epoch, up to 6.3; each step still holds different ones.
    for grouping in (True, False):
        s = sampler(50, 100, 8, per_step=per_step, length_grouping=grouping)
        for epoch in range(10):
            steps = epoch_steps(s, epoch)
            assert all(len(set(ambiguous_of(step))) == per_step for step in steps), (grouping, epoch)
            count = Counter(j for step in steps for j in ambiguous_of(step))
            assert max(count.values()) - min(count[j] for j in range(100)) <= 1


def test_a_warm_up_draws_no_ambiguous_clip_and_the_labelled_order_does_not_depend_on_them():
    def after_two(epoch):
        return 15 if epoch >= 2 else 0

    with_warm_up = StepSampler(lengths(50), lengths(100, 1), 8, after_two, seed=0)
    alone = StepSampler(lengths(50), [], 8, lambda epoch: 7, seed=0)
    for epoch in range(4):
        steps, bare = epoch_steps(with_warm_up, epoch), epoch_steps(alone, epoch)
        assert {len(ambiguous_of(step)) for step in steps} == {0 if epoch < 2 else 15}
        assert all(ambiguous_of(step) == [] for step in bare)
        assert [labelled_of(step) for step in steps] == [labelled_of(step) for step in bare]


@pytest.mark.parametrize(
    "micro,accumulation,ranks", [(24, 1, 1), (8, 3, 1), (4, 3, 2), (2, 3, 4), (6, 1, 4), (1, 24, 1)]
)
def test_steps_are_the_same_for_every_division_of_the_effective_batch(micro, accumulation, ranks):
    s = sampler(labelled=100, ambiguous=333, batch=24)
    reference = epoch_steps(s, 4)
    # What accelerate makes of the loader: rank r takes every `ranks`-th micro-batch.
    s.set_epoch(4)
    shards = [list(BatchSamplerShard(BatchSampler(s, micro, drop_last=False), ranks, r)) for r in range(ranks)]
    assert {len(shard) for shard in shards} == {len(reference) * accumulation}
    per_key = len(ambiguous_of(reference[0])) / 24
    for t, step in enumerate(reference):
        batches = [batch for shard in shards for batch in shard[t * accumulation : (t + 1) * accumulation]]
        assert sorted(key for batch in batches for key in batch) == sorted(step)
        # No rank waits for another: each micro-batch has its share of ambiguous clips, up to one.
        assert all(abs(len(ambiguous_of(batch)) - micro * per_key) <= 1 for batch in batches)


def test_the_order_is_a_function_of_seed_and_epoch():
    s, again = sampler(seed=3), sampler(seed=3)
    first = [epoch_steps(s, epoch) for epoch in range(3)]
    # Out of order and from another object, as after a resume.
    assert [epoch_steps(again, epoch) for epoch in (2, 0, 1)] == [first[2], first[0], first[1]]
    np.random.seed(0)
    np.random.random(5)
    assert epoch_steps(s, 1) == first[1]
    others = [first[0], first[1], epoch_steps(sampler(seed=4), 0)]
    for drawn in (labelled_of, ambiguous_of):
        orders = [[i for step in steps for i in drawn(step)] for steps in others]
        assert orders[0] != orders[1] != orders[2] != orders[0]


def test_ambiguous_clips_meet_other_labelled_ones_in_every_epoch():
    s = sampler(400, 400, 8, length_grouping=False)
    partners = [
        {(key.labelled, j) for step in epoch_steps(s, e) for key in step for j in key.ambiguous} for e in (0, 1)
    ]
    assert len(partners[0] & partners[1]) < 10


def padded_share(s: StepSampler, epochs: int = 3) -> float:
    used = total = 0.0
    for epoch in range(epochs):
        for step in epoch_steps(s, epoch):
            clips = [*s.labelled_lengths[labelled_of(step)], *s.ambiguous_lengths[ambiguous_of(step)]]
            used, total = used + sum(clips), total + max(clips) * len(clips)
    return 1 - used / total


def test_length_grouping_saves_most_of_the_padding():
    grouped, mixed = (padded_share(sampler(1600, 3200, 8, length_grouping=g)) for g in (True, False))
    # Without it half or more of a batch of 24 is padding on these lengths; with it about a tenth.
    assert mixed > 0.4 and grouped < mixed / 3


def test_length_grouping_does_not_order_the_epoch_by_length():
    s = sampler(256, 512, 8)
    correlations = []
    for epoch in range(10):
        means = [s.labelled_lengths[labelled_of(step)].mean() for step in epoch_steps(s, epoch)]
        correlations.append(np.corrcoef(np.argsort(np.argsort(means)), np.arange(32))[0, 1])
    assert abs(np.mean(correlations)) < 0.3


@pytest.mark.parametrize("labelled,ambiguous", [(40, 80), (100, 200), (256, 512), (1000, 50)])
def test_no_step_comes_again_in_another_epoch(labelled, ambiguous):
    # Also where a window could hold all clips, which sorted by length are the same in every epoch.
    s = sampler(labelled, ambiguous, 8)
    steps = [frozenset(labelled_of(step)) for epoch in range(5) for step in epoch_steps(s, epoch)]
    assert len(set(steps)) == len(steps)


def test_clips_of_one_length_are_grouped_at_random():
    s = StepSampler(np.ones(64), [], 8, lambda epoch: 0, seed=0)
    groups = [frozenset(labelled_of(step)) for epoch in range(3) for step in epoch_steps(s, epoch)]
    assert len(set(groups)) == len(groups)


def test_nothing_to_train_on_is_said():
    with pytest.raises(ValueError, match="training split is empty"):
        StepSampler([], [1.0], 8, lambda epoch: 1, seed=0)
