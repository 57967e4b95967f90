"""The `evaluate` module: loaded from its path without a network, and imported."""

from __future__ import annotations

import numpy as np
import pytest

from hf_ambiser.metrics import evaluate_predictions, metrics_path


evaluate = pytest.importorskip("evaluate")

VOTES = [[3.0, 1.0, 0.0], [0.0, 4.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]
PROBABILITIES = [[0.5, 0.25, 0.25], [0.25, 0.625, 0.125], [0.5, 0.5, 0.0], [0.75, 0.125, 0.125]]  # exact in float32


@pytest.fixture(params=["path", "class"])
def metric(request, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path / "modules"))
    if request.param == "path":
        return evaluate.load(metrics_path(), cache_dir=str(tmp_path / "metrics"))
    from hf_ambiser.evaluate_module.ambiser_metrics import AmbiserMetrics

    return AmbiserMetrics(cache_dir=str(tmp_path / "metrics"))


def expected(threshold=2 / 3):
    votes = np.array(VOTES)
    agreement = [0.75, 1, 0.5, 1]
    names = ("a", "b", "c")
    label = np.array([0, 1, -1, 2])
    return evaluate_predictions(
        np.array(PROBABILITIES), votes, label, names, agreement=np.array(agreement), threshold=threshold
    )


def test_compute_is_evaluate_predictions(metric):
    result = metric.compute(predictions=PROBABILITIES, references=VOTES, classes=["a", "b", "c"])
    assert result == expected()
    assert (result["clear"]["n"], result["all"]["n_without_consensus"]) == (3, 1)  # 3 of 4 votes are clear, as in runs


def test_batches_and_options(metric):
    metric.add_batch(predictions=PROBABILITIES[:3], references=VOTES[:3])
    metric.add(predictions=PROBABILITIES[3], references=VOTES[3])
    result = metric.compute(classes=["a", "b", "c"], threshold=1.0)
    assert result == expected(1.0)
    assert result["clear"]["n"] == 2
