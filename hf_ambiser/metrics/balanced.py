"""The class that leads if the classes counted more alike: another decision on the same distribution."""

from __future__ import annotations

import numpy as np

from hf_ambiser.metrics.checks import Array, check_distributions


def balanced_lead(probabilities: Array, shares: Array, tau: float) -> Array:
    """`(N,)` int64: the class with the largest p_k / m_k^tau.

    This is logit adjustment after training (Menon et al. 2021, section 4.1): at tau 0 the leading class of the answer
    as it is, and at tau 1 the class whose probability is largest beside its share m_k. Larger tau trade WA for UA. The
    distribution stays what it is.

    Args:
        probabilities: `(N, K)` rows that sum to 1.
        shares: `(K,)` the class's shares, such as those of the training votes, or the mean of the model's answers. A
            class with the share 0 never leads, unless tau is 0.
        tau: 0 or more.

    Raises:
        ValueError: If shapes or values do not fit.
    """
    p = check_distributions(probabilities, "probabilities")
    m = np.asarray(shares, dtype=np.float64)
    if m.shape != p.shape[1:] or not (np.isfinite(m).all() and (m >= 0).all() and m.sum() > 0):
        raise ValueError(f"shares have shape {m.shape} and values {m}; allowed: ({p.shape[1]},), none below 0.")
    if not 0 <= tau < np.inf:
        raise ValueError(f"tau is {tau}; allowed: a number of 0 or more.")
    if tau == 0:
        return p.argmax(axis=1)
    # In logarithms: m^tau may be too small for a number. A class that was never answered is behind one that is
    # impossible here.
    with np.errstate(divide="ignore"):
        beside = np.where(p > 0, np.log(p) - tau * np.log(np.where(m > 0, m, 1.0)), -np.finfo(np.float64).max)
    return np.where(m > 0, beside, -np.inf).argmax(axis=1)
