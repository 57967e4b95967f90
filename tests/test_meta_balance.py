"""What keeps meta from giving up rare classes: the rate of a label by its w, and the figures of both chosen epochs."""

import json

import numpy as np
import pytest
import torch
from helpers.suite_methods import make_trainer, settings

from hf_ambiser.training.validation import best_epochs


pytestmark = pytest.mark.usefixtures("blank_figures")


def label_step(tmp_path, **changes):
    """Label logits before and after one step of a label epoch, w, targets and the prediction, of all utterances."""
    trainer = make_trainer("meta", tmp_path, **settings("meta", "learns", label_learning_rate=0.5, **changes))
    trainer.state.epoch = 1.5
    n = len(trainer.table)
    columns = trainer.table.columns
    columns["w"].copy_(torch.linspace(0.11, 1.32, n))  # what a class of 3 % and one of 70 % begin with
    before, w = columns["label_logits"].clone(), columns["w"].clone()
    log_y = torch.randn(n, 4, generator=torch.Generator().manual_seed(0)).log_softmax(dim=1)
    target, index = trainer._labels(slice(None)), torch.arange(n)
    trainer.update_state(
        {"index": index, "role": 0 * index, "target": target, "weight": 1 / w, "log_probability": log_y}
    )
    return before, columns["label_logits"], w, target, log_y


@pytest.mark.parametrize("by_weight", [False, True])
def test_a_labels_step_is_divided_by_w_or_not(tmp_path, by_weight):
    before, after, w, target, log_y = label_step(tmp_path, label_rate_by_weight=by_weight)
    for i in range(len(before)):
        s, g = target[i].tolist(), log_y[i].tolist()
        entropy = -sum(a * b for a, b in zip(s, g, strict=True))
        for c in range(4):
            gradient = s[c] * (-g[c] - entropy) / (1.0 if by_weight else float(w[i]))
            assert float(after[i, c] - before[i, c]) == pytest.approx(-0.5 * gradient, rel=1e-3, abs=2e-6)


def test_without_it_a_rare_classs_labels_move_ten_times_as_far(tmp_path):
    moved = {}
    for by_weight in (False, True):
        before, after, *_ = label_step(tmp_path / str(by_weight), label_rate_by_weight=by_weight)
        step = (after - before).abs().sum(dim=1)
        moved[by_weight] = float(step[0] / step[-1])
    assert moved[False] / moved[True] == pytest.approx(1.32 / 0.11, rel=1e-3)


def test_best_epochs_are_a_slow_search():
    random = np.random.default_rng(0)
    log = [{"epoch": float(e), "loss": 1.0} for e in range(9)]
    log += [
        {"epoch": float(e), **{f"eval_{n}": float(random.random()) for n in ("loss", "ua", "js")}} for e in range(9)
    ]
    found = best_epochs(log)
    for entry in log[9:]:
        assert found["loss"]["loss"] <= entry["eval_loss"] and found["ua"]["ua"] >= entry["eval_ua"]
    for figures in found.values():
        (same,) = [entry for entry in log[9:] if entry["epoch"] == figures["epoch"]]
        assert figures == {"epoch": same["epoch"], **{n: same[f"eval_{n}"] for n in ("loss", "ua", "js")}}
    assert best_epochs(log[:9]) == {}
    assert set(best_epochs([{"epoch": 1.0, "eval_loss": 0.5}])) == {"loss"}


def test_results_and_card_have_both_choices(tmp_path):
    from helpers.made_run import built, fields

    from hf_ambiser.runs.arguments import RunArguments
    from hf_ambiser.runs.run import run

    dataset, out = built(tmp_path / "built"), tmp_path / "run"
    small = {"method": "hard_vote", "warmup_epochs": ..., "num_train_epochs": 3}
    results = run(RunArguments.from_mapping(fields(dataset, out, **small)))
    found = json.loads((out / "results.json").read_text())["best_epochs"]
    assert found == best_epochs(results["log"]) and set(found) == {"loss", "ua"}
    card = (out / "model" / "README.md").read_text()
    by_loss, by_ua = found["loss"], found["ua"]
    assert f"Epoch {by_loss['epoch']:g} has the smallest validation loss: loss {by_loss['loss']:.3f}, WA" in card
    assert f"Epoch {by_ua['epoch']:g} has the highest validation UA: loss {by_ua['loss']:.3f}, WA" in card
    assert f"UA {by_loss['ua']:.3f}" in card and f"UA {by_ua['ua']:.3f}" in card
