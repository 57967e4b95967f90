"""Suggest the utterances whose next rating tells most, and say which raters' answers look wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ambiser.next_ratings.belief import Belief, fit_belief
from hf_ambiser.next_ratings.model_answers import ModelAnswers, hear, held_out_answers
from hf_ambiser.next_ratings.rated_votes import RatedVotes, read_rated_votes
from hf_ambiser.next_ratings.rater_evidence import CONFIDENCE, LOOKS_WRONG, RaterEvidence, rater_evidence


if TYPE_CHECKING:
    from hf_ambiser.inference.model_door import OpenedModel


@dataclass(frozen=True)
class Suggestion:
    """An utterance to rate next.

    Args:
        rank: From 1; the utterance with the highest gain comes first.
        id: Its name.
        speaker: Who speaks.
        gain: Bits that one more vote tells about the vote after it (`belief`).
        n_votes: Votes for the classes.
        votes: Class -> votes; fractions if the policy divides a rating with several labels.
        model: Class -> the model's answer; None if it has none.
        expected: Class -> probability that the next vote is for it.
        model_share: The model's part in `expected`, from 0 to 1; the votes have the rest.
    """

    rank: int
    id: str
    speaker: str
    gain: float
    n_votes: float
    votes: dict[str, float]
    model: dict[str, float] | None
    expected: dict[str, float]
    model_share: float

    @property
    def reason(self) -> str:
        """Why it is suggested: what the votes say, what the model says, and what the next vote may be."""
        given = {name: n for name, n in self.votes.items() if n > 0}
        told = ", ".join(f"{name} {n:g}" for name, n in sorted(given.items(), key=lambda item: -item[1]))
        votes = f"votes: {told}" if told else "no votes"
        if self.model is None:
            return f"{votes}; no answer of the model; next vote: {_leading(self.expected)}"
        first = max(self.model, key=lambda name: self.model[name])  # type: ignore[index]
        differs = bool(given) and given.get(first, 0.0) < max(given.values())
        relation = f"contradict the model ({_leading(self.model)})" if differs else f"model: {_leading(self.model)}"
        return f"{votes}{' ' if differs else '; '}{relation}; next vote: {_leading(self.expected)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of the fields, with the reason."""
        return {**asdict(self), "reason": self.reason}


@dataclass(frozen=True)
class Suggestions:
    """What `suggest` returns.

    Args:
        classes: The K classes of the data set.
        utterances: The utterances to rate next, the one with the highest gain first.
        raters: Every rater with a name, who looks worst first.
        n_utterances: Utterances of the data set.
        model_share: Mean over these utterances of the model's part in what the next vote is expected to be.
        source: Where the model's answers come from.
        notes: What the user should know, in sentences.
    """

    classes: tuple[str, ...]
    utterances: tuple[Suggestion, ...]
    raters: tuple[RaterEvidence, ...]
    n_utterances: int
    model_share: float
    source: str
    notes: tuple[str, ...]

    @property
    def look_wrong(self) -> tuple[RaterEvidence, ...]:
        """The raters whose answers look wrong."""
        return tuple(one for one in self.raters if one.verdict == LOOKS_WRONG)


def suggest(
    dataset: str | Path,
    model: str | Path | OpenedModel | Sequence[str | Path] | None = None,
    n: int = 100,
    *,
    held_out: str | Path | None = None,
    confidence: float = CONFIDENCE,
    batch_size: int = 16,
    device: str = "auto",
    progress: bool = True,
) -> Suggestions:
    """Suggest which utterances of a built data set to rate next, and measure its raters.

    A vote of a rater with a name counts as much as the upper end of the interval of that rater's reliability. So in
    doubt it counts nearly in full. A rater without a name counts in full.

    Args:
        dataset: Folder that `build()` made, or the name of a data set on the Hub.
        model: As for `predict`. Its answers look better than they are on utterances that it has learnt from.
        n: How many utterances to suggest.
        held_out: Folder with finished runs of one system on this data set, such as the cells of a cross-validation;
            their stored answers to their test splits are taken, and no model is opened.
        confidence: Level of the raters' intervals, for all raters together.
        batch_size: Windows that the model answers together.
        device: As for `open_model`.
        progress: Whether a progress bar is shown on standard error.

    Raises:
        FileNotFoundError: If `dataset` is no built data set.
        ValueError: If an argument is out of range, model and `held_out` are both given, or the model lacks a class.
            As a FileError, if a stored file cannot be used.
    """
    if n < 1:
        raise ValueError(f"n is {n}; allowed: a whole number of at least 1.")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; allowed: a whole number of at least 1.")
    if model is not None and held_out is not None:
        given = model if isinstance(model, list | tuple) else [model]
        named = " and ".join(str(getattr(one, "name", one)) for one in given)
        raise ValueError(f"model {named} and held_out {held_out} are both given; allowed is one of the two.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed: above 0 and below 1.")
    rated = read_rated_votes(dataset)
    if held_out is not None:
        answers = held_out_answers(held_out, rated)
    else:
        from hf_ambiser.inference.model_door import OpenedModel, open_model

        opened = model if isinstance(model, OpenedModel) else open_model(model, device)
        answers = hear(dataset, rated, opened, batch_size=batch_size, progress=progress)
    return suggestions(rated, answers, n, confidence)


