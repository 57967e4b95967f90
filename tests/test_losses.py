"""Losses against slow loops in float64: values and gradients."""

import math

import pytest
import torch
from torch.nn import functional as F

from hf_ambiser.training.losses import instance_contrast, pseudo_label_contrast, soft_cross_entropy


TAU = 0.1


def unit(n: int, d: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=-1)


def logsumexp(values: list) -> torch.Tensor:
    top = max(float(v.detach()) for v in values)
    return top + torch.log(sum(torch.exp(v - top) for v in values))


def literal_cross_entropy(logits, target):
    rows = []
    for z, t in zip(logits, target, strict=True):
        rows.append(sum(-t[c] * (z[c] - logsumexp(list(z))) for c in range(len(z))))
    return torch.stack(rows)


def literal_instance(anchor, copies, positive, tau):
    rows = []
    for i, x in enumerate(anchor):
        scores = [torch.dot(x, y) / tau for y in copies]
        rows.append(-(scores[positive[i]] - logsumexp(scores)))
    return torch.stack(rows)


def literal_pseudo(anchor, anchor_label, own, bank, bank_label, tau):
    rows = []
    for i, x in enumerate(anchor):
        others = [j for j in range(len(bank)) if j != own[i]]
        friends = [j for j in others if bank_label[j] == anchor_label[i]]
        value = x.sum() * 0
        for p in friends:
            value = value - (torch.dot(x, bank[p]) / tau - logsumexp([torch.dot(x, bank[a]) / tau for a in others]))
        rows.append(value / max(len(friends), 1))
    return torch.stack(rows)


def agree(ours, theirs, inputs, tolerance=2e-5):
    """Same values and same gradients of a weighted sum; `ours` in float32, `theirs` on float64 copies."""
    single = [x.clone().requires_grad_() for x in inputs]
    double = [x.double().requires_grad_() for x in inputs]
    a, b = ours(*single), theirs(*double)
    assert a.dtype == torch.float32 and a.shape == b.shape
    torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)
    weight = torch.linspace(0.5, 1.5, len(a))
    (a * weight).sum().backward()
    (b * weight.double()).sum().backward()
    for x, y in zip(single, double, strict=True):
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=10 * tolerance, atol=10 * tolerance)


def test_soft_cross_entropy():
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) * 3
    target = torch.distributions.Dirichlet(torch.full((4,), 0.5)).sample((7,))
    agree(lambda z: soft_cross_entropy(z, target), lambda z: literal_cross_entropy(z, target.double()), [logits])
    hard = torch.tensor([0, 3, 2, 1, 1, 0, 2])
    torch.testing.assert_close(
        soft_cross_entropy(logits, F.one_hot(hard, 4)), F.cross_entropy(logits, hard, reduction="none")
    )


def test_soft_cross_entropy_of_a_row_without_target_is_zero_and_so_is_its_gradient():
    logits = torch.tensor([[1e4, -1e4, 0.0], [1.0, 2.0, 3.0]], requires_grad=True)
    loss = soft_cross_entropy(logits, torch.tensor([[0.0, 0, 0], [0, 0, 1]]))
    loss.sum().backward()
    assert loss[0] == 0 and loss[1] > 0
    assert (logits.grad[0] == 0).all() and torch.isfinite(logits.grad).all()


def test_instance_contrast():
    anchor, copies, positive = unit(4, 8, 0), unit(6, 8, 1), torch.tensor([5, 0, 2, 3])
    agree(
        lambda x, y: instance_contrast(x, y, positive, TAU),
        lambda x, y: literal_instance(x, y, positive, TAU),
        [anchor, copies],
    )


def test_instance_contrast_with_a_single_pair_has_nothing_to_tell():
    anchor, copies = unit(1, 8, 0).requires_grad_(), unit(1, 8, 1).requires_grad_()
    loss = instance_contrast(anchor, copies, torch.tensor([0]), TAU)
    loss.sum().backward()
    assert loss.tolist() == [0.0]
    assert not anchor.grad.any() and not copies.grad.any()


LABEL = torch.tensor([0, 1, 0, 2, 1, 0, 3, 1])


def test_pseudo_label_contrast_among_the_samples_of_one_forward_pass():
    # Anchors are the bank, so the gradient goes through both; samples 3 and 6 have no positive.
    own = torch.arange(8)
    agree(
        lambda x: pseudo_label_contrast(x, LABEL, own, x, LABEL, TAU),
        lambda x: literal_pseudo(x, LABEL, own, x, LABEL, TAU),
        [unit(8, 16, 0)],
    )


def test_pseudo_label_contrast_against_a_bank_of_all_ranks():
    own = torch.tensor([2, 3, 4])
    agree(
        lambda x, y: pseudo_label_contrast(x, LABEL[own], own, y, LABEL, TAU),
        lambda x, y: literal_pseudo(x, LABEL[own], own, y, LABEL, TAU),
        [unit(3, 16, 0), unit(8, 16, 1)],
    )


