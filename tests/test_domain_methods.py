"""Methods for clear and ambiguous utterances against literal transcriptions.

Each of mmd, dann, daan, bnm, fixmatch and freematch is trained for some steps. Then the same steps are taken again by
plain gradient descent, utterance by utterance, with the losses written down as sums, and without gradient reversal:
the model descends its own loss, the discriminators descend theirs.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from helpers import made_data
from helpers.suite_methods import BASE, make_trainer, settings
from torch import Tensor

from hf_ambiser.methods import load_method
from hf_ambiser.methods.bnm.trainer import nuclear_norm
from hf_ambiser.methods.daan.factor import next_omega
from hf_ambiser.methods.freematch.fairness import fairness
from hf_ambiser.methods.mmd.discrepancy import squared_discrepancy
from hf_ambiser.training.adversaries import reverse_gradient
from hf_ambiser.training.collator import AMBIGUOUS, AUGMENTED, LABELLED
from hf_ambiser.training.sampler import StepKey
from hf_ambiser.training.schedules import sigmoid_growth


torch.set_num_threads(1)
RATE = 0.05


# ---- the steps once more -----------------------------------------------------------------------------------------


class Steps:
    """A trained run, and what its steps saw: `answer` gives the logits and embedding of one utterance, alone."""

    def __init__(self, method: str, folder: Any, monkeypatch: Any, epochs: int = 1, **given: Any) -> None:
        trained = load_method(method)
        seen: list[dict[str, Tensor]] = []

        class Recorded(trained):
            def update_state(self, rows: dict[str, Tensor]) -> None:
                super().update_state(rows)
                seen.append(rows)

        monkeypatch.setattr("helpers.suite_methods.load_method", lambda name: Recorded)
        chosen = {**BASE, **trained.suite_settings, "num_train_epochs": epochs, "learning_rate": RATE, **given}
        self.trainer = make_trainer(method, folder, **chosen)
        self.model = made_data.tiny_model().train()
        companions = getattr(self.trainer, "companions", {})
        self.beside = {name: copy.deepcopy(one.module) for name, one in companions.items()}
        self.trainer.train()
        self.seen = seen
        assert len(seen) == 3 * epochs

    def indices(self, step: int, role: int) -> list[int]:
        rows = self.seen[step]
        return [int(i) for i, r in zip(rows["index"], rows["role"], strict=True) if int(r) == role]

    def answer(self, step: int, index: int, role: int) -> tuple[Tensor, Tensor]:
        data = self.trainer.data
        key = (index, ()) if role == LABELLED else (0, (index - data.n_labelled,))
        (example,) = [one for one in data[StepKey(step // 3, *key)] if one.role == role]
        batch = self.trainer.collate([[example]])
        said = self.model(input_values=batch["input_values"], attention_mask=batch["attention_mask"])
        return said.logits[0], said.embedding[0]

    def answers(self, step: int, role: int) -> tuple[list[Tensor], list[Tensor]]:
        pairs = [self.answer(step, i, role) for i in self.indices(step, role)]
        return [z for z, _ in pairs], [f for _, f in pairs]

    def supervised(self, step: int, logits: list[Tensor]) -> Tensor:
        classes = [int(self.trainer.table.observed[i].argmax()) for i in self.indices(step, LABELLED)]
        return sum(surprise(z, c) for z, c in zip(logits, classes, strict=True)) / len(classes)

    def descend(self, loss: Tensor, loss_beside: Tensor | None = None) -> None:
        parts = [(loss, [self.model])] if loss_beside is None else [(loss, [self.model]), (loss_beside, self.beside)]
        moves = []
        for value, owners in parts:
            modules = owners.values() if isinstance(owners, dict) else owners
            parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
            moves += [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
        with torch.no_grad():
            for parameter, gradient in moves:
                parameter -= RATE * gradient

    def check(self) -> None:
        pairs = [("model", self.trainer.model, self.model)]
        pairs += [(name, self.trainer.companions[name].module, one) for name, one in self.beside.items()]
        for name, got, expected in pairs:
            for (key, p), q in zip(got.named_parameters(), expected.parameters(), strict=True):
                torch.testing.assert_close(p, q, rtol=1e-4, atol=2e-6, msg=lambda m, k=f"{name}.{key}": f"{k}: {m}")

    def grown(self, step: int) -> float:
        return 2 / (1 + math.exp(-10 * step / len(self.seen))) - 1


def surprise(logits: Tensor, c: int) -> Tensor:
    return -(logits[c] - logits.exp().sum().log())


def softmax(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum()


def bent(said: Tensor, ambiguous: bool) -> Tensor:
    """Cross-entropy of a discriminator's answer."""
    sure = 1 / (1 + (-said).exp())
    return -(sure if ambiguous else 1 - sure).log()


