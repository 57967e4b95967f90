"""DivideMix: the mixture against scikit-learn's, the training against a literal transcription, what is refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers import made_data
from helpers.plain_descent import answers_alone, assert_same_network, cross_entropy, descend, logits_alone, recorded
from helpers.suite_methods import BASE, make_trainer

from hf_ambiser.methods.divide_mix import DivideMixArguments, DivideMixTrainer
from hf_ambiser.methods.divide_mix.mixture import FLOOR, STEPS, TOLERANCE, clean_probability
from hf_ambiser.methods.divide_mix.new_labels import guessed, refined


def by_scikit_learn(loss: np.ndarray) -> np.ndarray:
    from sklearn.mixture import GaussianMixture

    x = ((loss - loss.min()) / (loss.max() - loss.min()))[:, None]
    mixture = GaussianMixture(
        2, max_iter=STEPS, tol=TOLERANCE, reg_covar=FLOOR, means_init=[[0.0], [1.0]], weights_init=[0.5, 0.5],
        precisions_init=np.full((2, 1, 1), 1 / (x.var() + FLOOR)),
    )  # fmt: skip
    return mixture.fit(x).predict_proba(x)[:, mixture.means_.argmin()]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(4))
def test_the_mixture_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    loss = np.concatenate([rng.gamma(1, 0.2, 60), rng.normal(1 + seed / 3, 0.3, 25).clip(0)])
    got = clean_probability(torch.tensor(loss)).numpy()
    np.testing.assert_allclose(got, by_scikit_learn(loss), atol=1e-5)
    assert got.min() < 0.01 and got.max() > 0.9


def test_equal_losses_are_all_clean():
    assert clean_probability(torch.full((5,), 0.7)).tolist() == [1.0] * 5


def test_new_labels_are_their_formulas():
    y, p, q, w = [0.0, 1.0, 0.0], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], 0.25

    def sharp(values, temperature):
        powered = [v ** (1 / temperature) for v in values]
        return [v / sum(powered) for v in powered]

    tensors = [torch.tensor([values]) for values in (y, p, q)]
    got = refined(tensors[0], torch.tensor([w]), tensors[1], 0.5)
    assert got[0].tolist() == pytest.approx(sharp([w * a + (1 - w) * b for a, b in zip(y, p, strict=True)], 0.5))
    got = guessed(tensors[1], tensors[2], 0.8)
    assert got[0].tolist() == pytest.approx(sharp([(a + b) / 2 for a, b in zip(p, q, strict=True)], 0.8))
    assert refined(tensors[0], torch.tensor([1.0]), tensors[1], 0.5)[0].tolist() == y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_three_epochs_are_the_literal_transcription(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.suite_methods.load_method", lambda name: recorded(DivideMixTrainer))
    rate, tau, temperature, weight = 0.05, 0.6, 0.7, 3.0
    chosen = {"warmup_epochs": 1, "ramp_epochs": 1, "noisy_weight": weight, "clean_probability": tau}
    trainer = make_trainer(
        "divide_mix", tmp_path, **{**BASE, **chosen, "sharpening": temperature, "learning_rate": rate}
    )
    networks = [made_data.tiny_model().train(), copy.deepcopy(trainer.peer)]
    labels = trainer.table.observed
    trainer.train()

    clean = [np.ones(21), np.ones(21)]
    kinds = set()
    for step, (batch, _) in enumerate(trainer.seen):
        if step in (3, 6):
            losses = []
            for network in networks:
                answers = answers_alone(network, trainer, range(21))
                losses.append(np.array([float(cross_entropy(z, t)) for z, t in zip(answers, labels, strict=True)]))
            clean = [by_scikit_learn(losses[1]), by_scikit_learn(losses[0])]

        def loss(batch=batch, clean=clean, ramp=1.0 if step >= 6 else 0.0):
            total = 0
            logits = {(n, i): logits_alone(networks[n], trainer, i) for n in (0, 1) for i in batch}
            answer = {key: z.detach().softmax(dim=0) for key, z in logits.items()}
            for n in (0, 1):
                kept, guesses = [], []
                for i in batch:
                    w = float(clean[n][i])
                    if w >= tau:
                        label = (w * labels[i] + (1 - w) * answer[n, i]) ** (1 / temperature)
                        kept.append(cross_entropy(logits[n, i], label / label.sum()))
                    else:
                        label = ((answer[0, i] + answer[1, i]) / 2) ** (1 / temperature)
                        distance = logits[n, i].softmax(dim=0) - label / label.sum()
                        guesses.append((distance**2).mean())
                    kinds.add((ramp, w >= tau))
                total = total + (sum(kept) / len(kept) if kept else 0)
                total = total + (weight * ramp * sum(guesses) / len(guesses) if guesses else 0)
            return total

        descend(networks, loss, rate)
    assert kinds == {(0.0, True), (0.0, False), (1.0, True), (1.0, False)}
    assert_same_network(trainer.model, networks[0])
    assert_same_network(trainer.peer, networks[1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"warmup_epochs": 0}, "warmup_epochs=0 must be 1 or more"),
        ({"warmup_epochs": 30}, "warmup_epochs=30 leaves no epoch"),
        ({"clean_probability": 1.0}, "clean_probability=1.0 must be above 0 and below 1"),
        ({"sharpening": 0.0}, "sharpening=0.0 must be above 0 and at most 1"),
        ({"noisy_weight": -1.0}, "noisy_weight=-1.0 must be 0 or more"),
        ({"ramp_epochs": 0}, "ramp_epochs=0 must be 1 or more"),
    ],
)
def test_values_that_are_not_allowed(given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        DivideMixArguments(str(tmp_path), use_cpu=True, **{"num_train_epochs": 30, **given})
