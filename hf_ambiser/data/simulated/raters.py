"""Simulated raters: each has a confusion matrix and a reliability, and rates some of the utterances.

Rater `r` rates utterance `i` with distribution `p_i` in two steps. First a perceived class is drawn from `p_i` (what
this listener hears in an ambiguous utterance), then a reported class from row `perceived` of

    M_r = reliability_r * C_r + (1 - reliability_r) * 1 s_r^T

where `C_r` confuses classes (happiness with neutral more than with anger) and `s_r` holds the answers that the rater
gives without listening. So the expected vote shares are `p_i @ M_r`: noise as in Dawid and Skene (1979) on top of true
ambiguity. Both are known, so they can be separated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_ambiser.data.simulated.keys import RATER_STREAM, generator, hash_names, keyed_uniform
from hf_ambiser.data.simulated.ratings import SimulatedRatings


# How often raters confuse two classes; a pair that is not named here has 1.
KINSHIP: dict[frozenset[str], float] = {
    frozenset({"happiness", "neutral"}): 5.0,
    frozenset({"sadness", "neutral"}): 5.0,
    frozenset({"anger", "neutral"}): 2.0,
    frozenset({"anger", "disgust"}): 4.0,
    frozenset({"disgust", "neutral"}): 4.0,
    frozenset({"fear", "sadness"}): 4.0,
    frozenset({"fear", "surprise"}): 4.0,
    frozenset({"happiness", "surprise"}): 4.0,
}
# The streams of keyed draws for one (seed, utterance, rater).
_ASSIGN, _PERCEIVE, _REPORT, _WHETHER_SECOND, _PERCEIVE_SECOND, _REPORT_SECOND = range(6)
_PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Raters:
    """A pool of R raters for K classes.

    Args:
        classes: K class names.
        names: R names. A rating depends on the rater's name, so a pool in another order gives the same ratings.
        confusion: (R, K, K), row = perceived class, column = reported class; rows sum to 1.
        reliability: (R,) in [0, 1], share of the answers that depend on listening.
        spam: (R, K), distribution of the other answers; rows sum to 1.
        second_label: (R,) in [0, 1], how often a second label is drawn (it is dropped if it repeats the first).

    Raises:
        ValueError: If a shape is wrong or a value is out of range; the message names it.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    confusion: np.ndarray
    reliability: np.ndarray
    spam: np.ndarray
    second_label: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes and ranges."""
        r, k = len(self.names), len(self.classes)
        if r == 0 or len(set(self.names)) != r:
            raise ValueError(f"names: {list(self.names)[:8]} must be at least one rater, each named once.")
        for name, shape in (("confusion", (r, k, k)), ("reliability", (r,)), ("spam", (r, k)), ("second_label", (r,))):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != shape:
                raise ValueError(f"{name}: shape {value.shape} must be {shape} ({r} raters, {k} classes).")
            if not ((value >= 0) & (value <= 1)).all():
                raise ValueError(f"{name}: values must lie in [0, 1]; found {value.min()} to {value.max()}.")
            if value.ndim > 1 and not np.allclose(value.sum(axis=-1), 1.0, atol=1e-6):
                raise ValueError(
                    f"{name}: rows must sum to 1; their sums are {np.unique(value.sum(-1).round(6))[:4].tolist()}."
                )
            object.__setattr__(self, name, value)

    @classmethod
    def draw(
        cls,
        classes: Sequence[str],
        n_raters: int,
        seed: int,
        *,
        confusion: float = 0.15,
        reliability: float = 0.9,
        spammers: float = 0.1,
        second_label: float = 0.0,
    ) -> Raters:
        """Draw a pool; rater `r` depends on `(seed, r)`, but not on `n_raters`.

        Args:
            classes: K class names.
            n_raters: R.
            seed: Seed of the pool.
            confusion: Mean share of perceived classes that are reported as another class.
            reliability: Mean reliability of the raters who listen.
            spammers: Probability that a rater hardly listens (mean reliability 0.1).
            second_label: Probability of a second label.

        Raises:
            ValueError: If there is no rater, or if a probability or share is outside [0, 1].
        """
        if n_raters < 1:
            raise ValueError(f"n_raters: {n_raters} must be at least 1.")
        shares = {
            "confusion": confusion,
            "reliability": reliability,
            "spammers": spammers,
            "second_label": second_label,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: {value} must lie in [0, 1].")
        kin = kinship(classes)
        matrices, reliabilities, spam = [], [], []
        for r in range(n_raters):
            rng = generator(seed, RATER_STREAM, r)
            matrix = np.zeros_like(kin)
            for k, row in enumerate(kin):
                others = np.flatnonzero(row)
                error = min(confusion * rng.gamma(4.0) / 4.0, 0.9)
                matrix[k, others] = error * rng.dirichlet(8.0 * row[others] * len(others))
                matrix[k, k] = 1.0 - matrix[k].sum()
            matrices.append(matrix)
            spam.append(rng.dirichlet(np.full(len(classes), 0.8)))
            # Drawn last, so that changing `spammers` leaves everything else about a rater unchanged.
            listens, careless = _beta(rng, reliability), _beta(rng, 0.1)
            reliabilities.append(careless if rng.random() < spammers else listens)
        return cls(
            classes=tuple(classes),
            names=tuple(f"rater{r + 1:03d}" for r in range(n_raters)),
            confusion=np.array(matrices),
            reliability=np.array(reliabilities),
            spam=np.array(spam),
            second_label=np.full(n_raters, float(second_label)),
        )

    @property
    def response(self) -> np.ndarray:
        """`M_r` of the module's docstring, (R, K, K): row = perceived class, column = reported class."""
        reliability = self.reliability[:, None, None]
        return reliability * self.confusion + (1.0 - reliability) * self.spam[:, None, :]

    def expected(self, distributions: np.ndarray) -> np.ndarray:
        """Compute the expected vote shares (N, K) of the whole pool for true distributions (N, K)."""
        return np.asarray(distributions, dtype=np.float64) @ self.response.mean(axis=0)

    def rate(
        self,
        distributions: np.ndarray,
        ids: Sequence[str],
        votes_per_utterance: int | Sequence[int] | np.ndarray,
        seed: int,
    ) -> SimulatedRatings:
        """Rate N utterances.

        Every draw depends only on (seed, utterance id, rater's name), also the choice of the raters. So other
        utterances, their order and their number do not change a rating.

        Args:
            distributions: (N, K) true distributions; rows sum to 1.
            ids: N different utterance ids.
            votes_per_utterance: Number of different raters for each utterance: one number, or N of them.
            seed: Seed of the ratings.

        Raises:
            ValueError: If distributions, ids or numbers of votes do not fit; the message names what is wrong.
        """
        p = self._checked(distributions, ids)
        votes = np.broadcast_to(np.asarray(votes_per_utterance), (len(ids),))
        if not np.issubdtype(votes.dtype, np.integer):
            raise ValueError(f"votes_per_utterance: {votes.dtype} values must be whole numbers.")
        if len(votes) and not (votes.min() >= 0 and votes.max() <= len(self.names)):
            raise ValueError(
                f"votes_per_utterance: {votes.min()} to {votes.max()} must lie in 0..{len(self.names)}, the number of"
                " raters, because nobody rates an utterance twice. Draw more raters or ask for fewer votes."
            )
        keys, rater_keys = hash_names(ids), hash_names(self.names)
        pairs = [self._assign(keys, rater_keys, votes, s, seed) for s in self._slices(len(ids))]
        utterance = np.concatenate([u for u, _ in pairs]) if pairs else np.zeros(0, dtype=np.int64)
        rater = np.concatenate([r for _, r in pairs]) if pairs else np.zeros(0, dtype=np.int64)

        def uniform(stream: int) -> np.ndarray:
            return keyed_uniform(seed, stream, keys[utterance], rater_keys[rater])

        reported = self.response.reshape(-1, len(self.classes))

        def answer(perceive: int, report: int) -> np.ndarray:
            perceived = _categorical(p[utterance], uniform(perceive))
            return _categorical(reported[rater * len(self.classes) + perceived], uniform(report))

        label = answer(_PERCEIVE, _REPORT)
        second = np.full(len(label), -1, dtype=np.int64)
        if self.second_label.any():
            another = answer(_PERCEIVE_SECOND, _REPORT_SECOND)
            wanted = (uniform(_WHETHER_SECOND) < self.second_label[rater]) & (another != label)
            second[wanted] = another[wanted]
        return SimulatedRatings(tuple(ids), self.names, self.classes, utterance, rater, label, second)

    def _checked(self, distributions: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        p = np.asarray(distributions, dtype=np.float64)
        if p.shape != (len(ids), len(self.classes)):
            raise ValueError(
                f"distributions: shape {p.shape} must be {(len(ids), len(self.classes))} for {self.classes}."
            )
        if len(set(ids)) != len(ids):
            raise ValueError("ids: every utterance must be named once, because equal ids would get equal ratings.")
        bad = ~(np.isfinite(p) & (p >= 0)).all(axis=1) | ~(np.abs(p.sum(axis=1) - 1.0) < 1e-4)
        if bad.any():
            i = int(np.argmax(bad))
            raise ValueError(
                f"distributions: {bad.sum()} rows do not sum to 1 or are not >= 0; first {ids[i]}: {p[i].tolist()}."
            )
        return p

    def _slices(self, n: int) -> list[slice]:
        step = max(1, _PAIRS_AT_ONCE // len(self.names))
        return [slice(i, min(i + step, n)) for i in range(0, n, step)]

    def _assign(
        self, keys: np.ndarray, rater_keys: np.ndarray, votes: np.ndarray, rows: slice, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give each utterance to the raters with the lowest keyed numbers."""
        number = keyed_uniform(seed, _ASSIGN, keys[rows, None], rater_keys[None, :])
        order = np.argsort(number, axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(order.shape[1])[None, :], axis=1)
        utterance, rater = np.nonzero(rank < votes[rows, None])
        return utterance + rows.start, rater


def kinship(classes: Sequence[str]) -> np.ndarray:
    """Compute how often classes are confused, (K, K), from `KINSHIP` (other pairs: 1); rows sum to 1, diagonal 0."""
    weights = np.array([[KINSHIP.get(frozenset({a, b}), 1.0) for b in classes] for a in classes])
    np.fill_diagonal(weights, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _beta(rng: np.random.Generator, mean: float, concentration: float = 20.0) -> float:
    if mean <= 0.0 or mean >= 1.0:
        return float(mean)
    return float(rng.beta(mean * concentration, (1.0 - mean) * concentration))


def _categorical(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Draw one class per row, (V,), by inverting the cumulative sum of (V, K); never a class of probability 0."""
    cumulative = np.cumsum(probabilities, axis=1)
    return (cumulative[:, :-1] <= (uniform * cumulative[:, -1])[:, None]).sum(axis=1)