# ---- mmd ---------------------------------------------------------------------------------------------------------


def literal_discrepancy(x: list[Tensor], y: list[Tensor], variances: list[float]) -> Tensor:
    def mean_kernel(a: list[Tensor], b: list[Tensor]) -> Tensor:
        kernel = [sum((-((p - q) ** 2).sum() / (2 * v)).exp() for v in variances) for p in a for q in b]
        return sum(kernel) / (len(kernel) * len(variances))

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


def middle_distance(rows: list[Tensor]) -> float:
    between = sorted(((p - q) ** 2).sum().item() for i, p in enumerate(rows) for q in rows[:i])
    return between[(len(between) - 1) // 2]


def test_discrepancy_is_the_double_sum():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 3, generator=random), torch.randn(7, 3, generator=random) * 2 + 1
    middle = middle_distance([*x, *y])
    for bandwidth, kernels, variances in [
        (None, 1, [middle]),
        (1.5, 1, [2.25]),
        (None, 4, [middle / 4, middle / 2, middle, middle * 2]),
        (1.0, 5, [0.25, 0.5, 1, 2, 4]),
    ]:
        expected = literal_discrepancy(list(x), list(y), variances)
        torch.testing.assert_close(squared_discrepancy(x, y, bandwidth, kernels), expected, rtol=1e-5, atol=1e-7)
    assert float(squared_discrepancy(x, x)) == pytest.approx(0, abs=1e-6)
    far = squared_discrepancy(torch.zeros(1, 3), torch.full((1, 3), 1e3), bandwidth=1.0)
    assert float(far) == 2.0


def test_mmd_steps(tmp_path, monkeypatch):
    run = Steps("mmd", tmp_path, monkeypatch, domain_weight=0.7)
    for step in range(3):
        z, clear = run.answers(step, LABELLED)
        _, ambiguous = run.answers(step, AMBIGUOUS)
        assert len(clear) == 8 and len(ambiguous) == 9
        distance = literal_discrepancy(clear, ambiguous, [middle_distance([*clear, *ambiguous])])
        run.descend(run.supervised(step, z) + 0.7 * distance)
    run.check()


# ---- bnm ---------------------------------------------------------------------------------------------------------


def literal_nuclear_norm(rows: list[Tensor]) -> Tensor:
    """The trace of the root of P^T P."""
    answers = torch.stack(rows).double()
    return torch.linalg.eigvalsh(answers.T @ answers).clamp(min=1e-30).sqrt().sum().float()


def test_the_nuclear_norm_rewards_decided_and_diverse_answers():
    random = torch.Generator().manual_seed(1)
    drawn = torch.softmax(torch.randn(9, 4, generator=random) * 2, dim=1)
    assert float(nuclear_norm(drawn)) == pytest.approx(float(literal_nuclear_norm(list(drawn))), rel=1e-6)
    decided = torch.eye(4).repeat(2, 1)
    undecided, alike = torch.full((8, 4), 0.25), torch.eye(4)[[0] * 8]
    assert float(nuclear_norm(decided)) == pytest.approx(4 * math.sqrt(2))  # four columns of length root 2
    assert float(nuclear_norm(alike)) == pytest.approx(math.sqrt(8))
    assert float(nuclear_norm(undecided)) == pytest.approx(math.sqrt(8 * 4) / 4)


@pytest.mark.parametrize(("over", "divisor"), [("utterances", 9), ("singular_values", 4), ("none", 1)])
def test_bnm_steps(over, divisor, tmp_path, monkeypatch):
    run = Steps("bnm", tmp_path, monkeypatch, domain_weight=0.5, nuclear_norm_over=over, max_steps=3)
    for step in range(3):
        z, _ = run.answers(step, LABELLED)
        answers = [softmax(logits) for logits in run.answers(step, AMBIGUOUS)[0]]
        run.descend(run.supervised(step, z) - 0.5 / divisor * literal_nuclear_norm(answers))
    run.check()


