"""A picture of an answer: the distribution of a recording, and below that of a long one its windows over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.inference.answers import Answer
from hf_ambiser.plotting.colours import NONE, colour
from hf_ambiser.plotting.figure import new_figure, save
from hf_ambiser.plotting.panels import grid, literal
from hf_ambiser.untrusted.printed import printable


def draw_answers(folder: Path, answers: Sequence[Answer], classes: Sequence[str]) -> list[Path]:
    """Draw every answered recording into a folder, as `<number>.png` by its place among the answers, from 1 on.

    Args:
        folder: It is made if it is not there.
        answers: One for each recording.
        classes: The K classes of the model; the order of the colours.

    Returns:
        The files that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(answers)))
    return [
        save(_figure(answer, classes), folder / f"{number:0{digits}d}.png")
        for number, answer in enumerate(answers, 1)
        if answer.has_answer
    ]


def _figure(answer: Answer, classes: Sequence[str]) -> Any:
    long = len(answer.windows) > 1
    figure = new_figure((8.0, 5.0 if long else 2.6))
    bars, *below = np.ravel(figure.subplots(2 if long else 1, 1, squeeze=False)).tolist()
    values = [(answer.probabilities or {})[name] for name in classes]
    bars.barh([literal(name) for name in classes], values, color=[colour(i) for i in range(len(classes))])
    bars.invert_yaxis()
    bars.set_xlim(0, 1)
    bars.set_xlabel("probability")
    bars.set_title(f"{literal(_end(answer.recording))}: {literal(answer.emotion or answer.status)}", fontsize=9)
    grid(bars)
    if long:
        draw_timeline(below[0], answer, classes)
    return figure


def draw_timeline(axes: Any, answer: Answer, classes: Sequence[str]) -> None:
    """Draw the distributions of the windows over each other; what has no answer is grey.

    Each window is drawn up to where the next one begins, because windows overlap.
    """
    edges = [window.start for window in answer.windows] + [answer.windows[-1].end]
    widths = np.diff(edges)
    bottom = np.zeros(len(answer.windows))
    for i, name in enumerate(classes):
        heights = np.array([(window.probabilities or {}).get(name, 0.0) for window in answer.windows])
        axes.bar(edges[:-1], heights, widths, bottom, align="edge", color=colour(i), label=literal(name))
        bottom += heights
    silent = np.array([window.distribution is None for window in answer.windows])
    if silent.any():
        axes.bar(np.array(edges[:-1])[silent], 1.0, widths[silent], align="edge", color=NONE, label="no speech")
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(0, 1)
    axes.set_xlabel("time in s")
    axes.set_ylabel("probability")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)


def _end(name: str) -> str:
    """The end of a long name, which says more than its beginning."""
    clean = printable(name)
    return clean if len(clean) <= 70 else f"...{clean[-67:]}"