def test_pseudo_label_contrast_of_a_clip_and_its_copy_alone_is_zero():
    # One positive and no negative: the positive is all there is to choose from.
    x = unit(2, 8, 0).requires_grad_()
    loss = pseudo_label_contrast(x, torch.tensor([1, 1]), torch.arange(2), x, torch.tensor([1, 1]), TAU)
    loss.sum().backward()
    assert loss.abs().max() < 1e-6 and x.grad.abs().max() < 1e-6


@pytest.mark.parametrize("labels", [[0], [0, 1, 2]])
def test_pseudo_label_contrast_without_positives_is_zero_with_a_finite_gradient(labels):
    label = torch.tensor(labels)
    x = unit(len(labels), 8, 0).requires_grad_()
    loss = pseudo_label_contrast(x, label, torch.arange(len(labels)), x, label, TAU)
    loss.sum().backward()
    assert loss.tolist() == [0.0] * len(labels)
    assert (x.grad == 0).all()  # also where the only sample is left out of its own denominator


def test_no_anchor_at_all():
    empty, label = torch.zeros(0, 8, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    bank = unit(3, 8, 0)
    assert instance_contrast(empty, bank, label, TAU).shape == (0,)
    loss = pseudo_label_contrast(empty, label, label, bank, torch.tensor([0, 1, 1]), TAU)
    loss.sum().backward()
    assert loss.shape == (0,) and loss.sum() == 0


def test_the_order_of_rows_does_not_matter():
    x, order = unit(8, 16, 0), torch.tensor([3, 0, 7, 5, 1, 2, 6, 4])
    straight = pseudo_label_contrast(x, LABEL, torch.arange(8), x, LABEL, TAU)
    # The bank alone, then anchors and bank.
    place = torch.argsort(order)
    torch.testing.assert_close(pseudo_label_contrast(x, LABEL, place, x[order], LABEL[order], TAU), straight)
    both = pseudo_label_contrast(x[order], LABEL[order], torch.arange(8), x[order], LABEL[order], TAU)
    torch.testing.assert_close(both, straight[order])
    names = torch.tensor([2, 0, 3, 1])  # which number a pseudo label has says nothing
    torch.testing.assert_close(pseudo_label_contrast(x, names[LABEL], torch.arange(8), x, names[LABEL], TAU), straight)
    instance = instance_contrast(x[:4], x, torch.arange(4), TAU)
    torch.testing.assert_close(instance_contrast(x[:4], x[order], place[:4], TAU), instance)


def test_a_sample_without_positives_is_a_negative_for_the_others_and_nothing_more():
    x = unit(9, 16, 0)
    label = torch.cat([LABEL, torch.tensor([9])])
    short = pseudo_label_contrast(x[:8], LABEL, torch.arange(8), x[:8], LABEL, TAU)
    full = pseudo_label_contrast(x, label, torch.arange(9), x, label, TAU)
    assert full[8] == 0
    has_positive = torch.tensor([(LABEL == c).sum() > 1 for c in LABEL])
    assert (full[:8][has_positive] > short[has_positive]).all()
    assert (full[:8][~has_positive] == 0).all()


def test_the_closer_the_positives_the_smaller_the_loss():
    label = torch.tensor([0, 0, 1, 1])
    near = F.normalize(torch.tensor([[1.0, 0.1], [1, -0.1], [-1, 0.1], [-1, -0.1]]), dim=-1)
    far = near[[0, 2, 1, 3]]
    own = torch.arange(4)
    assert (
        pseudo_label_contrast(near, label, own, near, label, TAU).max()
        < pseudo_label_contrast(far, label, own, far, label, TAU).min()
    )
    # All alike: every one of the 3 others is as likely.
    same = torch.ones(4, 2) / math.sqrt(2)
    values = pseudo_label_contrast(same, label, own, same, label, TAU)
    torch.testing.assert_close(values, torch.full((4,), math.log(3)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_does_not_reach_them(dtype):
    # Under autocast a matrix product of float32 tensors is a bfloat16 one; at tau 0.1 its rounding is felt.
    x, logits, own = unit(8, 16, 0), torch.randn(8, 4, generator=torch.Generator().manual_seed(5)), torch.arange(8)

    def values():
        return [
            pseudo_label_contrast(x, LABEL, own, x, LABEL, TAU),
            instance_contrast(x, x.flip(0), own, TAU),
            soft_cross_entropy(logits, torch.softmax(logits.flip(0), dim=-1)),
        ]

    plain = values()
    with torch.autocast("cpu", dtype=dtype):
        mixed = values()
    for a, b in zip(plain, mixed, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    half = pseudo_label_contrast(x.to(dtype), LABEL, own, x.to(dtype), LABEL, TAU)
    assert half.dtype == torch.float32