# ---- dann and daan -----------------------------------------------------------------------------------------------


def test_the_gradient_is_reversed_and_the_schedule_grows():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    value = (reverse_gradient(x, 0.5) ** 2).sum()
    assert float(value) == 5
    assert torch.autograd.grad(value, x)[0].tolist() == [-1.0, -2.0]
    assert [sigmoid_growth(p, 10.0) for p in (0, 0.5, 1)] == pytest.approx([0, math.tanh(2.5), 0.9999092], abs=1e-7)


@pytest.mark.parametrize("cut", [(8, 1), (2, 4)])
def test_dann_steps(cut, tmp_path, monkeypatch):
    size = dict(per_device_train_batch_size=cut[0], gradient_accumulation_steps=cut[1])
    run = Steps("dann", tmp_path, monkeypatch, domain_weight=0.8, **size)
    judge = run.beside["domain_discriminator"]
    for step in range(3):
        z, clear = run.answers(step, LABELLED)
        _, ambiguous = run.answers(step, AMBIGUOUS)
        domain = sum(bent(judge(f)[0], False) for f in clear) / 8 + sum(bent(judge(f)[0], True) for f in ambiguous) / 9
        run.descend(run.supervised(step, z) - 0.8 * run.grown(step) * domain, domain)
    run.check()


@pytest.mark.parametrize(
    ("given", "of_local", "by_error"),
    [
        ({}, True, True),
        ({"omega": "global_share", "domain_distance": "loss"}, False, False),
        ({"reverse_probabilities": True}, True, True),
    ],
)
def test_daan_steps(given, of_local, by_error, tmp_path, monkeypatch):
    run = Steps("daan", tmp_path, monkeypatch, epochs=2, **given)
    whole, by_class = run.beside["global_discriminator"], run.beside["class_discriminators"].of_class
    omega, mistakes, omegas = 0.5, {False: [], True: []}, [0.5]
    for step in range(6):
        losses, supervised = [], None
        for ambiguous, role in ((False, LABELLED), (True, AMBIGUOUS)):
            logits, embeddings = run.answers(step, role)
            supervised = run.supervised(step, logits) if role == LABELLED else supervised
            for z, f in zip(logits, embeddings, strict=True):
                p = softmax(z) if "reverse_probabilities" in given else softmax(z).detach()
                said = [whole(f)[0], *(one(p[c] * f)[0] for c, one in enumerate(by_class))]
                each = [bent(s, ambiguous) for s in said]
                wrong = [float((float(s) > 0) != ambiguous) for s in said]
                mistakes[ambiguous].append(wrong if by_error else [float(e) for e in each])
                losses.append((1 - omega) * each[0] + omega * sum(each[1:]))
        domain = sum(losses) / 17
        run.descend(supervised - run.grown(step) * domain, domain)
        if step % 3 == 2:
            means = {
                d: [sum(column) / len(rows) for column in zip(*rows, strict=True)] for d, rows in mistakes.items()
            }
            n = {d: len(rows) for d, rows in mistakes.items()}
            share = {d: 0.5 if by_error else n[d] / sum(n.values()) for d in n}
            e = [share[False] * a + share[True] * b for a, b in zip(means[False], means[True], strict=True)]
            distance = [max(2 * (1 - 2 * v), 0) for v in e]
            local = sum(distance[1:]) / 4
            if distance[0] + local > 0:
                omega = (local if of_local else distance[0]) / (distance[0] + local)
            omegas.append(omega)
            mistakes = {False: [], True: []}
    run.check()
    assert float(run.trainer.method_state["omega"]) == pytest.approx(omega, abs=1e-5)
    assert not run.trainer.method_state["mistakes"].any()
    logged = [entry["omega"] for entry in run.trainer.state.log_history if "omega" in entry]
    assert logged == pytest.approx([omegas[0]] * 3 + [omegas[1]] * 3, abs=1e-5)


def test_omega_goes_where_the_domains_differ():
    far, near, now = 0.1, 0.4, torch.tensor(0.3)
    local = torch.tensor([near, far, far])
    assert float(next_omega(now, local, True)) == pytest.approx(1.6 / (1.6 + 0.4))
    assert float(next_omega(now, local, False)) == pytest.approx(0.4 / (1.6 + 0.4))
    chance = torch.tensor([0.5, 0.6, 0.7])  # no discriminator tells the domains apart
    assert float(next_omega(now, chance, True)) == pytest.approx(0.3)
    assert float(next_omega(now, torch.tensor([0.5, 0.1, 0.9]), True)) == 1.0


