"""The kinds of ratings that a corpus has (CREMA-D's raters heard the voice, saw the face, or both), and their choice.

A label policy names the kinds that count, so they are part of its fingerprint. The default kind of a corpus is written
as "no kind named", also if somebody asks for it by name, because data sets had that fingerprint before there was a
choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.labels.policies import LabelPolicy


def rating_kinds(corpus: ModuleType) -> list[str]:
    """The kinds of ratings that a policy may choose from, the default one first; empty if there is no choice."""
    return list(getattr(corpus, "RATINGS", ()))


def with_known_ratings(policy: LabelPolicy, corpus: ModuleType) -> LabelPolicy:
    """Return the policy as it is used on this corpus: the default kind of ratings alone becomes `ratings=()`.

    Raises:
        ValueError: If the policy names a kind that the corpus does not have.
    """
    kinds = rating_kinds(corpus)
    unknown = [kind for kind in policy.ratings if kind not in kinds]
    if unknown:
        allowed = f"it has {kinds}" if kinds else "it has one kind only, so leave `ratings` out"
        raise ValueError(f"label policy {policy.name!r}: corpus {corpus.NAME} has no ratings {unknown}; {allowed}.")
    return policy.with_(ratings=()) if policy.ratings == tuple(kinds[:1]) else policy


def with_ratings(options: Mapping[str, Any], policy: LabelPolicy) -> dict[str, Any]:
    """Add the policy's kinds of ratings to the keyword arguments of a corpus' `scan`.

    Raises:
        ValueError: If `options` name ratings, which would not be part of the policy's fingerprint.
    """
    if "ratings" in options:
        raise ValueError(
            f"scan_options name ratings={options['ratings']!r}, but the label policy must say which ratings count, so"
            f" that its fingerprint does. Give policy=get_policy({policy.name!r}, ratings={options['ratings']!r})."
        )
    return {**options, "ratings": policy.ratings} if policy.ratings else dict(options)


def speech_of(corpus: ModuleType, ratings: Sequence[str] = ()) -> str:
    """Who speaks in a corpus and who rated it, for cards: its `SPEECH`, with the raters of these kinds."""
    return corpus.speech(ratings) if ratings else corpus.SPEECH


def describe_ratings(corpus: ModuleType | None, ratings: Sequence[str]) -> str:
    """Name the kinds of ratings that count, in one sentence of Markdown.

    Args:
        corpus: The corpus' module; None if this package does not know it.
        ratings: Names of kinds; at least one.
    """
    said = getattr(corpus, "RATINGS", {})
    kinds = [f"`{kind}` ({said[kind]})" if kind in said else f"`{kind}`" for kind in ratings]
    return f"Votes are the ratings of raters of the kind{'s' if len(kinds) > 1 else ''} {', '.join(kinds)}."


def counted_ratings(data: Mapping[str, Any]) -> list[str]:
    """The kinds of ratings that a run's votes are made of, from its `data.json`; empty if its corpus has one kind.

    A run whose policy names none has the default kind of its corpus.
    """
    named = list(data.get("ratings", ()))
    return named or (rating_kinds(load_corpus(data["corpus"]))[:1] if data["corpus"] in available_corpora() else [])
