"""The annotation mode: a listener votes first, and then sees what others and the models heard."""

from __future__ import annotations

from typing import Any

import gradio as gr

from hf_ambiser.app.as_html import about, answer_card, counts_card, note, problem, side_by_side, votes_card
from hf_ambiser.app.hearing import Models
from hf_ambiser.app.votes_file import LONGEST_NAME, rater_name
from hf_ambiser.app.voting import Voting
from hf_ambiser.inference.no_audio import NoAudio


def vote_tab(models: Models, voting: Voting) -> None:
    """Lay out the tab. Before a vote it shows no name of the utterance, for names may tell the emotion."""
    rated = voting.rated
    gr.HTML(
        note("Listen and vote first; then you see what others and the model heard. Your name stands at each vote.")
    )
    rater = gr.Textbox(label="Who votes (a name or a code)", max_length=LONGEST_NAME, elem_id="rater")
    following = gr.Button("Next utterance", elem_id="next")
    wrong = gr.HTML(elem_id="vote-problem")
    audio = gr.Audio(visible=False, interactive=False, label="Listen", buttons=[], elem_id="vote-audio")
    label = gr.Radio(list(rated.classes), label="What do you hear?", visible=False, elem_id="labels")
    cast = gr.Button("Vote", variant="primary", visible=False, elem_id="vote")
    revealed = gr.HTML(elem_id="revealed")
    place = gr.State(None)  # number of the utterance that waits for a vote
    skipped = gr.State([])
    everything = [wrong, audio, label, cast, revealed, place, skipped]

    def show(waits: int | None, passed: list[str], text: str = "", sound: Any = None, error: str = "") -> Any:
        there = waits is not None
        shown = gr.Audio(value=sound, visible=there), gr.Radio(value=None, visible=there), gr.Button(visible=there)
        return problem(error), *shown, note(text), waits, passed

    def take(name: str, waits: int | None, passed: list[str]) -> Any:
        try:
            if waits is not None and rater_name(name):
                passed = [*passed, rated.utterances[waits].id]
            one = voting.next_for(name, passed)
        except (ValueError, OSError) as error:
            return problem(str(error)), *[gr.skip()] * 6
        if one is None:
            return show(
                None, passed, f"No utterance is left: you have voted on all others, and passed over {len(passed)}."
            )
        try:
            return show(one.place, passed, sound=rated.samples(one))
        except NoAudio as error:
            return show(None, [*passed, one.id], error=f"{error}. Take the next utterance.")

    def vote(name: str, heard: str | None, one_place: int | None) -> Any:
        if one_place is None:
            return problem("take the next utterance first."), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        one = rated.utterances[one_place]
        try:
            voting.vote(name, one, heard)
            others = voting.others(one, name)
        except (ValueError, OSError) as error:
            return problem(str(error)), gr.skip(), gr.skip(), gr.skip(), one_place
        heard_by = models.of_utterance(rated, one)
        answers = [answer_card(model, answer, rated.classes) for model, answer in heard_by.items()]
        cards = [votes_card(one), counts_card("other listeners", others, rated.classes), *answers]
        told = note(f"You heard: {heard}. The vote is stored.") + about(one) + side_by_side(cards)
        return "", gr.Radio(visible=False), gr.Button(visible=False), told, None

    following.click(take, [rater, place, skipped], everything, api_visibility="private")
    cast.click(vote, [rater, label, place], [wrong, label, cast, revealed, place], api_visibility="private")
