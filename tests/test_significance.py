"""Significance tests against SciPy and against a literal bootstrap."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from hf_ambiser.metrics import UndefinedMetric, unweighted_accuracy
from hf_ambiser.metrics.significance import paired_bootstrap, paired_t


def accuracy(label, predicted):
    return float((label == predicted).mean())


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    label, speaker = rng.integers(3, size=150), rng.integers(8, size=150)
    good = np.where(rng.random(150) < 0.8, label, rng.integers(3, size=150))
    bad = np.where(rng.random(150) < 0.3, label, rng.integers(3, size=150))
    return label, good, bad, np.array([f"speaker-{s}" for s in speaker])


def test_bootstrap_against_literal(clips):
    label, good, bad, speaker = clips
    result = paired_bootstrap(accuracy, label, good, bad, speaker, n_resamples=300, seed=4)
    names, rng, differences = sorted(set(speaker)), np.random.default_rng(4), []
    for _ in range(300):
        right_good = right_bad = total = 0
        for drawn in rng.integers(len(names), size=len(names)):
            for i in range(len(label)):
                if speaker[i] == names[drawn]:
                    total, right_good = total + 1, right_good + (good[i] == label[i])
                    right_bad += bad[i] == label[i]
        differences.append((right_good - right_bad) / total)
    assert [result.low, result.high] == pytest.approx(np.percentile(differences, [2.5, 97.5]))
    assert result.difference == pytest.approx(accuracy(label, good) - accuracy(label, bad))
    assert result.low > 0 and result.p == pytest.approx(2 / 301)
    assert (result.n_clips, result.n_clusters, result.n_resamples) == (150, 8, 300)
    json.dumps(result.to_dict(), allow_nan=False)


def test_bootstrap_is_repeatable_and_antisymmetric(clips):
    label, good, bad, speaker = clips
    a = paired_bootstrap(accuracy, label, good, bad, speaker, n_resamples=200)
    b = paired_bootstrap(accuracy, label, bad, good, speaker, n_resamples=200)
    assert a == paired_bootstrap(accuracy, label, good, bad, speaker, n_resamples=200)
    assert (b.low, b.high, b.p) == pytest.approx((-a.high, -a.low, a.p))


def test_equal_systems_differ_by_nothing(clips):
    label, good, _, speaker = clips
    result = paired_bootstrap(accuracy, label, good, good, speaker, n_resamples=50)
    assert (result.difference, result.low, result.high, result.p) == (0, 0, 0, 1)


def test_whole_speakers_are_drawn():
    # All clips of a speaker are right or all wrong: only multiples of the speaker's share can come out.
    label, speaker = np.zeros(40, int), np.repeat(np.arange(4), 10)
    system = (speaker == 0).astype(int)
    seen = set()
    paired_bootstrap(lambda a, b: seen.add(accuracy(a, b)) or 0.0, label, system, system, speaker, n_resamples=100)
    assert seen <= {0, 0.25, 0.5, 0.75, 1.0} and len(seen) > 2


def test_bootstrap_counts_resamples_without_a_value(clips):
    label, good, bad, speaker = clips
    calls = iter(range(10**6))

    def sometimes(a, b):
        if next(calls) % 5 == 4:
            raise UndefinedMetric("no")
        return unweighted_accuracy(a, b, 3)

    result = paired_bootstrap(sometimes, label, good, bad, speaker, n_resamples=60)
    assert result.n_undefined > 0 and result.n_resamples + result.n_undefined == 60


def test_bootstrap_refuses(clips):
    label, good, bad, speaker = clips
    with pytest.raises(UndefinedMetric, match="two clusters"):
        paired_bootstrap(accuracy, label, good, bad, ["one"] * len(label))
    with pytest.raises(ValueError, match="Lengths differ"):
        paired_bootstrap(accuracy, label, good, bad[:-1], speaker)
    with pytest.raises(ValueError, match="confidence"):
        paired_bootstrap(accuracy, label, good, bad, speaker, confidence=95)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_paired_t_against_scipy(confidence):
    a, b = [0.71, 0.69, 0.74, 0.70, 0.72], [0.68, 0.69, 0.70, 0.66, 0.71]
    ours, theirs = paired_t(a, b, confidence), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(confidence)
    assert (ours.low, ours.high, ours.p) == pytest.approx((interval.low, interval.high, theirs.pvalue))
    assert (ours.n, ours.mean) == (5, pytest.approx(np.mean(a) - np.mean(b)))
    assert ours.sd == pytest.approx(np.std(np.subtract(a, b), ddof=1))
    alone = paired_t(a, None, confidence)
    assert (alone.low, alone.high) == pytest.approx(stats.ttest_1samp(a, 0).confidence_interval(confidence))


def test_paired_t_says_what_it_cannot_say():
    assert paired_t([0.7]).undefined and paired_t([0.7]).low is None
    equal = paired_t([0.3, 0.5, 0.7], [0.2, 0.4, 0.6])  # 0.1 each up to rounding
    assert equal.p is None and "equal" in equal.undefined and equal.mean == pytest.approx(0.1)
    with pytest.raises(ValueError, match="finite"):
        paired_t([])
    with pytest.raises(ValueError, match="finite"):
        paired_t([0.1, float("nan")])
    with pytest.raises(ValueError, match="each seed"):
        paired_t([0.1, 0.2], [0.1])
