"""What figures share: written whole, the same bytes again, and the numbers that they show."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from hf_ambiser.cards.facts import read_facts
from hf_ambiser.cards.figures import draw_figures
from hf_ambiser.plotting.axes import new_axes
from hf_ambiser.plotting.confusion import draw_confusion, draw_shares
from hf_ambiser.plotting.figure import DPI, new_figure, save
from hf_ambiser.plotting.panels import DPI as PANEL_DPI
from hf_ambiser.plotting.panels import panels
from hf_ambiser.plotting.reliability import ReliabilityCurve, draw_reliability


CARDS = Path(__file__).parent.parent / "model_cards"
FAMILIES = sorted(path.parent.name for path in CARDS.glob("*/address.yaml"))


def one_panel():
    return new_figure((3, 3)).add_subplot()


def test_a_figure_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    figure, axes = new_axes("x", "y")
    axes.plot([0, 1], [0, 1])
    out = save(figure, tmp_path / "new" / "a.png")
    before = out.read_bytes()
    assert before.startswith(b"\x89PNG") and b"Software" not in before and b"atplotlib" not in before
    assert save(figure, out).read_bytes() == before  # nothing of the time or the process is in it

    def fail(stream, **options):
        Path(stream).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(KeyboardInterrupt):
        save(figure, out)
    assert out.read_bytes() == before


def test_a_figure_has_the_pixels_that_its_size_says(tmp_path):
    assert imread(save(new_axes("x", "y", (4, 3))[0], tmp_path / "a.png")).shape[:2] == (3 * DPI, 4 * DPI)
    figure, axes = panels(3, width=2, height=2, columns=2)
    assert len(axes) == 3 and figure.get_size_inches().tolist() == [4.4, 4.5]
    high, wide = imread(save(figure, tmp_path / "b.png")).shape[:2]
    assert (wide, high) == pytest.approx((4.4 * PANEL_DPI, 4.5 * PANEL_DPI), abs=1)


def test_a_confusion_matrix_shows_per_cent_of_each_row():
    axes = one_panel()
    draw_confusion(axes, np.array([[3, 1, 0], [0, 0, 0], [10, 10, 20]], float), ["a", "b", "c"], totals=True)
    shown = {(int(text.get_position()[1]), int(text.get_position()[0])): text for text in axes.texts}
    numbers = {place: text.get_text() for place, text in shown.items()}
    expected = {(0, 0): "75", (0, 1): "25", (0, 2): "0", (2, 0): "25", (2, 1): "25", (2, 2): "50"}
    assert numbers == expected  # a class without utterances has no numbers
    assert shown[0, 0].get_color() == "white" and shown[2, 2].get_color() == "black"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a (4)", "b (0)", "c (40)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]


def test_shares_are_of_one_and_give_the_image_of_a_colour_bar():
    image = draw_shares(one_panel(), np.array([[0.25, 0.75], [1, 0]]), ["a", "b"], ["c", "d"])
    assert image.get_array().tolist() == [[25, 75], [100, 0]] and image.get_clim() == (0, 100)


@pytest.mark.parametrize("by_size", [False, True])
def test_a_reliability_diagram_holds_the_diagonal_and_each_curve_with_bins(by_size):
    axes = one_panel()
    curves = [
        ReliabilityCurve("a", "red", np.array([0.3, 0.6]), np.array([0.2, 0.7]), np.array([10, 30])),
        ReliabilityCurve("none", "blue", *(np.zeros(0),) * 3),
    ]
    draw_reliability(axes, curves, "right answers", by_size)
    diagonal, line = axes.get_lines()
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert line.get_xydata().tolist() == [[0.3, 0.2], [0.6, 0.7]] and line.get_label() == "a"
    sizes = [marks.get_sizes().tolist() for marks in axes.collections]
    assert sizes == ([[90 / 4 + 6, 90 * 3 / 4 + 6]] if by_size else [])
    assert (axes.get_xlim(), axes.get_ylim(), axes.get_ylabel()) == ((0, 1), (0, 1), "right answers")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_recorded_figures_of_a_card_are_what_its_record_gives(family, tmp_path):
    """The same picture; another version of matplotlib may draw letters a little differently.

    After a change that is meant: `python model_cards/record.py <family>`.
    """
    for path in (CARDS / family / "run").rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(CARDS / family / "run")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    facts = read_facts(tmp_path)
    names = set(draw_figures(facts))
    assert names == {path.name for path in (CARDS / family / "figures").iterdir()}
    for name in names:
        now, then = imread(facts.files.figures / name), imread(CARDS / family / "figures" / name)
        assert now.shape == then.shape and np.abs(now - then).mean() < 0.003, name
