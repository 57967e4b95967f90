"""The waveform of a recording, and below it what each model hears over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_ambiser.app.as_html import in_order
from hf_ambiser.app.hearing import Heard
from hf_ambiser.inference.timeline_figure import draw_timeline
from hf_ambiser.plotting.figure import new_figure
from hf_ambiser.plotting.panels import grid, literal


_POINTS = 1000  # of the waveform's outline, about as many as the figure has pixels
_HIGH = 2.0  # inches of a timeline


def draw_heard(heard: Heard, classes: Sequence[str]) -> Any:
    """Draw a recording; a model's timeline is there if the recording has more than one window.

    Args:
        heard: The recording and the answers.
        classes: The order of the colours; a model's other classes come last.

    Returns:
        A figure of matplotlib.
    """
    long = {name: answer for name, answer in heard.answers.items() if answer.has_answer and len(answer.windows) > 1}
    figure = new_figure((9.0, 1.5 + _HIGH * len(long)))
    ratios = {"height_ratios": [1.2, *[_HIGH] * len(long)]}
    first, *below = np.ravel(figure.subplots(1 + len(long), 1, squeeze=False, gridspec_kw=ratios)).tolist()
    _waveform(first, heard)
    for axes, (name, answer) in zip(below, long.items(), strict=True):
        draw_timeline(axes, answer, in_order(answer.probabilities or {}, classes))
        axes.set_xlim(0, heard.seconds)
        axes.set_title(literal(name), fontsize=9)
    return figure


def _waveform(axes: Any, heard: Heard) -> None:
    outline = heard.outline
    step = -(-len(outline) // _POINTS)
    starts = np.arange(0, len(outline), step)
    low, high = np.minimum.reduceat(outline[:, 0], starts), np.maximum.reduceat(outline[:, 1], starts)
    times = np.append(starts / len(outline) * heard.seconds, heard.seconds)
    axes.fill_between(times, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color="#444444")
    axes.set_xlim(0, heard.seconds)
    axes.set_xlabel("time in s")
    axes.set_ylabel("sample")
    grid(axes)
