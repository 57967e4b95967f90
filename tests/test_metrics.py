"""Metrics against scikit-learn and SciPy where they have them, against slow literal loops elsewhere."""

from __future__ import annotations

import itertools
import json
import math
from types import NoneType

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, pearsonr, spearmanr
from sklearn import metrics as sk

from hf_ambiser import metrics as m
from hf_ambiser.metrics.classification import (
    f1_from_confusion,
    per_class_from_confusion,
    ua_from_confusion,
    wa_from_confusion,
)


CLASSES = ("anger", "happiness", "sadness", "neutral")
K = len(CLASSES)


@pytest.fixture
def data():
    rng = np.random.default_rng(7)
    n = 120
    votes = rng.multinomial(5, [0.3, 0.2, 0.1, 0.4], size=n).astype(float)
    probabilities = rng.dirichlet(np.ones(K), size=n)
    top = votes.max(axis=1, keepdims=True)
    label = np.where((votes == top).sum(axis=1) == 1, votes.argmax(axis=1), -1)
    assert (label == -1).any()
    return probabilities, votes, label, top[:, 0] / 5


def score(data, **options):
    probabilities, votes, label, agreement = data
    return m.evaluate_predictions(probabilities, votes, label, CLASSES, agreement=agreement, threshold=0.8, **options)


