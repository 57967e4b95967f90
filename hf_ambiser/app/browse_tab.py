"""The tab on which a built data set is browsed: the raters' votes beside the models' answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from hf_ambiser.app.as_html import about, answer_card, note, problem, side_by_side, votes_card
from hf_ambiser.app.filters import ANY, BY_NAME, NO_CONSENSUS, ORDERS, Filter
from hf_ambiser.app.hearing import Models
from hf_ambiser.app.rated_set import RatedSet, RatedUtterance
from hf_ambiser.inference.no_audio import NoAudio


_MOST = 200  # rows of the table
_HEADERS = ("utterance", "speaker", "seconds", "votes", "consensus", "ambiguity", "disagreement")


def browse_tab(models: Models, rated: RatedSet) -> None:
    """Lay out the tab."""
    names = list(models.opened)

    def rows(*asked: Any) -> tuple[str, str, list[list[str]]]:
        least_ambiguity, greatest, label, disagreement, wanted, name = asked
        values = models.disagreements(rated, name)
        known = values if models.have_heard_all(rated, name) else None
        try:
            found = Filter(label, (least_ambiguity, greatest), disagreement, wanted).of(rated.utterances, known)
        except ValueError as error:
            return problem(str(error)), "", []
        more = f"; the first {_MOST} are listed" if len(found) > _MOST else ""
        said = note(
            f"{len(found)} of {len(rated.utterances)} utterances of {rated.name}{more}. Choose one in the table."
        )
        return "", said, [_row(one, values.get(one.id)) for one in found[:_MOST]]

    _, told, listed = rows(0.0, 1.0, ANY, 0.0, BY_NAME, names[0])
    with gr.Row():
        consensus = gr.Dropdown([ANY, *rated.classes, NO_CONSENSUS], value=ANY, label="Consensus label")
        low = gr.Slider(0, 1, 0, step=0.05, label="Least ambiguity of the votes")
        high = gr.Slider(0, 1, 1, step=0.05, label="Greatest ambiguity of the votes")
        least = gr.Slider(0, 1, 0, step=0.05, label="Least disagreement of model and raters (JS in bit)")
        order = gr.Dropdown(list(ORDERS), value=BY_NAME, label="Order", elem_id="order")
    with gr.Row():
        model = gr.Dropdown(names, value=names[0], label="Model whose disagreement is shown", visible=len(names) > 1)
        hear_all = gr.Button(f"Let this model hear all {len(rated.utterances)} utterances", elem_id="hear-all")
    wrong = gr.HTML(elem_id="browse-problem")
    count = gr.HTML(told, elem_id="count")
    table = gr.Dataframe(listed, headers=list(_HEADERS), datatype="str", interactive=False, elem_id="utterances")
    said = gr.HTML(elem_id="about")
    audio = gr.Audio(visible=False, interactive=False, label="Utterance", buttons=[], elem_id="utterance-audio")
    cards = gr.HTML(elem_id="beside")

    def hear(*asked: Any, progress: Any = gr.Progress()) -> tuple[str, str, list[list[str]]]:  # noqa: B008
        models.hear_all(rated, asked[-1], lambda done, n: progress((done, n), unit="utterances"))
        return rows(*asked)

    def choose(event: gr.SelectData) -> tuple[str, str, Any, str]:
        name = str((event.row_value or [""])[0])
        one = next((one for one in rated.utterances if one.id == name), None)
        hidden = gr.Audio(value=None, visible=False)
        if one is None:
            return problem(f"the data set has no utterance {name!r}."), "", hidden, ""
        try:
            sound = gr.Audio(value=rated.samples(one), visible=True)
        except NoAudio as error:
            return problem(f"{one.id}: {error}"), about(one), hidden, side_by_side([votes_card(one)])
        return "", about(one), sound, side_by_side([votes_card(one), *_answers(models, rated, one)])

    filters: Sequence[Any] = (low, high, consensus, least, order, model)
    shown = [wrong, count, table]
    for one in filters:
        one.change(rows, list(filters), shown, api_visibility="private", show_progress="hidden")
    hear_all.click(hear, list(filters), shown, api_visibility="private", show_progress_on=count)
    table.select(choose, None, [wrong, said, audio, cards], api_visibility="private")


def _answers(models: Models, rated: RatedSet, one: RatedUtterance) -> list[str]:
    return [answer_card(name, answer, rated.classes) for name, answer in models.of_utterance(rated, one).items()]


def _row(one: RatedUtterance, disagreement: float | None) -> list[str]:
    ambiguity = "" if one.ambiguity is None else f"{one.ambiguity:.2f}"
    apart = "" if disagreement is None else f"{disagreement:.3f}"
    votes = f"{sum(one.votes.values()):g}"
    return [one.id, one.speaker, f"{one.seconds:.1f}", votes, one.consensus or NO_CONSENSUS, ambiguity, apart]