# ---- fixmatch and freematch --------------------------------------------------------------------------------------


def sure_copies(run: Steps, step: int, thresholds: list[float]) -> tuple[list[int], list[bool], list[Tensor]]:
    """The answers of the clean views as labels, which of them are sure, and the copies' logits."""
    clean = [softmax(z.detach()).tolist() for z in run.answers(step, AMBIGUOUS)[0]]
    labels = [p.index(max(p)) for p in clean]
    sure = [max(p) >= thresholds[c] for p, c in zip(clean, labels, strict=True)]
    return labels, sure, run.answers(step, AUGMENTED)[0]


def test_fixmatch_steps(tmp_path, monkeypatch):
    run = Steps("fixmatch", tmp_path, monkeypatch, threshold=0.32, ambiguous_weight=0.6)
    target, weight, shares = {}, {}, []
    for step in range(3):
        labels, sure, copies = sure_copies(run, step, [0.32] * 4)
        index = run.indices(step, AMBIGUOUS)
        assert index == run.indices(step, AUGMENTED)
        target |= dict(zip(index, labels, strict=True))
        weight |= {i: 0.6 * s for i, s in zip(index, sure, strict=True)}
        shares.append(sum(sure) / 9)
        learnt = sum(s * surprise(z, c) for s, z, c in zip(sure, copies, labels, strict=True)) / 9
        run.descend(run.supervised(step, run.answers(step, LABELLED)[0]) + 0.6 * learnt)
    assert 0 < sum(shares) < 3, "sure of all or of none: the threshold shows nothing"
    run.check()
    columns, labelled = run.trainer.table.columns, run.trainer.data.n_labelled
    assert columns["weight"][labelled:].tolist() == pytest.approx([weight.get(i, 0) for i in range(labelled, 46)])
    assert {i: int(columns["target"][i].argmax()) for i in target} == target
    logged = [entry["share_confident"] for entry in run.trainer.state.log_history if "share_confident" in entry]
    assert logged == pytest.approx(shares)


def literal_fairness(expected: list[float], answered: list[float], copies: list[Tensor]) -> Tensor:
    """Eq. 11 in loops."""
    k = len(expected)
    mean = [sum(p[c] for p in copies) / len(copies) for c in range(k)]
    largest = [int(p.argmax()) for p in copies]
    counted = [largest.count(c) / len(copies) for c in range(k)]

    def divided(p: list[Any], h: list[float]) -> list[Any]:
        ratio = [a / b if b > 0 else 0 * a for a, b in zip(p, h, strict=True)]
        return [r / sum(ratio) for r in ratio]

    of_model, of_copies = divided(expected, answered), divided(mean, counted)
    return sum(a * (b + 1e-12).log() for a, b in zip(of_model, of_copies, strict=True))


def test_fairness_is_its_literal_version():
    random = torch.Generator().manual_seed(2)
    copies = torch.softmax(2 * torch.randn(6, 4, generator=random), dim=1)
    p, h = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.5, 0.5, 0.0, 0.0])
    for histogram in (torch.full((4,), 0.25), h):
        expected = literal_fairness(p.tolist(), histogram.tolist(), list(copies))
        assert float(fairness(p, histogram, copies)) == pytest.approx(float(expected), rel=1e-5)


def test_freematch_steps(tmp_path, monkeypatch):
    run = Steps("freematch", tmp_path, monkeypatch, average_decay=0.6, fairness_weight=0.3, epochs=2)
    tau, expected, answered, sures = 0.25, [0.25] * 4, [0.25] * 4, []
    for step in range(6):
        thresholds = [p / max(expected) * tau for p in expected]
        labels, sure, copies = sure_copies(run, step, thresholds)
        sures += sure
        learnt = sum(s * surprise(z, c) for s, z, c in zip(sure, copies, labels, strict=True)) / 9
        fair = literal_fairness(expected, answered, [softmax(z) for z, s in zip(copies, sure, strict=True) if s])
        clean = [softmax(z.detach()).tolist() for z in run.answers(step, AMBIGUOUS)[0]]
        run.descend(run.supervised(step, run.answers(step, LABELLED)[0]) + learnt + 0.3 * fair)
        tau = 0.6 * tau + 0.4 * sum(map(max, clean)) / 9
        expected = [0.6 * v + 0.4 * sum(p[c] for p in clean) / 9 for c, v in enumerate(expected)]
        answered = [0.6 * v + 0.4 * labels.count(c) / 9 for c, v in enumerate(answered)]
    assert not all(sures), "sure of all: the thresholds show nothing"
    run.check()
    state = run.trainer.method_state
    assert float(state["confidence"]) == pytest.approx(tau, rel=1e-4)
    assert state["expectation"].tolist() == pytest.approx(expected, rel=1e-4)
    assert state["histogram"].tolist() == pytest.approx(answered, rel=1e-4)