def same(a, b):
    """Equal nested results up to rounding."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == pytest.approx(b, abs=1e-9) if isinstance(a, float) else a == b


# ---- accuracy


@pytest.mark.parametrize("absent", [(), (2,), (0, 3)])
def test_accuracies_against_sklearn(absent):
    rng = np.random.default_rng(1)
    present = [k for k in range(K) if k not in absent]
    label, predicted = rng.choice(present, 200), rng.integers(K, size=200)
    assert m.weighted_accuracy(label, predicted, K) == pytest.approx(sk.accuracy_score(label, predicted))
    recalls = sk.recall_score(label, predicted, labels=present, average=None)
    assert m.unweighted_accuracy(label, predicted, K) == pytest.approx(recalls.mean())
    assert m.macro_f1(label, predicted, K) == pytest.approx(sk.f1_score(label, predicted, average="macro"))
    expected = sk.confusion_matrix(label, predicted, labels=range(K))
    assert np.array_equal(m.confusion_matrix(label, predicted, K), expected)


def test_per_class_against_sklearn():
    rng = np.random.default_rng(2)
    label, predicted = rng.integers(3, size=90), rng.integers(3, size=90)  # class 3 never occurs
    rows = per_class_from_confusion(m.confusion_matrix(label, predicted, K))
    reference = sk.precision_recall_fscore_support(label, predicted, labels=range(3), average=None)
    for k in range(3):
        assert [rows[k][f] for f in ("precision", "recall", "f1", "support")] == pytest.approx(
            [r[k] for r in reference]
        )
    assert rows[3] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_accuracy_refuses_labels_without_consensus():
    with pytest.raises(ValueError, match="without a consensus"):
        m.weighted_accuracy(np.array([0, -1]), np.array([0, 0]), K)
    with pytest.raises(m.UndefinedMetric, match="no utterance"):
        m.weighted_accuracy(np.array([], int), np.array([], int), K)


# ---- distributions


def test_distances_against_scipy(data):
    q, votes, *_ = data
    p = votes / votes.sum(axis=1, keepdims=True)
    for i in range(len(p)):
        smoothed = (1 - 1e-6) * q[i] + 1e-6 / K
        row = slice(i, i + 1)
        assert m.kl_divergence(p[row], q[row])[0] == pytest.approx(entropy(p[i], smoothed))
        assert m.js_divergence(p[row], q[row])[0] == pytest.approx(jensenshannon(p[i], q[i], base=2) ** 2)
        cosine = sum(a * b for a, b in zip(p[i], q[i], strict=True)) / math.hypot(*p[i]) / math.hypot(*q[i])
        assert m.cosine_similarity(p[row], q[row])[0] == pytest.approx(cosine)
        assert m.brier_score(p[row], q[row])[0] == pytest.approx(
            sum((a - b) ** 2 for a, b in zip(p[i], q[i], strict=True))
        )
        overlap = sum(math.sqrt(a * b) for a, b in zip(p[i], q[i], strict=True))
        assert m.bhattacharyya_coefficient(p[row], q[row])[0] == pytest.approx(overlap)


def test_distances_at_their_ends():
    one, other = np.array([[1.0, 0, 0, 0]]), np.array([[0, 1.0, 0, 0]])
    figures = (m.js_divergence, m.brier_score, m.cosine_similarity, m.bhattacharyya_coefficient)
    assert [f(one, one)[0] for f in figures] == [0, 0, 1, 1]
    assert [f(one, other)[0] for f in figures] == [1, 2, 0, 0]
    assert m.kl_divergence(one, other)[0] == pytest.approx(math.log(K / 1e-6))
    assert m.kl_divergence(one, one, smoothing=0)[0] == 0
    assert m.kl_divergence(one, other, smoothing=0)[0] == math.inf


def test_entropy_correlation_against_scipy(data):
    q, votes, *_ = data
    p = votes / votes.sum(axis=1, keepdims=True)
    hp, hq = entropy(p, axis=1, base=2), entropy(q, axis=1, base=2)
    expected = pearsonr(hp, hq).statistic, spearmanr(hp, hq).statistic
    assert m.entropy_correlation(p, q) == pytest.approx(expected)
    with pytest.raises(m.UndefinedMetric, match="entropy of the model"):
        m.entropy_correlation(p, np.full_like(p, 1 / K))
    with pytest.raises(m.UndefinedMetric, match="entropy of the raters"):
        m.entropy_correlation(np.eye(K)[:3], q[:3])


@pytest.mark.parametrize(
    ("rows", "message"),
    [([[2.0, -1.0]], "negative"), ([[np.nan, 1.0]], "diverged"), ([[3.0, 1.0]], "softmax"), ([0.5, 0.5], "shape")],
)
def test_bad_distributions_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        m.brier_score(np.array([[0.5, 0.5]]), np.array(rows))


# ---- calibration


def literal_ece(confidence, accuracy, n_bins):
    edges, total = np.linspace(0, 1, n_bins + 1), 0.0
    for low, high in itertools.pairwise(edges):
        inside = [i for i, c in enumerate(confidence) if low < c <= high]
        if inside:
            gap = np.mean([accuracy[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_calibration_against_literal(data, n_bins):
    q, votes, *_ = data
    q = np.concatenate([q, np.full((1, K), 0.25), np.eye(K)[:1]])  # on bin edges
    votes = np.concatenate([votes, votes[:2]])
    label = votes.argmax(axis=1)
    answer, confidence = q.argmax(axis=1), q.max(axis=1)
    error, bins = m.expected_calibration_error(q, label, n_bins)
    assert error == pytest.approx(literal_ece(confidence, answer == label, n_bins))
    assert sum(b["n"] for b in bins) == len(q)
    assert all((b["accuracy"] is None) == (b["n"] == 0) for b in bins)
    share = [votes[i, a] / votes[i].sum() for i, a in enumerate(answer)]
    assert m.votes_calibration_error(q, votes, n_bins)[0] == pytest.approx(literal_ece(confidence, share, n_bins))


def test_model_that_answers_the_shares_is_calibrated_to_votes():
    votes = np.array([[3, 2, 0, 0], [4, 1, 0, 0], [0, 0, 3, 2]])
    q = votes / 5
    assert m.votes_calibration_error(q, votes)[0] == pytest.approx(0)
    assert m.expected_calibration_error(q, votes.argmax(axis=1))[0] == pytest.approx(1 - np.mean([0.6, 0.8, 0.6]))


# ---- raters


def literal_raters(votes):
    """Leave out every single vote in turn."""
    confusion, distribution, n = np.zeros((K, K)), dict.fromkeys(("js", "cosine", "brier"), 0.0), 0
    for row in votes.astype(int):
        ballots = [k for k in range(K) for _ in range(row[k])]
        if len(ballots) < 2:
            continue
        n += 1
        for i, vote in enumerate(ballots):
            rest = ballots[:i] + ballots[i + 1 :]
            counts = [rest.count(k) for k in range(K)]
            winners = [k for k in range(K) if counts[k] == max(counts)]
            for winner in winners:
                confusion[winner, vote] += 1 / len(ballots) / len(winners)
            p, q = np.array(counts) / len(rest), np.eye(K)[vote]
            distribution["js"] += jensenshannon(p, q, base=2) ** 2 / len(ballots)
            distribution["cosine"] += p @ q / np.linalg.norm(p) / len(ballots)
            distribution["brier"] += ((p - q) ** 2).sum() / len(ballots)
    return confusion, {name: value / n for name, value in distribution.items()}


def literal_split_half(votes):
    figures = []
    for row in votes.astype(int):
        ballots = [k for k in range(K) for _ in range(row[k])]
        if len(ballots) < 2:
            continue
        values = []
        for chosen in itertools.combinations(range(len(ballots)), len(ballots) // 2):
            half = np.bincount([ballots[i] for i in chosen], minlength=K)
            rest = row - half
            values.append(jensenshannon(half / half.sum(), rest / rest.sum(), base=2) ** 2)
        figures.append(np.mean(values))
    return np.mean(figures)


def test_rater_ceiling_against_enumeration():
    rng = np.random.default_rng(5)
    votes = np.array([rng.multinomial(rng.integers(0, 8), [0.4, 0.3, 0.2, 0.1]) for _ in range(40)])
    assert {0, 1, 2, 7} <= set(votes.sum(axis=1))
    confusion, distribution = literal_raters(votes)
    assert m.rater_confusion(votes) == pytest.approx(confusion)
    assert m.rater_distribution(votes) == pytest.approx(distribution)
    assert m.split_half_js(votes) == pytest.approx(literal_split_half(votes))


def test_rater_ceiling_by_hand():
    # 2 : 1. Leave out one of the two (2/3): a tie, half right. Leave out the third (1/3): wrong.
    assert wa_from_confusion(m.rater_confusion(np.array([[2, 1, 0, 0]]))) == pytest.approx(1 / 3)
    unanimous = np.array([[3, 0, 0, 0], [0, 4, 0, 0]])
    confusion = m.rater_confusion(unanimous)
    assert [f(confusion) for f in (wa_from_confusion, ua_from_confusion, f1_from_confusion)] == pytest.approx(
        [1, 1, 1]
    )
    assert m.split_half_js(unanimous) == 0


def test_fractional_votes_have_no_ceiling():
    with pytest.raises(m.UndefinedMetric, match="fractions"):
        m.rater_confusion(np.array([[1.5, 1.5, 0, 0]]))


# ---- all together


def test_evaluate_predictions_agrees_with_single_figures(data):
    q, votes, label, agreement = data
    result = score(data)
    for name, rows in (("all", agreement >= 0), ("clear", agreement >= 0.8), ("ambiguous", agreement < 0.8)):
        part, scored = result[name], rows & (label >= 0)
        p = votes[rows] / votes[rows].sum(axis=1, keepdims=True)
        answer = q.argmax(axis=1)
        assert (part["n"], part["n_without_consensus"]) == (rows.sum(), (rows & (label < 0)).sum())
        assert part["wa"] == pytest.approx(sk.accuracy_score(label[scored], answer[scored]))
        recalls = [(answer[scored & (label == k)] == k).mean() for k in set(label[scored])]
        assert part["ua"] == pytest.approx(np.mean(recalls))
        assert part["macro_f1"] == pytest.approx(sk.f1_score(label[scored], answer[scored], average="macro"))
        assert part["js"] == pytest.approx(m.js_divergence(p, q[rows]).mean())
        assert part["kl"] == pytest.approx(m.kl_divergence(p, q[rows]).mean())
        assert part["ece"] == pytest.approx(m.expected_calibration_error(q[scored], label[scored])[0])
        assert part["rater_ceiling"]["ua"] == pytest.approx(ua_from_confusion(literal_raters(votes[scored])[0]))
        every = part["rater_ceiling"]["every_utterance"]
        assert every["wa"] == pytest.approx(wa_from_confusion(literal_raters(votes[rows])[0]))
        assert list(part["class_counts"].values()) == [(label[scored] == k).sum() for k in range(K)]
        baseline, share = part["majority_baseline"], np.bincount(label[scored]).max() / scored.sum()
        assert baseline["wa"] == pytest.approx(share)
        assert baseline["ua"] == pytest.approx(1 / len(set(label[scored])))
        assert baseline["brier"] == pytest.approx(((p - p.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert set(leaf_types(result)) <= {int, float, str, NoneType}
    json.dumps(result, allow_nan=False)


def literal_risk(q, label):
    """The mean, over 1, 2, ... answers, of the share of wrong ones among the most confident; no two are equal."""
    order = sorted(range(len(q)), key=lambda i: -max(q[i]))
    wrong = [int(np.argmax(q[i]) != label[i]) for i in order]
    area = np.mean([np.mean(wrong[:n]) for n in range(1, len(wrong) + 1)])
    best = np.mean([np.mean(sorted(wrong)[:n]) for n in range(1, len(wrong) + 1)])
    return area, area - best


def test_distribution_and_selection_figures_against_literal_ones(data):
    q, votes, label, agreement = (x.copy() for x in data)
    label[::4] = -1
    result = score((q, votes, label, agreement))
    parts = {"all": label >= -1, "consensus": label >= 0, "clear": agreement >= 0.8, "ambiguous": agreement < 0.8}
    assert list(result) == list(parts)
    for name, rows in parts.items():
        part, p, answer = result[name], votes[rows] / 5, q[rows]
        assert part["n"] == rows.sum()
        assert part["bhattacharyya"] == pytest.approx(np.mean([sum(np.sqrt(p[i] * answer[i])) for i in range(len(p))]))
        pairs = [(a, b) for a, b in zip(p, answer, strict=True) if np.ptp(a) > 0]
        assert part["squared_correlation"] == pytest.approx(np.mean([np.corrcoef(a, b)[0, 1] ** 2 for a, b in pairs]))
        shares = [1 - ((a - b) ** 2).sum() / ((a - 1 / K) ** 2).sum() for a, b in pairs]
        assert part["determination"] == pytest.approx(np.mean(shares))
        scored = rows & (label >= 0)
        assert (part["aurc"], part["excess_aurc"]) == pytest.approx(literal_risk(q[scored], label[scored]))
        without = label[rows] < 0
        if name == "consensus":
            assert part["no_consensus_auroc"] is None and part["undefined"]["no_consensus_aupr"]
            continue
        entropy = [-(row * np.log2(row)).sum() for row in answer]
        assert part["no_consensus_auroc"] == pytest.approx(sk.roc_auc_score(without, entropy))
        assert part["no_consensus_aupr"] == pytest.approx(sk.average_precision_score(without, entropy))
        assert part["no_consensus_aupr_chance"] == pytest.approx(without.mean())
    ceiling = m.panel_ceiling(votes)
    assert result["all"]["panel_ceiling"]["wa"] == ceiling.wa and result["all"]["panel_ceiling"]["js"] == ceiling.js
    assert result["clear"]["panel_ceiling"]["wa"] is None
    assert "chosen by their votes" in result["clear"]["undefined"]["panel_ceiling.wa"]


def test_given_prior_is_what_the_baseline_answers(data):
    q, votes, label, _ = data
    prior = np.array([0.1, 0.6, 0.1, 0.2])
    baseline = score(data, prior=prior)["all"]["majority_baseline"]
    assert (baseline["answer"], baseline["prior_from"]) == ("happiness", "given")
    assert baseline["wa"] == pytest.approx((label[label >= 0] == 1).mean())
    p = votes / 5
    assert baseline["js"] == pytest.approx(m.js_divergence(p, np.tile(prior, (len(p), 1))).mean())


def test_order_of_clips_does_not_matter(data):
    order = np.random.default_rng(3).permutation(len(data[0]))
    assert same(score(data), score(tuple(x[order] for x in data)))


def test_relabelling_classes_permutes_the_answer(data):
    q, votes, label, agreement = data
    new = np.array([2, 0, 3, 1])  # class k becomes new[k]
    back = np.argsort(new)
    moved = (q[:, back], votes[:, back], np.where(label >= 0, new[label], -1), agreement)
    names = tuple(CLASSES[k] for k in back)
    a, b = score(data), m.evaluate_predictions(*moved[:3], names, agreement=agreement, threshold=0.8)
    for part in a:
        for name in ("wa", "ua", "macro_f1", "kl", "js", "ece", "entropy_spearman", "class_counts", "per_class"):
            assert same(a[part][name], b[part][name]), name
        assert same(a[part]["rater_ceiling"], b[part]["rater_ceiling"])


def test_scaling_votes_leaves_share_metrics(data):
    q, votes, label, agreement = data
    a, b = score(data), score((q, votes * 3, label, agreement))
    for part in a:
        for name in ("kl", "js", "cosine", "brier", "bhattacharyya", "entropy_pearson", "ece", "ece_votes", "ua"):
            assert same(a[part][name], b[part][name]), name


def test_no_consensus_and_no_votes_are_counted_and_left_out(data):
    q, votes, label, agreement = (x.copy() for x in data)
    before = score(data)["all"]
    votes[0], label[0] = 0, -1
    result = score((q, votes, label, agreement))["all"]
    assert result["n_without_votes"] == 1
    p = votes[1:] / 5
    assert result["brier"] == pytest.approx(((p - q[1:]) ** 2).sum(axis=1).mean())
    label[:] = -1
    nothing = score((q, data[1], label, agreement))["all"]
    assert nothing["wa"] is None and "consensus" in nothing["undefined"]["wa"]
    assert nothing["ece"] is None and nothing["rater_ceiling"]["ua"] is None
    assert nothing["js"] == before["js"] and nothing["majority_baseline"]["answer"] is None


def leaf_types(value):
    """Exact types, because np.float64 is a float to `json` and not to every reader."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaf_types(part)
    else:
        yield type(value)


