"""R2 of single utterances, against scikit-learn and numpy's correlation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import r2_score

from hf_ambiser.metrics import UndefinedMetric
from hf_ambiser.metrics.agreement_with_votes import determination, mean_r2, squared_correlation


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.multinomial(5, [0.4, 0.3, 0.2, 0.1], size=40) / 5, rng.dirichlet(np.ones(4), size=40)


def test_against_sklearn_and_numpy(pair):
    p, q = pair
    assert determination(p, q) == pytest.approx([r2_score(a, b) for a, b in zip(p, q, strict=True)])
    expected = [np.corrcoef(a, b)[0, 1] ** 2 for a, b in zip(p, q, strict=True)]
    assert squared_correlation(p, q) == pytest.approx(expected)
    result = mean_r2(p, q)
    assert (result.squared_correlation, result.determination) == pytest.approx(
        (np.mean(expected), determination(p, q).mean())
    )
    assert (result.n, result.n_undefined) == (40, 0)
    json.dumps(result.to_dict(), allow_nan=False)


def test_values_that_are_known():
    p = np.array([[0.7, 0.2, 0.1]])
    uniform = np.full((1, 3), 1 / 3)
    assert (squared_correlation(p, p)[0], determination(p, p)[0]) == pytest.approx((1, 1))
    assert determination(p, uniform)[0] == pytest.approx(0)
    shrunk = (p + uniform) / 2  # in proportion, but half as far from uniform
    assert (squared_correlation(p, shrunk)[0], determination(p, shrunk)[0]) == pytest.approx((1, 0.75))


def test_utterances_without_a_value_are_left_out_and_counted(pair):
    p, q = pair
    uniform = np.full((1, 4), 0.25)
    result = mean_r2(np.concatenate([p, uniform, p[:1]]), np.concatenate([q, q[:1], uniform]))
    known = mean_r2(p, q)
    assert (result.n, result.n_undefined) == (40, 2)
    assert (result.squared_correlation, result.determination) == (known.squared_correlation, known.determination)
    assert np.isnan(determination(uniform, q[:1])).all() and np.isnan(squared_correlation(p[:1], uniform)).all()


def test_undefined():
    with pytest.raises(UndefinedMetric, match="uniform on every utterance"):
        mean_r2(np.full((3, 2), 0.5), np.array([[0.4, 0.6]] * 3))
    with pytest.raises(UndefinedMetric, match="no utterance"):
        mean_r2(np.zeros((0, 2)), np.zeros((0, 2)))
