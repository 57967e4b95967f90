"""How reliable each rater is, measured by the other raters alone, and how sure that is.

A rater r with the reliability rho answers an utterance as its other raters do, with probability rho, and otherwise
says what r says anyway, whatever is heard. For each answer y_j of r to an utterance that at least two others rated,

    P(y_j | rho) = rho q_j(y_j) + (1 - rho) s_j(y_j),

where q_j is the distribution that the votes of the *others* lead to (`belief`, without a model), and s_j are the
shares of r's own answers to other utterances. Utterances on which people divide have a broad q_j and tell little about
r; to contradict people who agree tells much. So who hears ambiguous speech in their own way is not accused of it, and
who always says "neutral" gets rho near 0, however often that is what the others say.

The posterior of rho starts from the uniform distribution. Its interval holds for all raters of the data set together
(Bonferroni), at 95 % unless told otherwise. Three answers hardly move a uniform distribution, so they accuse nobody.

Beside it stands what can be counted by hand: how often r agrees with another rater, how often r would by chance (with
the other raters of *other* utterances), and the same for two of the others, on the same utterances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_ambiser.next_ratings.belief import fit_belief
from hf_ambiser.next_ratings.rated_votes import RatedVotes


Array = np.ndarray
CONFIDENCE = 0.95
# A rater's answers look wrong if the whole interval of rho lies below this.
HALF = 0.5
LOOKS_WRONG, AS_OTHERS, UNDECIDED = "looks wrong", "as the others", "not enough to tell"
# The values of rho whose posterior is computed.
GRID = (np.arange(400) + 0.5) / 400


@dataclass(frozen=True)
class RaterEvidence:
    """What speaks for and against a rater.

    Args:
        rater: The name.
        n_answers: Utterances with an answer of this rater that counts.
        n_compared: Those among them that at least two others rated; all that follows is about these.
        reliability: Mean of the posterior of rho; 0.5 if nothing can be compared.
        low: Lower end of its interval.
        high: Upper end.
        confidence: Level of the interval, for all raters of the data set together.
        verdict: `LOOKS_WRONG` if `high` is below `HALF`, `AS_OTHERS` if `low` is above it, else `UNDECIDED`.
        agreement: How often another rater gives the same answer; None, like all that follows, if nothing can be
            compared.
        chance: How often the other raters of another utterance do; None also for a single answer.
        others: How often two of the others give the same answer.
        others_chance: How often two of the others do who rated different utterances.
        commonest: The answer that the rater gives most often.
        commonest_share: Its share.
        heard: Of all confusions the one that goes farthest beyond what the others do: what the others heard ...
        said: ... and what the rater said; both None if there is no such confusion.
        said_share: Share of `said` in this rater's answers where the others heard `heard`.
        said_share_of_others: The same share, of all other raters.
        n_heard: Number of these answers; an utterance counts by the share of the others who heard it so.
    """

    rater: str
    n_answers: int
    n_compared: int
    reliability: float
    low: float
    high: float
    confidence: float
    verdict: str
    agreement: float | None = None
    chance: float | None = None
    others: float | None = None
    others_chance: float | None = None
    commonest: str | None = None
    commonest_share: float | None = None
    heard: str | None = None
    said: str | None = None
    said_share: float | None = None
    said_share_of_others: float | None = None
    n_heard: float | None = None

    @property
    def reason(self) -> str:
        """The evidence in a sentence."""
        if self.agreement is None:
            return "no answer to an utterance that two others rated"
        text = (
            f"agrees with another rater in {_percent(self.agreement)} of {self.n_compared} answers{_by(self.chance)},"
            f" two others in {_percent(self.others)}{_by(self.others_chance)}"
        )
        if self.commonest_share is not None and self.commonest_share > 0.5:
            text += f"; says {self.commonest} in {_percent(self.commonest_share)}"
        if self.heard is not None:
            text += (
                f"; says {self.said} where others hear {self.heard} in {_percent(self.said_share)} of"
                f" {self.n_heard:.0f} (others {_percent(self.said_share_of_others)})"
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of the fields, with the reason."""
        return {**asdict(self), "reason": self.reason}


