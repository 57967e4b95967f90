"""The page: its tabs, and how it looks. It needs gradio, so `serve` imports it only when a page is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from hf_ambiser.app.browse_tab import browse_tab
from hf_ambiser.app.hear_tab import hear_tab
from hf_ambiser.app.hearing import Models
from hf_ambiser.app.rated_set import RatedSet
from hf_ambiser.app.vote_tab import vote_tab
from hf_ambiser.app.voting import Voting


# Seconds: how often gradio looks for old uploads, and how old they are when it deletes them.
_CLEAN_EVERY, _OLD = 600, 3600


def make_page(models: Models, rated: RatedSet | None = None, voting: Voting | None = None) -> Any:
    """Make the page, which is not served yet.

    Args:
        models: They answer on all tabs.
        rated: The data set to browse; None: there is no such tab.
        voting: The votes on that data set; None: there is no such tab.
    """
    with gr.Blocks(title="hf_ambiser", analytics_enabled=False, delete_cache=(_CLEAN_EVERY, _OLD)) as page:
        gr.HTML("<h1>What would people hear?</h1>")
        with gr.Tabs():
            with gr.Tab("Hear"):
                hear_tab(models)
            if rated is not None:
                with gr.Tab("Browse"):
                    browse_tab(models, rated)
            if voting is not None:
                with gr.Tab("Vote"):
                    vote_tab(models, voting)
    return page


def look(most: int) -> dict[str, Any]:
    """Return how the page looks, and what its own script does, as arguments of `launch`.

    Fonts are those of the reader's machine.

    Args:
        most: Bytes of the largest file that it takes.
    """
    here = Path(__file__)
    theme = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("monospace",))
    words = (
        f"and this page takes at most {most / 1e6:.1f} MB. Cut it or save it as FLAC, answer for it with `hf-ambiser"
        " predict`, or start the page with a greater --longest"
    )
    script = here.with_name("page.js").read_text(encoding="utf-8")
    call = f"() => (\n{script})({most}, {json.dumps(words)})"
    return {"theme": theme, "css_paths": [here.with_name("page.css")], "js": call, "max_file_size": most}
