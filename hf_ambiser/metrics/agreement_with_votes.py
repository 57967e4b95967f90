"""R2 between a predicted distribution and the vote shares, utterance by utterance, in the two senses that papers use.

Papers on emotion distributions quote "R2" beside the Bhattacharyya coefficient (`distribution`) and often do not say
which of the two it is. They differ: the squared correlation does not ask the probabilities to be the right size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_pair


# A row with less variance than this is uniform up to rounding.
_UNIFORM = 1e-12


def squared_correlation(true: Array, predicted: Array) -> Array:
    """`(N,)` squared Pearson correlation over the K classes, cov(p, q)^2 / (var(p) var(q)): 0 to 1.

    NaN where p or q is uniform, for the correlation has no value there. With two classes it is 1 wherever it has a
    value.

    Args:
        true: `(N, K)` p, the vote shares.
        predicted: `(N, K)` q.
    """
    p, q = check_pair(true, predicted)
    p, q = p - p.mean(axis=1, keepdims=True), q - q.mean(axis=1, keepdims=True)
    variance = (p**2).mean(axis=1), (q**2).mean(axis=1)
    known = (variance[0] > _UNIFORM) & (variance[1] > _UNIFORM)
    result = np.full(len(p), np.nan)
    covariance = (p * q).mean(axis=1)
    result[known] = np.clip(covariance[known] ** 2 / (variance[0] * variance[1])[known], 0.0, 1.0)
    return result


def determination(true: Array, predicted: Array) -> Array:
    """`(N,)` coefficient of determination over the K classes, 1 - sum_k (p_k - q_k)^2 / sum_k (p_k - 1/K)^2.

    1 (equal), 0 (no closer to p than the uniform distribution is), below 0 without limit (farther). NaN where p is
    uniform. Few raters who disagree make p nearly uniform and the figure very negative: a mean over utterances may
    be decided by a few of them.

    Args: as `squared_correlation`.
    """
    p, q = check_pair(true, predicted)
    spread = ((p - p.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    known = spread / p.shape[1] > _UNIFORM
    result = np.full(len(p), np.nan)
    result[known] = 1 - ((p - q) ** 2).sum(axis=1)[known] / spread[known]
    return result


@dataclass(frozen=True)
class MeanR2:
    """Means of R2 over the utterances that have a value.

    Args:
        squared_correlation: Mean of `squared_correlation`.
        determination: Mean of `determination`.
        n: Utterances in both means.
        n_undefined: Utterances left out: their vote shares or the model's answer are uniform.
    """

    squared_correlation: float
    determination: float
    n: int
    n_undefined: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def mean_r2(true: Array, predicted: Array) -> MeanR2:
    """Both R2, over the same utterances: those on which both have a value.

    Args: as `squared_correlation`.

    Raises:
        ValueError: Shapes or values that do not fit.
        UndefinedMetric: No utterance, or none with a value.
    """
    figures: tuple[Callable[[Array, Array], Array], ...] = (squared_correlation, determination)
    correlation, share = (figure(true, predicted) for figure in figures)
    known = np.isfinite(correlation) & np.isfinite(share)
    if not known.any():
        raise UndefinedMetric("R2 has no value: the votes or the model's answer are uniform on every utterance")
    return MeanR2(float(correlation[known].mean()), float(share[known].mean()), int(known.sum()), int((~known).sum()))
