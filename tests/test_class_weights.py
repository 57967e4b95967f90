"""The forms of class weights against slow versions, where their best answers lie, and that all methods use them."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from helpers.suite_methods import make_trainer, settings
from torch.nn import functional as F

from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.methods.meta import MetaArguments
from hf_ambiser.methods.meta.state import initial_weights
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.class_weights import ClassBalance, inverse_frequency
from hf_ambiser.training.collator import AMBIGUOUS, AUGMENTED, LABELLED
from hf_ambiser.training.objective_trainer import ObjectiveTrainer


COUNTS = [60.0, 25.0, 10.0, 5.0]
TARGET = [0.5, 0.25, 0.15, 0.1]
WEIGHT = [100 / (4 * n) for n in COUNTS]
TAU = 0.7


def literal(z, t, form, tau=0.0):
    """One utterance in plain Python."""
    shares = [n / sum(COUNTS) for n in COUNTS]
    z = [v + tau * math.log(p) for v, p in zip(z, shares, strict=True)]
    log_p = [v - math.log(sum(math.exp(u) for u in z)) for v in z]
    plain = -sum(a * b for a, b in zip(t, log_p, strict=True))
    if form == "utterance":
        return sum(w * a for w, a in zip(WEIGHT, t, strict=True)) * plain
    if form == "class":
        return -sum(w * a * b for w, a, b in zip(WEIGHT, t, log_p, strict=True))
    return plain


def balance(form: str) -> ClassBalance:
    counts = torch.tensor(COUNTS)
    if form == "adjusted":
        return ClassBalance.of(counts, "none", "utterance", TAU)
    return ClassBalance.of(counts, "inverse_frequency", form, 0.0)


FORMS = ["utterance", "class", "adjusted"]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_its_literal_version(form):
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 4, generator=random) * 2
    targets = torch.softmax(torch.randn(9, 4, generator=random), dim=1)
    weight, rows = torch.rand(9, generator=random), torch.arange(9) % 3 > 0
    got = balance(form).cross_entropy(logits, targets, weight, rows)
    for i in range(9):
        tau = TAU if form == "adjusted" and rows[i] else 0.0
        expected = literal(logits[i].tolist(), targets[i].tolist(), form if rows[i] else "plain", tau)
        assert float(got[i]) == pytest.approx(float(weight[i]) * expected, rel=1e-5)
    everybody = balance(form).cross_entropy(logits, targets, weight)
    torch.testing.assert_close(everybody[rows], got[rows])
    assert not torch.isclose(everybody[~rows], got[~rows]).any()


def test_the_class_form_is_torchs_weight_and_one_hot_labels_make_no_difference():
    random = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(7, 4, generator=random), torch.softmax(torch.randn(7, 4, generator=random), dim=1)
    ones = torch.ones(7)
    expected = F.cross_entropy(logits, targets, weight=torch.tensor(WEIGHT), reduction="none")
    torch.testing.assert_close(balance("class").cross_entropy(logits, targets, ones), expected)
    hard = F.one_hot(torch.tensor([0, 1, 2, 3, 3, 0, 1]), 4).float()
    torch.testing.assert_close(
        balance("class").cross_entropy(logits, hard, ones), balance("utterance").cross_entropy(logits, hard, ones)
    )


@pytest.mark.parametrize("form", FORMS)
def test_where_the_best_answer_to_a_soft_label_lies(form):
    """Minimised numerically; in closed form: the label, w t, and t / pi^tau, each scaled to sum to 1."""
    target = torch.tensor([TARGET], dtype=torch.float64)

    def loss(z):
        logits = torch.tensor(np.append(z, 0.0)[None])
        return float(balance(form).cross_entropy(logits.double(), target, torch.ones(1, dtype=torch.float64)))

    # The loss is computed in float32, so a method without gradients finds its minimum better.
    found = scipy.optimize.minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9})
    answer = torch.softmax(torch.tensor(np.append(found.x, 0.0)), dim=0).numpy()
    shares = np.array(COUNTS) / sum(COUNTS)
    expected = {
        "utterance": np.array(TARGET),
        "class": np.array(TARGET) * np.array(WEIGHT),
        "adjusted": np.array(TARGET) / shares**TAU,
    }[form]
    np.testing.assert_allclose(answer, expected / expected.sum(), atol=5e-3)
    if form != "utterance":
        assert np.abs(answer - TARGET).max() > 0.1


def test_weights_have_mean_one_over_the_targets():
    weight = inverse_frequency(torch.tensor(COUNTS))
    assert weight.tolist() == pytest.approx(WEIGHT)
    assert float((weight * torch.tensor(COUNTS)).sum() / 100) == pytest.approx(1)
    assert inverse_frequency(torch.tensor([4.0, 0.0])).tolist() == [0.5, 2.0]


def test_without_any_balance_nothing_is_touched():
    plain = ClassBalance.of(torch.tensor(COUNTS), "none", "utterance", 0.0)
    logits = torch.randn(3, 4)
    assert plain.logits(logits) is logits and plain.weight.tolist() == [1.0] * 4


def test_a_class_without_a_target_has_no_prior():
    with pytest.raises(ValueError, match=r"logit_adjustment=1.0 needs .* class\(es\) \[1\] have none"):
        ClassBalance.of(torch.tensor([3.0, 0.0]), "none", "utterance", 1.0)


# ---- every method --------------------------------------------------------------------------------------------------


CHOICES = [{"class_weights": "inverse_frequency"},
           {"class_weights": "inverse_frequency", "class_weight_form": "class"},
           {"class_weights": "none", "logit_adjustment": TAU}]  # fmt: skip
NO_STATE = {"learn_labels": False, "learn_weights": False, "initial_weights": "ones"}
EXTRA = {
    "hard_vote": {},
    "label_smoothing": {},
    "soft_target": {},
    "soft_vote": {},
    "self_training": {},
    "ipr": {"mu": 0.0, "alpha": 1.0},
    "slc": {"objective": "cross_entropy"},
    "meta": {**NO_STATE, "initial_labels": "soft"},
    "co_teaching": {"forget_rate": 0.0},
    "emotion_profile_refinery": {},
    "mcil": {},
    "divide_mix": {},
    "mmd": {"domain_weight": 0.0},
    "bnm": {"domain_weight": 0.0},
    "dann": {"domain_weight": 0.0},
    "daan": {"domain_weight": 0.0},
    "fixmatch": {},
    "freematch": {"fairness_weight": 0.0},
}


@pytest.mark.parametrize("changes", CHOICES, ids=["utterance", "class", "adjusted"])
@pytest.mark.parametrize("method", EXTRA)
def test_every_method_has_the_same_cross_entropy(method, changes, tmp_path):
    trainer = make_trainer(method, tmp_path, **settings(method, "learns", **{**EXTRA[method], **changes}))
    trainer.state.epoch = 1.5
    n_ambiguous = 3 if trainer.needs_ambiguous else 0
    role = [LABELLED] * 5 + [AMBIGUOUS] * n_ambiguous + [AUGMENTED] * (n_ambiguous * trainer.needs_augmented)
    later = [trainer.data.n_labelled + i for i in range(n_ambiguous)]
    batch = BatchRows(torch.tensor([*range(5), *later * (1 + trainer.needs_augmented)]), torch.tensor(role))
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(len(role), 4, generator=random)
    outputs = type("Outputs", (), {})()
    outputs.logits, outputs.embedding = logits, torch.randn(len(role), 16, generator=random)
    outputs.prototype_similarity = torch.rand(len(role), 4, generator=random)
    outputs.ambiguous_soft_label = outputs.prototype_similarity.softmax(dim=1)
    trainer.effective_counts = {name: float(mask.sum()) for name, mask in trainer.groups(batch).items()}
    trainer.effective_counts |= dict.fromkeys(("kept", "peer_kept"), 5.0)
    trainer.current_gradient_accumulation_steps, trainer._selected, trainer._peer_logits = 1, False, logits
    trainer._others_logits = [logits] * 2
    targets, weights = trainer.correct(outputs, batch)
    loss = float(trainer._training_loss(outputs, batch))

    learnt = trainer.table.observed[: None if trainer.needs_ambiguous else trainer.data.n_labelled].sum(dim=0)
    class_weight = learnt.sum() / (4 * learnt)
    total, groups = 0.0, {}
    for i, r in enumerate(role):
        balanced = r == LABELLED or (method == "slc" and r == AMBIGUOUS)
        z = logits[i] + (TAU * (learnt / learnt.sum()).log() if balanced and "logit_adjustment" in changes else 0)
        t, w = targets[i], torch.ones(4)
        if balanced and changes["class_weights"] != "none":
            by_class = "class_weight_form" in changes
            w = class_weight if by_class else (t * class_weight).sum().expand(4)
        value = float(weights[i]) * float(-(w * t * z.log_softmax(dim=0)).sum())
        group = "all" if method == "slc" else r
        groups.setdefault(group, []).append(value)
    # A copy learns in the place of its utterance, or not at all.
    groups.pop(AMBIGUOUS if "augmented" in trainer.averaged_over else AUGMENTED, None)
    total = sum(sum(values) / len(values) for values in groups.values())
    # The second network, and the others, were given the same answers.
    total *= {"co_teaching": 2, "divide_mix": 2, "mcil": 3}.get(method, 1)
    assert loss == pytest.approx(total, rel=1e-5)


def test_metas_expected_weights_are_the_class_weights_of_soft_labels():
    labels = torch.softmax(torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) * 2, dim=1)
    labels[:10] = F.one_hot(torch.arange(10) % 4, 4).float()
    w = initial_weights(labels, "expected")
    for row, value in zip(labels.double(), w.tolist(), strict=True):
        expected = sum(float(t) * 40 / (4 * float(n)) for t, n in zip(row, labels.double().sum(dim=0), strict=True))
        assert 1 / value == pytest.approx(expected, rel=1e-5)
    hard = F.one_hot(torch.arange(40) % 7 % 4, 4).float()
    torch.testing.assert_close(initial_weights(hard, "expected"), initial_weights(hard, "table3"))


@pytest.mark.parametrize(
    "kind,changes,words",
    [
        (AmbiSERTrainingArguments, {"class_weight_form": "torch"}, "not one of"),
        (AmbiSERTrainingArguments, {"class_weight_form": "class"}, "there are none"),
        (AmbiSERTrainingArguments, {"logit_adjustment": -1.0}, "0 or more"),
        (AmbiSERTrainingArguments, {"logit_adjustment": 1.0, "class_weights": "inverse_frequency"}, "twice"),
        (MetaArguments, {"logit_adjustment": 1.0}, "w balances"),
        (MetaArguments, {**NO_STATE, "logit_adjustment": 1.0, "sampling": "over"}, "sampling balances"),
        (MetaArguments, {"initial_weights": "ones", "class_weights": "inverse_frequency"}, "Eq. 6, has no class"),
        (MetaArguments, {"label_rate_by_weight": True, "state_optimizer": "adam"}, "adam's step has none"),
        (MetaArguments, {"label_rate_by_weight": True, "learn_labels": False}, "there is no such step"),
    ],
)
def test_what_acts_on_nothing_or_twice_is_refused(tmp_path, kind, changes, words):
    with pytest.raises(ValueError, match=words):
        kind(str(tmp_path), use_cpu=True, **changes)


def test_this_file_knows_every_method():
    others = {name for name in available_methods() if issubclass(load_method(name), ObjectiveTrainer)}
    assert set(EXTRA) == set(available_methods()) - others  # those are in test_objectives.py
