"""Votes and answers as HTML. Every text from a file, a model or a listener is escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from hf_ambiser.app.rated_set import RatedUtterance
from hf_ambiser.inference.answers import Answer
from hf_ambiser.plotting.colours import colour
from hf_ambiser.untrusted.printed import printable


def shown(text: str) -> str:
    """Escape a text; what cannot be printed, and what turns the direction of writing, becomes a replacement mark.

    `$` and braces are escaped, too, because gradio computes what stands in `${...}` and `{{...}}`.
    """
    return re.sub(r"[${}]", lambda mark: f"&#{ord(mark[0])};", escape(printable(text)))


def problem(text: str) -> str:
    """Return one line about what is wrong; nothing for no text."""
    return f'<p class="ambiser-problem" role="alert">{shown(" ".join(text.split()))}</p>' if text else ""


def note(text: str) -> str:
    """Return one line that is no problem."""
    return f'<p class="ambiser-note">{shown(" ".join(text.split()))}</p>' if text else ""


def side_by_side(cards: Sequence[str]) -> str:
    """Return cards in a row, which breaks on a narrow screen."""
    return f'<div class="ambiser-row">{"".join(cards)}</div>'


def answer_card(title: str, answer: Answer, classes: Sequence[str]) -> str:
    """Return what a model heard, with how ambiguous it is.

    Args:
        title: Name of the model.
        answer: Its answer.
        classes: The order of the rows and colours beside other cards; classes that are not among them come last.
    """
    if answer.distribution is None:
        return _card(title, f"no answer: {answer.status}. {answer.reason}", {})
    one = answer.distribution
    lead = "it abstains" if one.emotion is None else one.emotion
    shares = {name: one.probabilities[name] for name in in_order(one.probabilities, classes)}
    return _card(title, f"{lead}; ambiguity {one.ambiguity:.2f}", shares)


def in_order(names: Iterable[str], classes: Sequence[str]) -> list[str]:
    """Return names in the order of some classes, and those that are not among them after these."""
    names = list(names)
    return [name for name in classes if name in names] + [name for name in names if name not in classes]


def votes_card(utterance: RatedUtterance) -> str:
    """Return what the raters of a data set heard."""
    total = sum(utterance.votes.values())
    if utterance.shares is None:
        return _card("raters", "no vote", {})
    lead = utterance.consensus or "no consensus"
    said = f"{lead}; ambiguity {utterance.ambiguity:.2f}; {total:g} votes"
    return _card("raters", said, utterance.shares)


def counts_card(title: str, counts: Mapping[str, int], classes: Sequence[str]) -> str:
    """Return the votes of other listeners on this page."""
    total = sum(counts.values())
    if not total:
        return _card(title, "nobody else has voted yet", {})
    shares = {name: counts.get(name, 0) / total for name in classes}
    return _card(title, f"{total} vote{'' if total == 1 else 's'}", shares)


def about(utterance: RatedUtterance) -> str:
    """Return the name of an utterance and who speaks."""
    session = f", session {shown(utterance.session)}" if utterance.session else ""
    return (
        f'<p class="ambiser-note"><b>{shown(utterance.id)}</b>: speaker {shown(utterance.speaker)}{session},'
        f" {utterance.seconds:.1f} s</p>"
    )


def _card(title: str, said: str, shares: Mapping[str, float]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{shown(name)}</th><td><div class="ambiser-bar"><div style="width:{100 * share:.1f}%;'
        f'background:{colour(i)}"></div></div></td><td class="ambiser-percent">{100 * share:.0f} %</td></tr>'
        for i, (name, share) in enumerate(shares.items())
    )
    table = f"<table>{rows}</table>" if rows else ""
    return f'<section class="ambiser-card"><h3>{shown(title)}</h3><p>{shown(said)}</p>{table}</section>'
