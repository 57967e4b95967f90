"""How many raters is a model worth? (Resnick et al. 2021, "Survey equivalence", arXiv 2106.01254)

The model's distribution is scored against the answer of one rater, held out. The same score is computed for what
n = 1, 2, ... other raters of the same utterance tell about that rater (`smoothed_shares`). The model is worth as many
raters as reach its score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.checks import Array, UndefinedMetric, check_distributions, check_votes
from hf_ambiser.metrics.distribution import KL_SMOOTHING
from hf_ambiser.metrics.raters import counts_of_two_votes
from hf_ambiser.metrics.smoothed_shares import pseudo_votes_of_other_speakers, raters_brier, raters_cross_entropy


# A number of raters n is stated only if this many utterances, and this share of those with two votes or more,
# have the n + 1 votes that it takes.
MIN_UTTERANCES = 30
MIN_SHARE = 0.5


@dataclass(frozen=True)
class RaterCount:
    """A number of raters, or the end of the curve that it lies beyond.

    Args:
        value: Raters. Where `bound` is not "=", the smallest or the largest n of the curve.
        bound: "=", or "<" for fewer than `value` raters, or ">" for more.
    """

    value: float
    bound: str

    def __str__(self) -> str:
        """As a reader sees it: `7.2`, `< 1` or `> 8`."""
        return f"{self.value:.1f}" if self.bound == "=" else f"{self.bound} {self.value:.0f}"


@dataclass(frozen=True)
class CurvePoint:
    """The raters' score and the model's over the utterances that have n + 1 votes or more.

    Args:
        n: The raters who are asked.
        n_utterances: Utterances with at least n + 1 votes; both scores are means over these.
        raters: Expected score of n raters against one more.
        model: Expected score of the model against one rater.
    """

    n: int
    n_utterances: int
    raters: float
    model: float


@dataclass(frozen=True)
class RaterEquivalence:
    """How many raters a model is worth, and the curve that says so.

    Args:
        score: "cross_entropy" (bits) or "brier" (0 to 2); lower is better in both.
        worth: The number of raters.
        low: Lower end of its percentile interval.
        high: Upper end.
        confidence: Level of the interval.
        curve: One point for each n from 1 to the largest that is stated.
        n_utterances: Utterances with two votes or more.
        n_too_few_votes: Utterances with fewer, which are left out.
        n_speakers: Speakers of the former; with few of them the interval is too narrow.
        pseudo_votes: Mean over utterances of the amount A of smoothing.
        n_resamples: Resamples that count.
        n_undefined: Resamples left out because some n had no utterance.
    """

    score: str
    worth: RaterCount
    low: RaterCount
    high: RaterCount
    confidence: float
    curve: tuple[CurvePoint, ...]
    n_utterances: int
    n_too_few_votes: int
    n_speakers: int
    pseudo_votes: float
    n_resamples: int
    n_undefined: int

    @property
    def interval(self) -> str:
        """As `[5.1, > 8]`."""
        return f"[{self.low}, {self.high}]"

    def __str__(self) -> str:
        """The worth with its interval: `7.2 [5.1, > 8]`."""
        return f"{self.worth} {self.interval}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "curve": [asdict(point) for point in self.curve]}


def model_cross_entropy(probabilities: Array, votes: Array) -> Array:
    """`(N,)` expected -log2 of what the model gives to one rater's answer, in bits: -sum_k v_k / V log2 q'_k.

    q' = (1 - s) q + s / K with s = `KL_SMOOTHING`, as `kl_divergence` has it: a probability that was rounded to 0
    would otherwise make the mean infinite.

    Args:
        probabilities: `(N, K)` rows that sum to 1.
        votes: `(N, K)` counts; every row needs a vote.
    """
    smoothed = (1 - KL_SMOOTHING) * probabilities + KL_SMOOTHING / probabilities.shape[1]
    return -(soft_labels(votes) * np.log2(smoothed)).sum(axis=1)


def model_brier(probabilities: Array, votes: Array) -> Array:
    """`(N,)` expected sum_k (q_k - [answer is k])^2 against one rater's answer: sum_k q_k^2 - 2 sum_k v_k / V q_k + 1.

    Unlike `brier_score`, which compares with the soft label, it includes how much the raters disagree.
    Args: as `model_cross_entropy`.
    """
    return (probabilities**2 - 2 * soft_labels(votes) * probabilities).sum(axis=1) + 1


Score = Callable[[Array, Array], Array]
RatersScore = Callable[[Array, Array, int], Array]
SCORES: dict[str, tuple[Score, RatersScore]] = {
    "cross_entropy": (model_cross_entropy, raters_cross_entropy),
    "brier": (model_brier, raters_brier),
}


def rater_equivalence(
    probabilities: Array,
    votes: Array,
    speakers: Array | Sequence[str],
    *,
    score: str = "cross_entropy",
    pseudo_votes: Array | None = None,
    min_utterances: int = MIN_UTTERANCES,
    min_share: float = MIN_SHARE,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> RaterEquivalence:
    """The number of raters who predict one more rater's answer as well as the model does.

    For n = 1, 2, ... let d(n) be the raters' mean score minus the model's, over the utterances with at least n + 1
    votes: both scores of a point are over the very same utterances. The worth is the first n with d(n) <= 0,
    interpolated linearly between d(n - 1) > 0 and d(n). It is never extrapolated: "< 1" if one rater is better than
    the model, "> n" if the largest n that is stated does not reach the model. The interval comes from drawing whole
    speakers with replacement; the smoothing and the n that are stated stay those of the utterances as they are. The
    ends are values that were drawn, not interpolated ones, because a draw may be "< 1" or "> n".

    Args:
        probabilities: `(N, K)` the model's distributions, rows that sum to 1.
        votes: `(N, K)` whole counts of anonymous raters. Utterances with fewer than two votes are left out.
        speakers: `(N,)` the speaker (or session) of each utterance.
        score: "cross_entropy" or "brier".
        pseudo_votes: `(K,)` the smoothing of the raters' shares, above 0, for example `fit_pseudo_votes` of training
            data. None: fitted for each speaker on the votes of all others.
        min_utterances: An n is stated only if at least this many utterances have n + 1 votes ...
        min_share: ... and at least this share of the utterances with two votes.
        n_resamples: Draws of speakers.
        seed: Of the draws.
        confidence: Level of the interval, in (0, 1).

    Raises:
        ValueError: Shapes or values that do not fit; the message says which.
        UndefinedMetric: No utterance; fractional votes; fewer than two classes; no or too few utterances with two
            votes; fewer than two speakers; no resample on which every n has an utterance.
    """
    q, votes, names = check_distributions(probabilities, "probabilities"), check_votes(votes), np.asarray(speakers)
    _check(q, votes, names, score, min_utterances, min_share, n_resamples, confidence)
    counts = counts_of_two_votes(votes)
    enough = np.rint(votes).sum(axis=1) >= 2
    names = names[enough]
    stated = _stated(counts, min_utterances, min_share)
    _, speaker = np.unique(names, return_inverse=True)
    n_speakers = int(speaker.max()) + 1
    if n_speakers < 2:
        raise UndefinedMetric(f"a bootstrap over speakers needs two speakers with votes, there is {n_speakers}")
    smoothing = _smoothing(pseudo_votes, counts, names)

    sums = _sums(q[enough], counts, smoothing, speaker, stated, score)
    n_utterances, raters, model = sums.sum(axis=1)
    curve = tuple(
        CurvePoint(n + 1, int(n_utterances[n]), float(raters[n] / n_utterances[n]), float(model[n] / n_utterances[n]))
        for n in range(stated)
    )
    worth = _crossing(((raters - model) / n_utterances)[None])[0]
    drawn = _drawn_worths(sums, n_resamples, seed)
    outside = int((1 - confidence) / 2 * len(drawn))  # draws beyond each end of the interval
    low, high = drawn[outside], drawn[len(drawn) - 1 - outside]
    return RaterEquivalence(
        score, _rater_count(worth, stated), _rater_count(low, stated), _rater_count(high, stated), confidence, curve,
        len(counts), int((~enough).sum()), n_speakers, float(smoothing.sum(axis=1).mean()),
        len(drawn), n_resamples - len(drawn),
    )  # fmt: skip


def _check(
    q: Array, votes: Array, names: Array, score: str, min_utterances: int, min_share: float, draws: int, level: float
) -> None:
    if votes.shape != q.shape:
        raise ValueError(f"votes have shape {votes.shape} and probabilities {q.shape}; they must agree.")
    if names.shape != (len(q),):
        raise ValueError(f"speakers have shape {names.shape}; with {len(q)} utterances it must be ({len(q)},).")
    if score not in SCORES:
        raise ValueError(f"score is {score!r}; allowed are {', '.join(SCORES)}.")
    if min_utterances < 1:
        raise ValueError(f"min_utterances is {min_utterances}; allowed is 1 or more.")
    if not 0 <= min_share <= 1:
        raise ValueError(f"min_share is {min_share}; allowed is 0..1, a share of the utterances with two votes.")
    if draws < 1:
        raise ValueError(f"n_resamples is {draws}; allowed is 1 or more.")
    if not 0 < level < 1:
        raise ValueError(f"confidence is {level}; allowed is 0 < confidence < 1.")
    if q.shape[1] < 2:
        raise UndefinedMetric("there is one class only, so every answer is known beforehand")


def _stated(counts: Array, min_utterances: int, min_share: float) -> int:
    """The largest n for which enough utterances have n + 1 votes."""
    total = counts.sum(axis=1)
    needed = max(min_utterances, min_share * len(counts))
    n = 0
    while (total > n + 1).sum() >= needed:
        n += 1
    if n == 0:
        raise UndefinedMetric(f"{len(counts)} utterances have two votes, and {min_utterances} are needed")
    return n


def _smoothing(pseudo_votes: Array | None, counts: Array, names: Array) -> Array:
    if pseudo_votes is None:
        return pseudo_votes_of_other_speakers(counts, names)
    given = np.asarray(pseudo_votes, dtype=np.float64)
    n_classes = counts.shape[1]
    if given.shape != (n_classes,) or not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(
            f"pseudo_votes is {given.tolist()}; allowed are {n_classes} finite numbers above 0, one per class "
            "(`fit_pseudo_votes` of training votes)."
        )
    return np.broadcast_to(given, counts.shape)


def _sums(q: Array, counts: Array, smoothing: Array, speaker: Array, stated: int, score: str) -> Array:
    """`(3, S, n)` per speaker and n: utterances with n + 1 votes, the raters' summed score and the model's."""
    of_model, of_raters = SCORES[score]
    model, total, n_speakers = of_model(q, counts), counts.sum(axis=1), int(speaker.max()) + 1
    sums = np.zeros((3, n_speakers, stated))
    for n in range(1, stated + 1):
        rows = np.flatnonzero(total > n)
        raters = of_raters(counts[rows], smoothing[rows], n)
        for part, values in enumerate((None, raters, model[rows])):
            sums[part, :, n - 1] = np.bincount(speaker[rows], weights=values, minlength=n_speakers)
    return sums


def _drawn_worths(sums: Array, n_resamples: int, seed: int) -> Array:
    """`(B,)` the worth of each draw of as many speakers as there are, sorted; draws without a value are left out."""
    n_speakers = sums.shape[1]
    times = np.random.default_rng(seed).multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=n_resamples)
    size, difference = times @ sums[0], times @ (sums[1] - sums[2])
    defined = (size > 0).all(axis=1)
    if not defined.any():
        raise UndefinedMetric(f"none of {n_resamples} draws of speakers has an utterance for every number of raters")
    return np.sort(_crossing(difference[defined] / size[defined]))


def _crossing(difference: Array) -> Array:
    """`(B,)` the first n at which each row of `(B, n)` differences is 0 or less; -inf before 1, inf if nowhere."""
    reached = difference <= 0
    row, first = np.arange(len(difference)), reached.argmax(axis=1)
    before, after = difference[row, np.maximum(first - 1, 0)], difference[row, first]
    inside = reached.any(axis=1) & (first > 0)
    value = np.where(after < 0, -np.inf, 1.0)  # the first point already reaches the model
    value[inside] = first[inside] + before[inside] / (before - after)[inside]
    value[~reached.any(axis=1)] = np.inf
    return value


def _rater_count(value: float, stated: int) -> RaterCount:
    if np.isfinite(value):
        return RaterCount(float(value), "=")
    return RaterCount(1.0, "<") if value < 0 else RaterCount(float(stated), ">")
