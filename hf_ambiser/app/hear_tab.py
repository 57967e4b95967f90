"""The tab on which a recording is made or uploaded, and heard by all models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from hf_ambiser.app.as_html import answer_card, note, problem, side_by_side
from hf_ambiser.app.hearing import Models
from hf_ambiser.app.waveform_figure import draw_heard
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording


# Where `page.js` writes; gradio changes only what Python gives it anew.
TOO_LARGE = '<div id="ambiser-too-large" class="ambiser-problem" role="alert" hidden></div>'


def hear_tab(models: Models) -> None:
    """Lay out the tab."""
    gr.HTML(
        note(f"Record or upload speech, up to {models.longest:g} s. Nothing leaves the machine that serves this page.")
    )
    recording = gr.Audio(
        sources=["upload", "microphone"], type="filepath", label="Recording", buttons=[], elem_id="recording"
    )
    gr.HTML(TOO_LARGE)
    wrong = gr.HTML(elem_id="hear-problem")
    answers = gr.HTML(elem_id="answers")
    picture = gr.Plot(visible=False, show_label=False, format="png", elem_id="timeline")

    order = next(iter(models.opened.values())).classes

    def hear(path: str | None) -> tuple[str, str, Any]:
        hidden = gr.Plot(value=None, visible=False)
        if path is None:
            return "", "", hidden
        file = Path(path)
        try:
            heard = models.hear(Recording(file.name, file))
        except NoAudio as error:
            return problem(f"{file.name}: {error}"), "", hidden
        cards = side_by_side([answer_card(name, answer, order) for name, answer in heard.answers.items()])
        return "", cards, gr.Plot(value=draw_heard(heard, order), visible=True)

    recording.change(hear, recording, [wrong, answers, picture], api_visibility="private")