def rater_evidence(rated: RatedVotes, confidence: float = CONFIDENCE) -> list[RaterEvidence]:
    """Measure each rater who has a name against the others; who looks worst comes first.

    Args:
        rated: The ratings of a data set.
        confidence: Level of the intervals, for all raters together.

    Raises:
        ValueError: If the level is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed: above 0 and below 1.")
    if not rated.raters:
        return []
    compared = _Compared.of(rated)
    n_raters = len(rated.raters)
    counted = (rated.answers.sum(axis=1) > 0) & (rated.rater >= 0)
    n_answers = np.bincount(rated.rater[counted], minlength=n_raters)
    tail = (1 - confidence) / 2 / max(len(np.unique(compared.rater)), 1)
    total = compared.others.T @ compared.answer
    order = np.argsort(compared.rater, kind="stable")
    ends = np.searchsorted(compared.rater[order], np.arange(n_raters + 1))
    found = []
    for r, name in enumerate(rated.raters):
        rows = order[ends[r] : ends[r + 1]]
        posterior = reliability_posterior(compared.answer[rows], compared.expected[rows], compared.class_shares)
        cumulative = np.cumsum(posterior)
        low, high = (float(GRID[np.searchsorted(cumulative, p).clip(0, len(GRID) - 1)]) for p in (tail, 1 - tail))
        verdict = LOOKS_WRONG if high < HALF else AS_OTHERS if low > HALF else UNDECIDED
        about = (name, int(n_answers[r]), len(rows), float(posterior @ GRID), low, high, confidence, verdict)
        found.append(RaterEvidence(*about, **compared.counts(rows, total, rated.classes)))
    return sorted(found, key=lambda one: (one.high, one.reliability, one.rater))


def reliability_posterior(answers: Array, expected: Array, class_shares: Array) -> Array:
    """`(G,)` posterior probability of each value of rho in `GRID`.

    Args:
        answers: `(n, K)` y, rows sum to 1. An answer with several classes counts as its share of each.
        expected: `(n, K)` q.
        class_shares: `(K,)` shares of the classes among all votes. They count as one more answer of the rater, so that
            no class is impossible in s.
    """
    habit = (answers.sum(axis=0) - answers + class_shares) / len(answers) if len(answers) else answers
    log_posterior = np.zeros(len(GRID))
    for answer, q, s in zip(answers, expected, habit, strict=True):
        given = np.flatnonzero(answer)
        log_posterior += answer[given] @ np.log(np.outer(q[given], GRID) + np.outer(s[given], 1 - GRID))
    posterior = np.exp(log_posterior - log_posterior.max())
    return posterior / posterior.sum()


@dataclass(frozen=True)
class _Compared:
    """The answers that can be compared: of raters with names, on utterances with two other raters or more.

    Args:
        rater: `(J,)` who answered.
        answer: `(J, K)` y, rows sum to 1.
        others: `(J, K)` shares of the others' votes.
        expected: `(J, K)` q.
        pairs: `(J,)` how often two of the others gave the same answer.
        class_shares: `(K,)` shares of the classes among all votes.
    """

    rater: Array
    answer: Array
    others: Array
    expected: Array
    pairs: Array
    class_shares: Array

    @classmethod
    def of(cls, rated: RatedVotes) -> _Compared:
        n = len(rated.ids)
        own = rated.answers.sum(axis=1)
        votes, squares, sizes, raters = np.zeros_like(rated.votes), np.zeros(n), np.zeros(n), np.zeros(n)
        np.add.at(votes, rated.utterance, rated.answers)
        np.add.at(squares, rated.utterance, (rated.answers**2).sum(axis=1))
        np.add.at(sizes, rated.utterance, own**2)
        np.add.at(raters, rated.utterance, own > 0)
        rows = np.flatnonzero((rated.rater >= 0) & (own > 0) & (raters[rated.utterance] >= 3))
        u, y = rated.utterance[rows], rated.answers[rows]
        others = np.maximum(votes[u] - y, 0.0)
        amount = others.sum(axis=1)
        # Of all pairs of votes, those of one and the same rater do not count.
        same = (others**2).sum(axis=1) - (squares[u] - (y**2).sum(axis=1))
        pairs = same / (amount**2 - (sizes[u] - own[rows] ** 2))
        belief = fit_belief(np.full_like(votes, np.nan), votes)
        expected = belief.of_rows(u, others).expected() if len(u) else others
        y, others = y / own[rows][:, None], others / amount[:, None]
        return cls(rated.rater[rows], y, others, expected, pairs, belief.class_shares)

    def counts(self, rows: Array, total: Array, classes: Sequence[str]) -> dict[str, Any]:
        """The fields of `RaterEvidence` from `agreement` on, of the rater with these rows."""
        n = len(rows)
        if n == 0:
            return {}
        answer, others = self.answer[rows], self.others[rows]
        same, of_each, of_all = (answer * others).sum(axis=1), answer.sum(axis=0), others.sum(axis=0)
        pairs = max(n * (n - 1), 1)
        often = int(of_each.argmax())
        return {
            "agreement": float(same.mean()),
            "chance": None if n < 2 else float((of_each @ of_all - same.sum()) / pairs),
            "others": float(self.pairs[rows].mean()),
            "others_chance": None if n < 2 else float((of_all @ of_all - (others**2).sum()) / pairs),
            "commonest": classes[often],
            "commonest_share": float(answer[:, often].mean()),
            **_worst_confusion(others.T @ answer, total, classes),
        }


def _worst_confusion(own: Array, total: Array, classes: Sequence[str]) -> dict[str, Any]:
    """The confusion that a rater has most answers too many of, by what all other raters do.

    Args:
        own: `(K, K)` how often the rater said y (column) where the others heard t (row).
        total: `(K, K)` the same for all raters.
        classes: K names.
    """
    rest = total - own
    heard, heard_by_rest = own.sum(axis=1, keepdims=True), rest.sum(axis=1, keepdims=True)
    usual = np.divide(rest, heard_by_rest, out=np.zeros_like(rest), where=heard_by_rest > 1e-9)
    excess = np.where(np.eye(len(own), dtype=bool) | (heard_by_rest <= 1e-9), -np.inf, own - heard * usual)
    t, y = divmod(int(excess.argmax()), len(own))
    if not excess[t, y] > 1e-9:
        return {}
    return {
        "heard": classes[t],
        "said": classes[y],
        "said_share": float(own[t, y] / heard[t, 0]),
        "said_share_of_others": float(usual[t, y]),
        "n_heard": float(heard[t, 0]),
    }


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _by(chance: float | None) -> str:
    return "" if chance is None else f" (chance {_percent(chance)})"