def test_the_global_threshold_has_a_cap(tmp_path):
    trainer = make_trainer("freematch", tmp_path, **settings("freematch", "learns", largest_threshold=0.6))
    trainer.method_state["confidence"].fill_(0.9)
    trainer.method_state["expectation"].copy_(torch.tensor([0.4, 0.3, 0.2, 0.1]))
    assert trainer.thresholds().tolist() == pytest.approx([0.6, 0.45, 0.3, 0.15])


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["mmd", "dann", "daan"])
def test_an_embedding_that_cannot_change_is_refused(method, tmp_path):
    trainer = make_trainer(method, tmp_path, **settings(method, "learns"))
    trainer.model.freeze_encoder()
    with pytest.raises(ValueError, match=f"{method} changes the model's embeddings, and no parameter below them lear"):
        trainer.train()


@pytest.mark.parametrize("method", ["mmd", "bnm", "dann", "daan"])
def test_a_weight_of_0_is_said_to_leave_no_loss_of_ambiguous_utterances_and_does(method, tmp_path, caplog):
    given = settings(method, "learns") | {"max_steps": 2}
    trainer = make_trainer(method, tmp_path / "some", **given)
    trainer.train()
    assert "domain_weight=0" not in caplog.text
    assert [entry for entry in trainer.training_log if "loss_domain" in entry]
    trainer = make_trainer(method, tmp_path / "none", **given, domain_weight=0.0)
    trainer.train()
    assert f"domain_weight=0: the ambiguous utterances of {method} add no loss" in caplog.text
    assert not [entry for entry in trainer.training_log if "loss_domain" in entry]


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("mmd", {"bandwidth": 0.0}, "bandwidth=0.0 must be above 0"),
        ("mmd", {"kernels": 0}, "kernels=0 must be 1 or more"),
        ("mmd", {"domain_weight": -1.0}, "domain_weight=-1.0 must be 0 or more"),
        ("bnm", {"nuclear_norm_over": "rows"}, r"nuclear_norm_over='rows' is not one of \['utterances'"),
        ("bnm", {"domain_schedule": "linear"}, r"domain_schedule='linear' is not one of \['constant', 'growing'\]"),
        ("dann", {"domain_steepness": 0.0}, "domain_steepness=0.0 must be above 0"),
        ("dann", {"discriminator_size": 0}, "discriminator_size=0 must be 1 or more"),
        ("dann", {"discriminator_dropout": 1.0}, "discriminator_dropout=1.0 must be 0 or more and below 1"),
        ("dann", {"discriminator_rate": 0.0}, "discriminator_rate=0.0 must be above 0"),
        ("daan", {"omega": "dynamic"}, r"omega='dynamic' is not one of \['local_share'"),
        ("daan", {"domain_distance": "far"}, r"domain_distance='far' is not one of \['error', 'loss'\]"),
        ("daan", {"omega_start": 1.5}, r"omega_start=1.5 must lie in \[0, 1\]"),
        ("fixmatch", {"threshold": 0.0}, "threshold=0.0 must be above 0"),
        ("fixmatch", {"ambiguous_weight": 0.0}, "ambiguous_weight=0.0 must be above 0"),
        ("freematch", {"average_decay": 1.0}, "average_decay=1.0 must be 0 or more and below 1"),
        ("freematch", {"fairness_weight": -0.1}, "fairness_weight=-0.1 must be 0 or more"),
        ("freematch", {"largest_threshold": 0.0}, "largest_threshold=0.0 must be above 0"),
    ],
)
def test_values_that_are_not_allowed(method, given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        load_method(method).arguments_class(str(tmp_path), use_cpu=True, **given)
