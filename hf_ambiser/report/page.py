"""One page with the report's tables and figures, and utterances to listen to; it needs no other file or address."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

import numpy as np

from hf_ambiser.labels.votes import soft_labels
from hf_ambiser.metrics.display import COLUMNS
from hf_ambiser.plotting.colours import colour
from hf_ambiser.report.document import Section, contents, page_sections
from hf_ambiser.report.utterance_audio import MOST_BYTES, Audio
from hf_ambiser.report.utterances import FAR, MOST, MOST_SYSTEMS, MOVED, UtteranceCard


# A browser loads nothing from elsewhere, even if a name in the data tries to make it.
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(title: str, lead: str, sections: Sequence[Section], cards: Sequence[UtteranceCard], audio: Audio) -> str:
    """The page as text.

    Args:
        title: Title of the page.
        lead: A sentence below the title.
        sections: Tables and figures.
        cards: Utterances to look at and listen to.
        audio: The audio of those that can be played.
    """
    style, script = (
        resources.files("hf_ambiser.report").joinpath(f"page.{kind}").read_text() for kind in ("css", "js")
    )
    listen = _utterances(cards, audio)
    link = '<a class="l2" href="#utterances">Utterances to listen to</a>' if cards else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{html.escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<div class="frame">
<nav aria-label="Contents">
{contents(sections)}
{link}
</nav>
<main>
<h1>{html.escape(title)}</h1>
<p class="lead">{html.escape(lead)}</p>
{page_sections(sections)}
{listen}
</main>
</div>
<script>
{script}</script>
</body>
</html>
"""


def _utterances(cards: Sequence[UtteranceCard], audio: Audio) -> str:
    if not cards:
        return ""
    why = (
        f'<p class="warning">No player for some or all utterances: {html.escape(audio.why_not)}.</p>'
        if audio.why_not
        else ""
    )
    tools = [
        _select("kind", "What", [c.kind for c in cards]),
        _select("system", "System", [c.system for c in cards]),
        _select("votes", "Most votes", [c.classes[int(c.votes.argmax())] for c in cards]),
        '<label>Find id or speaker <input type="search" name="find"></label>',
        '<label>Order <select name="sort"><option value="distance">furthest first</option>'
        '<option value="id">id</option><option value="speaker">speaker</option></select></label>',
        f'<span id="shown" class="none">{len(cards)} utterances</span>',
    ]
    body = "\n".join(_card(card, audio) for card in cards)
    return f"""<h2 id="utterances">Utterances to listen to</h2>
<p>For each system this shows the training utterances whose labels moved furthest from the raters' votes
({html.escape(MOVED)}), and the test utterances whose answers are furthest from the votes ({html.escape(FAR)}).
Distance is the Jensen-Shannon divergence in bit. A label is the mean over the runs that gave one, an answer the mean
over the runs in which the utterance was held out. For an utterance that was never held out, the answer is the shares
of the model's answers in training, if its method keeps them. There are at most {MOST} utterances of each kind and
system, from {MOST_SYSTEMS} systems in each group of runs, and at most {MOST_BYTES / 1e6:.0f} MB of audio of each
group.</p>
{why}
<form class="bar-tools">{"".join(tools)}</form>
<div class="utterances">
{body}
</div>"""


def _select(name: str, title: str, values: Iterable[str]) -> str:
    options = "".join(f'<option value="{html.escape(v)}">{html.escape(v)}</option>' for v in dict.fromkeys(values))
    return f'<label>{title} <select name="{name}"><option value="">all</option>{options}</select></label>'


def _card(card: UtteranceCard, audio: Audio) -> str:
    heard = audio.utterances.get(card.id)
    speaker = card.speaker or (heard.speaker if heard else "")
    data = {
        "kind": card.kind,
        "system": card.system,
        "id": card.id,
        "speaker": speaker,
        "votes": card.classes[int(card.votes.argmax())],
        "distance": f"{card.distance:.6f}",
    }
    attributes = " ".join(f'data-{name}="{html.escape(value)}"' for name, value in data.items())
    about = [card.system, f"speaker {speaker}" if speaker else "speaker not known", f"{card.votes.sum():g} votes"]
    about += [f"{heard.seconds:.1f} s"] if heard else []
    about += [f"{card.runs} runs" if card.runs > 1 else "1 run"]
    shown = {"votes": soft_labels(card.votes[None])[0]}
    if card.label is not None:
        shown["corrected label"] = card.label
    if card.prediction is not None:
        shown["answer, held out" if card.held_out else "answer, training"] = card.prediction
    far, player = COLUMNS["js"].with_unit(card.distance), ""
    if heard:
        source = base64.b64encode(heard.data).decode()
        name = html.escape(f"utterance {card.id}")
        player = f'<audio controls preload="none" aria-label="{name}" src="data:audio/flac;base64,{source}"></audio>'
    return f"""<article class="utterance" {attributes}>
<h4>{html.escape(card.id)}</h4>
<p class="about">{html.escape(card.kind)} by {far} &middot; {html.escape(" · ".join(about))}</p>
{player}
{_bars(shown, card.classes)}
{_strip(card.over_epochs)}
</article>"""


def _bars(shown: Mapping[str, np.ndarray], classes: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in shown)
    rows = []
    for c, name in enumerate(classes):
        cells = "".join(_bar(float(values[c]), colour(c)) for values in shown.values())
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return f'<table class="bars"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _bar(share: float, ink: str) -> str:
    percent = f"{100 * share:.0f}"
    return f'<td><span class="track"><i style="width:{percent}%;background:{ink}"></i><b>{percent}</b></span></td>'


def _strip(over_epochs: np.ndarray | None) -> str:
    """The label after each epoch as one stacked bar an epoch; an epoch without a label has no bar."""
    if over_epochs is None:
        return ""
    bars = []
    for x, label in enumerate(over_epochs):
        top = 0.0
        for c, share in enumerate(label.tolist()):
            if share >= 0.005:
                at = f'x="{x}" y="{top:.3f}" width="1.02" height="{share:.3f}"'
                bars.append(f'<rect {at} fill="{colour(c)}"/>')
            top += share
    n = len(over_epochs)
    title = f'<p class="strip-title"><span>label after epoch 1</span><span>{n}</span></p>'
    words = f"label after each of {n} epochs"
    box = f'viewBox="0 0 {n} 1" preserveAspectRatio="none" role="img" aria-label="{words}"'
    return f'{title}<svg class="strip" {box}>{"".join(bars)}</svg>'
