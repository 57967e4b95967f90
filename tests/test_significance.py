"""Significance tests against SciPy and against a literal bootstrap."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from hf_ambiser.metrics import UndefinedMetric, unweighted_accuracy
from hf_ambiser.metrics.significance import corrected_resampled_t, holm, paired_bootstrap, paired_t


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
    assert (result.n_utterances, result.n_clusters, result.n_resamples) == (150, 8, 300)
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


FOLDS_A, FOLDS_B = [0.61, 0.58, 0.66, 0.60, 0.63], [0.57, 0.58, 0.60, 0.55, 0.62]


def test_corrected_t_against_a_literal_one():
    n, differences = 5, [x - y for x, y in zip(FOLDS_A, FOLDS_B, strict=True)]
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    t = mean / math.sqrt((1 / n + 1 / (n - 1)) * variance)
    ours = corrected_resampled_t(FOLDS_A, FOLDS_B, 1 / (n - 1))
    # The tail of t with 4 degrees of freedom by numerical integration of its density.
    x = np.linspace(abs(t), 1e4, 4_000_001)
    density = 3 / 8 / (1 + x**2 / 4) ** 2.5
    assert ours.p == pytest.approx(2 * np.trapezoid(density, x), rel=1e-4)
    assert (ours.mean, ours.sd, ours.n) == (pytest.approx(mean), pytest.approx(math.sqrt(variance)), n)
    half = 2.7764451 * math.sqrt((1 / n + 1 / (n - 1)) * variance)  # the 97.5 % point of t with 4 degrees of freedom
    assert (ours.low, ours.high) == pytest.approx((mean - half, mean + half))


def test_corrected_t_is_scipys_t_of_a_scaled_mean_and_never_bolder_than_plain_t():
    plain, ours = stats.ttest_rel(FOLDS_A, FOLDS_B), corrected_resampled_t(FOLDS_A, FOLDS_B, 0.25)
    scale = math.sqrt((1 / 5) / (1 / 5 + 0.25))
    assert ours.p == pytest.approx(2 * stats.t.sf(plain.statistic * scale, 4)) and ours.p > plain.pvalue
    tiny = corrected_resampled_t(FOLDS_A, FOLDS_B, 1e-12)
    assert tiny.p == pytest.approx(plain.pvalue)
    with pytest.raises(ValueError, match="test_per_train"):
        corrected_resampled_t(FOLDS_A, FOLDS_B, 0.0)


def test_corrected_t_keeps_its_level_where_plain_t_does_not():
    # Folds of a made cross-validation: a shared part (the training data) and a part of their own, no true difference.
    rng, k, wrong = np.random.default_rng(0), 5, {"plain": 0, "corrected": 0}
    for _ in range(1500):
        values = rng.normal() * math.sqrt(1 / k) + rng.normal(size=k) * math.sqrt(1 - 1 / k)  # correlation 1 / k
        wrong["plain"] += paired_t(values).p < 0.05
        wrong["corrected"] += corrected_resampled_t(values, np.zeros(k), 1 / (k - 1)).p < 0.05
    assert wrong["plain"] / 1500 > 0.09 and wrong["corrected"] / 1500 == pytest.approx(0.05, abs=0.015)


def literal_holm(p):
    """Reject step by step at every level that matters; the adjusted p is the smallest level that rejects."""
    levels = sorted({min(1.0, x * m) for x in p for m in range(1, len(p) + 1)})
    adjusted = [1.0] * len(p)
    for level in reversed(levels):
        left = sorted(range(len(p)), key=lambda i: p[i])
        while left and p[left[0]] * len(left) <= level:
            adjusted[left.pop(0)] = level
    return adjusted


@pytest.mark.parametrize("seed", range(20))
def test_holm_against_literal_step_down(seed):
    p = np.round(np.random.default_rng(seed).beta(0.3, 2, size=seed % 6 + 1), 3).tolist()
    ours = holm(p)
    assert ours == pytest.approx(literal_holm(p))
    assert all(a <= b <= min(1, a * len(p)) for a, b in zip(p, ours, strict=True))


def test_holm_by_hand_and_without_a_test():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([]) == [] and holm([None]) == [None]
    with pytest.raises(ValueError, match="p-values"):
        holm([0.2, 1.2])
