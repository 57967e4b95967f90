"""Losses that are not cross-entropy, and smoothed labels, against slow literal versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from helpers import slc_by_the_paper
from helpers.suite_methods import make_trainer, settings
from torch import Tensor

from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.methods.dirichlet import uncertainty
from hf_ambiser.methods.dirichlet.likelihood import LARGEST_LOGIT, distance_to_uniform, negative_log_likelihood
from hf_ambiser.methods.label_distribution.divergences import (
    class_distances,
    jensen_shannon,
    kl,
    reverse_kl,
    sinkhorn_cost,
)
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.collator import LABELLED
from hf_ambiser.training.heard import heard
from hf_ambiser.training.objective_trainer import ObjectiveTrainer


OBJECTIVES = [name for name in available_methods() if issubclass(load_method(name), ObjectiveTrainer)]
VOTES = [[3, 0, 1, 2], [5, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 7], [0, 2, 0, 1]]


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and vote shares, of which some are 0."""
    logits = torch.randn(len(VOTES), 4, generator=torch.Generator().manual_seed(seed)) * 3
    votes = torch.tensor(VOTES, dtype=torch.float32)
    return logits, votes / votes.sum(dim=1, keepdim=True)


def softmax(z: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in z)
    return [math.exp(v) / total for v in z]


def divergence(a: list[float], b: list[float]) -> float:
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)


def test_divergences_are_their_literal_versions():
    logits, shares = drawn()
    for i, (z, t) in enumerate(zip(logits.tolist(), shares.tolist(), strict=True)):
        p = softmax(z)
        middle = [(x + y) / 2 for x, y in zip(p, t, strict=True)]
        mixed = [0.9 * x + 0.1 / 4 for x in t]
        assert float(kl(logits, shares)[i]) == pytest.approx(divergence(t, p), rel=1e-4)
        assert float(reverse_kl(logits, shares, 0.1)[i]) == pytest.approx(divergence(p, mixed), rel=1e-4)
        expected = (divergence(t, middle) + divergence(p, middle)) / 2
        assert float(jensen_shannon(logits, shares)[i]) == pytest.approx(expected, rel=1e-4)


def test_divergences_are_zero_at_the_votes_and_finite_far_from_them():
    _, shares = drawn()
    at_votes = shares.clamp(min=1e-12).log()
    for values in (kl(at_votes, shares), jensen_shannon(at_votes, shares)):
        torch.testing.assert_close(values, torch.zeros(len(VOTES)), atol=1e-6, rtol=0)
    far = torch.tensor([[80.0, -80.0, 0.0, 0.0]], requires_grad=True)
    empty, other = torch.zeros(1, 4), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    for target in (empty, other):
        value = jensen_shannon(far, target) + reverse_kl(far, target, 0.01) + kl(far, target)
        value = value + sinkhorn_cost(far, target, 1 - torch.eye(4), 0.05, 20)
        (gradient,) = torch.autograd.grad(value.sum(), far)
        assert torch.isfinite(value).all() and torch.isfinite(gradient).all()
    assert float(jensen_shannon(far.detach(), other)) == pytest.approx(math.log(2), rel=1e-5)


def test_moving_one_distribution_to_the_other_costs_what_the_linear_program_says():
    logits, shares = drawn(1)
    distance = class_distances(shares)
    for i, (z, t) in enumerate(zip(logits.tolist(), shares.tolist(), strict=True)):
        rows = [np.kron(np.eye(4)[k], np.ones(4)) for k in range(4)]
        columns = [np.kron(np.ones(4), np.eye(4)[k]) for k in range(4)]
        exact = scipy.optimize.linprog(
            distance.flatten().numpy(), A_eq=np.array([*rows, *columns][:-1]), b_eq=[*softmax(z), *t][:-1]
        )
        assert exact.status == 0
        near = float(sinkhorn_cost(logits, shares, distance, 0.005, 3000)[i])
        assert near == pytest.approx(exact.fun, abs=0.01)


def test_with_equal_distances_the_cost_is_the_total_variation():
    logits, shares = drawn(2)
    cost = sinkhorn_cost(logits, shares, 1 - torch.eye(4), 0.01, 2000)
    expected = (logits.softmax(dim=1) - shares).abs().sum(dim=1) / 2
    torch.testing.assert_close(cost, expected, atol=0.02, rtol=0)


