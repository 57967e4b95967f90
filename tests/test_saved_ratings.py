"""`train_scripts/saved_ratings.py`: votes are revealed one by one, and ratings are counted at equal JS."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.made_report import made_cell
from helpers.made_run import built
from helpers.scripts import load_script

from hf_ambiser.next_ratings.rated_votes import read_rated_votes


@pytest.fixture(scope="module")
def script():
    return load_script("train_scripts/saved_ratings.py")


def test_ratings_are_counted_where_the_curve_comes_down_to_a_level(script):
    curve = np.array([[1.0, 0.5], [2.0, 0.3], [3.0, 0.2], [4.0, 0.25]])
    assert script.needed(curve, 0.4) == pytest.approx(1.5)
    assert script.needed(curve, 0.2) == 3.0 and script.needed(curve, 0.6) == 1.0
    assert math.isnan(script.needed(curve, 0.1))


def test_each_vote_is_revealed_once_and_all_of_them_are_the_target(script):
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 4, size=(30, 3)).astype(float)
    votes[0], votes[1] = [0, 1, 0], [0, 0, 0]  # too few to hide any
    model = rng.dirichlet(np.ones(3), size=30)
    model[2] = np.nan
    hidden = script.shuffled(votes, model, seed=0)
    kept = [i for i in range(30) if votes[i].sum() >= 2 and i != 2]
    assert 0 not in kept and 1 not in kept and len(hidden.answers) == len(kept)
    for row, i in enumerate(kept):
        given = hidden.answers[row][hidden.answers[row] >= 0]
        assert np.bincount(given, minlength=3).tolist() == votes[i].tolist()
    # In the end all votes are there, and both labels are the target.
    asked = []

    def in_turn(known):
        asked.append(known.given.copy())
        return -known.given

    curves = script.reveal(hidden, in_turn, 0, until=20)
    for curve in curves.values():
        assert curve[0, 0] == 1.0 and curve[-1, 0] == pytest.approx(hidden.size.mean())
        assert curve[-1, 1] == pytest.approx(0.0, abs=1e-12) and (np.diff(curve[:, 0]) >= 0).all()
    assert all((given <= hidden.size).all() for given in asked)
    with pytest.raises(ValueError, match="fractions"):
        script.shuffled(votes / 2, model, seed=0)


def test_the_tables_of_a_simulation(script, capsys):
    words = ["--seeds", "0", "1", "--utterances", "60", "--levels", "2", "--answers", "5"]
    assert script.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| suggested |") for line in lines) == 2
    assert sum(line == "| random | 2.00 |" for line in lines) == 2
    counts = [int(cell) for cell in lines[-1].split("|")[1:6]]
    assert counts[0] == 5 and counts[1] + counts[3] == 80 and counts[2] == counts[4] == 0


def test_a_data_set_with_held_out_answers(script, tmp_path, capsys):
    dataset = built(tmp_path, n=40, configs=("slc-strict",))
    rated = read_rated_votes(dataset)
    clips = {"id": list(rated.ids), "speaker": list(rated.speakers), "votes": rated.votes}
    clips["consensus"] = rated.votes.argmax(axis=1)
    made_cell(tmp_path / "run", content=rated.content, clips={"test": clips})
    words = ["--dataset", str(dataset), "--held-out", str(tmp_path / "run"), "--seeds", "0", "--levels", "2"]
    assert script.main(words) == 0
    assert f"{len(rated.ids)} utterances of dataset, 5.0 votes each; 1 seeds." in capsys.readouterr().out
    for wrong in (words[:2], [*words[:-1], "1"], [*words, "--cleanlab"], [*words, "--noise", "0"]):
        assert script.main(wrong) == 2
        assert capsys.readouterr().err.startswith("saved_ratings.py: ")


def test_pairs_of_raters_in_order(script):
    quality = {"a": 0.1, "b": 0.5, "c": 0.5, "d": 0.9}
    assert script.pairs_in_order(quality, {"a", "b"}) == (2 + 1.5) / 4
    assert math.isnan(script.pairs_in_order(quality, set()))