def every_none(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from every_none(value, f"{prefix}{name}.")
        elif value is None:
            yield f"{prefix}{name}"


def test_every_missing_figure_has_a_reason(data):
    q, votes, label, _ = data
    empty = m.evaluate_predictions(q, votes, label, CLASSES, clear=np.ones(len(q), bool))["ambiguous"]
    assert empty["n"] == 0
    missing = set(every_none(empty)) - {"majority_baseline.answer", "majority_baseline.prior"}
    assert missing == set(empty["undefined"]) and len(missing) > 30
    assert all(empty["undefined"].values())
    none_at_all = m.evaluate_predictions(q[:0], votes[:0], label[:0], CLASSES, clear=np.zeros(0, bool))
    assert none_at_all["all"]["wa"] is None
    json.dumps(none_at_all, allow_nan=False)


def test_threshold_survives_float32():
    votes = np.array([[7, 3, 0, 0], [6, 4, 0, 0]])
    agreement = (votes.max(axis=1) / 10).astype(np.float32)
    assert float(agreement[0]) < 0.7
    result = m.evaluate_predictions(votes / 10, votes, np.zeros(2, int), CLASSES, agreement=agreement, threshold=0.7)
    assert (result["clear"]["n"], result["ambiguous"]["n"]) == (1, 1)


def test_bad_arguments_are_named(data):
    q, votes, label, agreement = data
    with pytest.raises(ValueError, match="votes has shape"):
        m.evaluate_predictions(q, votes[:, :3], label, CLASSES, clear=label > 0)
    with pytest.raises(ValueError, match="give `clear`"):
        m.evaluate_predictions(q, votes, label, CLASSES)
    with pytest.raises(ValueError, match="not both"):
        m.evaluate_predictions(q, votes, label, CLASSES, clear=label > 0, agreement=agreement, threshold=1.0)
    with pytest.raises(ValueError, match="label: 4 at position 0"):
        m.evaluate_predictions(q, votes, np.full(len(q), 4), CLASSES, clear=label > 0)