def test_emotions_that_raters_confuse_are_near():
    shares = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.4, 0.6, 0.0, 0.0], [0.0, 0.1, 0.9, 0.0]])
    distance = class_distances(shares)
    for a in range(4):
        for b in range(4):
            x, y = shares[:, a].tolist(), shares[:, b].tolist()
            length = math.sqrt(sum(v * v for v in x)) * math.sqrt(sum(v * v for v in y))
            cosine = sum(v * w for v, w in zip(x, y, strict=True)) / length if length else 0.0
            assert float(distance[a, b]) == pytest.approx(0.0 if a == b else 1 - cosine, abs=1e-6)
    assert distance[0, 1] < distance[1, 2] and distance[3, :3].tolist() == [1.0, 1.0, 1.0]


def test_the_likelihood_is_that_of_the_votes_drawn_one_after_the_other():
    """Polya's urn: after each vote, one more ball of its colour lies in the urn."""
    logits, _ = drawn(3)
    got = negative_log_likelihood(logits, torch.tensor(VOTES))
    for i, (z, votes) in enumerate(zip(logits.tolist(), VOTES, strict=True)):
        balls, expected = [math.exp(v) for v in z], 0.0
        for k in [k for k, n in enumerate(votes) for _ in range(n)]:
            expected -= math.log(balls[k] / sum(balls))
            balls[k] += 1
        assert float(got[i]) == pytest.approx(expected, rel=1e-3)
    assert negative_log_likelihood(logits, torch.zeros(len(VOTES), 4)).abs().max() < 1e-5


def test_a_narrow_dirichlet_has_the_cross_entropy_of_its_mean_and_huge_logits_stay_finite():
    shares, votes = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([[1.0, 0.0, 2.0, 3.0]])
    narrow = shares.log() + LARGEST_LOGIT
    expected = -(votes * shares.log()).sum()
    assert float(negative_log_likelihood(narrow, votes)) == pytest.approx(float(expected), rel=0.02)
    huge = torch.tensor([[1e4, -1e4, 0.0, 0.0]])
    assert (
        torch.isfinite(negative_log_likelihood(huge, votes)).all() and torch.isfinite(distance_to_uniform(huge)).all()
    )


def test_the_penalty_and_the_uncertainties_are_means_over_drawn_distributions():
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    alpha = np.exp(logits[0].numpy().astype(float))
    draws = np.random.default_rng(0).dirichlet(alpha, 200_000)
    log_density = math.lgamma(alpha.sum()) - sum(map(math.lgamma, alpha)) + ((alpha - 1) * np.log(draws)).sum(axis=1)
    assert float(distance_to_uniform(logits)) == pytest.approx((log_density - math.lgamma(4)).mean(), abs=0.02)
    whole, votes, model = (float(value) for value in uncertainty(logits))
    mean = alpha / alpha.sum()
    assert whole == pytest.approx(-(mean * np.log(mean)).sum(), rel=1e-5)
    assert votes == pytest.approx(-(draws * np.log(draws)).sum(axis=1).mean(), abs=0.005)
    assert model == pytest.approx(whole - votes, rel=1e-4)
    sure = uncertainty(logits + 6)
    assert float(sure[0]) == pytest.approx(whole, rel=1e-4) and float(sure[2]) < model / 20


@pytest.mark.parametrize("method", OBJECTIVES)
def test_a_row_counts_by_its_weight_and_by_its_class(method, tmp_path):
    given = settings(method, "ranks", class_weights="inverse_frequency")
    trainer = make_trainer(method, tmp_path, **given)
    batch = BatchRows(torch.arange(5), torch.full((5,), LABELLED))
    logits, weights = torch.randn(5, 4), torch.rand(5)
    outputs = type("Outputs", (), {"logits": logits})()
    targets, _ = trainer.correct(outputs, batch)
    plain = trainer.criterion(logits, targets, batch)
    shares = trainer.table.observed.sum(dim=0)
    class_weight = shares.sum() / (4 * shares)
    expected = [float(w * (t * class_weight).sum() * v) for w, t, v in zip(weights, targets, plain, strict=True)]
    got = trainer.row_loss(outputs, batch, targets, weights)
    assert got.tolist() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=rf"class_weight_form='class' weights .* method '{method}' has another loss"):
        make_trainer(method, tmp_path, **{**given, "class_weight_form": "class"})


def test_dirichlet_reads_the_numbers_of_votes(tmp_path):
    trainer = make_trainer("dirichlet", tmp_path, **settings("dirichlet", "learns"))
    batch = BatchRows(torch.tensor([4, 0]), torch.full((2,), LABELLED))
    logits = torch.randn(2, 4)
    votes = torch.as_tensor(trainer.data.votes[[4, 0]])
    assert votes.sum() > 2
    targets = trainer.table.observed[batch.index]
    expected = negative_log_likelihood(logits, votes)
    torch.testing.assert_close(trainer.criterion(logits, targets, batch), expected)