def measure_raters(dataset: str | Path, confidence: float = CONFIDENCE) -> list[RaterEvidence]:
    """Measure the raters of a built data set by its votes alone; no model is opened. Who looks worst comes first.

    Args:
        dataset: Folder that `build()` made, or the name of a data set on the Hub.
        confidence: Level of the raters' intervals, for all raters together.

    Raises:
        FileNotFoundError: If `dataset` is no built data set.
        ValueError: If `confidence` is out of range, or no rating names its rater.
    """
    found = rater_evidence(read_rated_votes(dataset), confidence)
    if not found:
        raise ValueError(
            f"{dataset}: no rating names its rater, so there is no rater to measure. Call suggest() (leave --raters"
            " out), which needs no names, or build from ratings with names."
        )
    return found


def suggestions(rated: RatedVotes, answers: ModelAnswers, n: int, confidence: float = CONFIDENCE) -> Suggestions:
    """Rank the utterances and measure the raters; `suggest` reads both from files.

    Args:
        rated: The votes.
        answers: The model's answers to the same utterances.
        n: How many utterances to suggest.
        confidence: Level of the raters' intervals.
    """
    raters = rater_evidence(rated, confidence)
    belief = fit_belief(answers.probabilities, rated.weighted({one.rater: one.high for one in raters}))
    gain, model_share = belief.gain(), belief.model_share()
    order = np.argsort(-gain, kind="stable")[:n]  # equal gains in the order of the data set
    return Suggestions(
        classes=rated.classes,
        utterances=tuple(
            _suggestion(rank, row, rated, answers, belief, gain, model_share)
            for rank, row in enumerate(order.tolist(), 1)
        ),
        raters=tuple(raters),
        n_utterances=len(rated.ids),
        model_share=float(model_share.mean()),
        source=answers.source,
        notes=(*answers.notes, *_notes(rated, belief, f"{answers.source}: {100 * model_share.mean():.0f} %")),
    )


def _suggestion(
    rank: int,
    row: int,
    rated: RatedVotes,
    answers: ModelAnswers,
    belief: Belief,
    gain: np.ndarray,
    model_share: np.ndarray,
) -> Suggestion:
    said = answers.probabilities[row]
    return Suggestion(
        rank=rank,
        id=rated.ids[row],
        speaker=rated.speakers[row],
        gain=float(gain[row]),
        n_votes=float(rated.votes[row].sum()),
        votes=_by_class(rated, rated.votes[row]),
        model=None if np.isnan(said).any() else _by_class(rated, said),
        expected=_by_class(rated, belief.of_rows(np.array([row])).expected()[0]),
        model_share=float(model_share[row]),
    )


def _by_class(rated: RatedVotes, values: np.ndarray) -> dict[str, float]:
    return dict(zip(rated.classes, map(float, values), strict=True))


def _notes(rated: RatedVotes, belief: Belief, share_of_model: str) -> list[str]:
    notes = []
    if rated.n_unknown:
        notes.append(f"who gave the votes of {rated.n_unknown} utterances is not stored; these votes count in full")
    if not (rated.votes.sum(axis=1) > 1).any():
        notes.append("no utterance has two votes, so nothing tells how far to trust the model")
    if belief.share_of_classes > 0.5:
        notes.append("the model's answers tell next to nothing about these votes; the votes alone decide")
    else:
        notes.insert(0, f"{share_of_model} of what the next vote may be comes from it")
    return notes


def _leading(shares: dict[str, float]) -> str:
    """The classes with the largest shares, until they have three quarters, at most three."""
    told, total = [], 0.0
    for name, share in sorted(shares.items(), key=lambda item: -item[1])[:3]:
        told.append(f"{name} {100 * share:.0f} %")
        total += share
        if total >= 0.75:
            break
    return ", ".join(told)