def test_what_was_heard_is_a_vote_or_the_lead():
    shares = torch.tensor([[0.6, 0.3, 0.1, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert heard(shares, 0.0).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert heard(shares, 0.3).tolist() == [[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("label", ["any_vote", "share"])
def test_existence_comes_first_and_then_the_shares(label, tmp_path):
    given = settings("emotion_existence", "learns", existence_label=label, existence_share=0.34)
    trainer = make_trainer("emotion_existence", tmp_path, **given)
    logits, shares = drawn(4)
    batch = BatchRows(torch.arange(len(VOTES)), torch.full((len(VOTES),), LABELLED))
    steps = []
    for epoch in range(3):
        trainer.state.epoch = epoch + 0.5
        steps.append(trainer.criterion(logits, shares, batch).tolist())
    for i, (z, t) in enumerate(zip(logits.tolist(), shares.tolist(), strict=True)):
        existence = [float(v > 0) if label == "any_vote" else v / max(t) for v in t]
        each = [-e * math.log(1 / (1 + math.exp(-v))) - (1 - e) * math.log(1 / (1 + math.exp(v)))
                for e, v in zip(existence, z, strict=True)]  # fmt: skip
        assert steps[0][i] == pytest.approx(sum(each) / 4, rel=1e-4)
        expected = -sum(v * math.log(p) for v, p in zip(t, softmax(z), strict=True))
        assert steps[1][i] == steps[2][i] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("given", [{}, {"cross_entropy": True}, {"heard_share": 0.5, "margin": 0.3}])
def test_inter_class_is_the_triple_loop_on_binary_labels(given, tmp_path):
    trainer = make_trainer("inter_class", tmp_path, **settings("inter_class", "learns", **given))
    logits, shares = drawn(5)
    batch = BatchRows(torch.arange(len(VOTES)), torch.full((len(VOTES),), LABELLED))
    got = trainer.criterion(logits, shares, batch).tolist()
    margin, share = given.get("margin", 0.1), given.get("heard_share", 0.0)
    for i, (z, t) in enumerate(zip(logits.tolist(), shares.tolist(), strict=True)):
        y = [float(v > share or v == max(t)) if v > 0 else 0.0 for v in t]
        expected = slc_by_the_paper.inter_class_difference(softmax(z), y, margin, False)
        if given.get("cross_entropy"):
            expected -= sum(v * math.log(p) for v, p in zip(t, softmax(z), strict=True))
        assert got[i] == pytest.approx(expected, rel=1e-4)


def test_smoothed_labels(tmp_path):
    trainer = make_trainer("label_smoothing", tmp_path, **settings("label_smoothing", "learns", smoothing=0.2))
    batch = BatchRows(torch.arange(6), torch.full((6,), LABELLED))
    targets, weights = trainer.correct(None, batch)
    for row, label in zip(targets.tolist(), trainer.table.observed[:6].argmax(dim=1).tolist(), strict=True):
        assert row == pytest.approx([0.85 if k == label else 0.05 for k in range(4)])
    assert weights.tolist() == [1.0] * 6


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("label_smoothing", {"smoothing": 0.0}, "smoothing=0.0 must be above 0 and below 1"),
        ("label_distribution", {"divergence": "tv"}, r"divergence='tv' is not one of \['kl'"),
        ("label_distribution", {"class_distance": "far"}, "class_distance='far' is not one of"),
        ("label_distribution", {"target_smoothing": 0.0}, "target_smoothing=0.0 must be above 0"),
        ("label_distribution", {"transport_blur": 0.0}, "transport_blur=0.0 must be above 0"),
        ("label_distribution", {"transport_steps": 0}, "transport_steps=0 must be 1 or more"),
        ("emotion_existence", {"existence_share": 1.0}, "existence_share=1.0 must be above 0 and below 1"),
        ("emotion_existence", {"existence_label": "no"}, "existence_label='no' is not one of"),
        ("emotion_existence", {"max_steps": 5}, "max_steps=5 does not say where the first step ends"),
        ("inter_class", {"margin": -0.1}, "margin=-0.1 must be 0 or more"),
        ("inter_class", {"heard_share": 1.0}, "heard_share=1.0 must be 0 or more and less than 1"),
        ("dirichlet", {"evidence_penalty": -1.0}, "evidence_penalty=-1.0 must be 0 or more"),
    ],
)
def test_values_that_are_not_allowed(method, given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        load_method(method).arguments_class(str(tmp_path), use_cpu=True, **given)
