"""The study of corrected labels on the simulated corpus: votes of fewer raters, and a run of it from end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scripts import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("train_scripts/correction_curves.py")


def given(n_clips: int) -> list[list[dict]]:
    rng = np.random.default_rng(0)
    names = ["anger", "happiness", "sadness", "neutral"]
    return [[{"rater": f"r{i}", "labels": [str(rng.choice(names))]} for i in range(9)] for _ in range(n_clips)]


def test_fewer_raters_are_always_among_the_more(script):
    ratings = given(40)
    votes = {n: script._of_some(ratings, n, seed=3) * n for n in (1, 2, 3, 5, 9)}
    for n, counts in votes.items():
        np.testing.assert_allclose(counts.sum(axis=1), n)
        np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    for fewer, more in ((1, 2), (2, 3), (3, 5), (5, 9)):
        assert (votes[more] - votes[fewer] > -1e-9).all()
    classes = script._classes()
    whole = [np.bincount([classes.index(r["labels"][0]) for r in clip], minlength=4) for clip in ratings]
    np.testing.assert_allclose(votes[9], whole)
    assert np.abs(script._of_some(ratings, 1, seed=4) - votes[1]).max() == 1


@pytest.mark.parametrize(("option", "value"), [("--raters", "10"), ("--raters", "0"), ("--alphas", "1.5")])
def test_what_cannot_be_is_refused_in_one_line(script, tmp_path, capsys, option, value):
    assert script.main(["--out", str(tmp_path), option, value]) == 2
    said = capsys.readouterr().err
    assert value in said and "raters go from 1 to 9" in said and said.count("\n") == 1


@pytest.mark.slow
def test_a_small_run_of_it(script, tmp_path, capsys):
    size = ["--clips", "80", "--epochs", "2", "--seeds", "0", "--jobs", "1"]
    arguments = ["--out", str(tmp_path), "--raters", "1", "9", "--alphas", "0.3", *size]
    assert script.main(arguments) == 0
    said = capsys.readouterr().out
    cells = {path.stem: json.loads(path.read_text()) for path in tmp_path.rglob("raters-*.json")}
    assert set(cells) == {"raters-1_alpha-0.3", "raters-9_alpha-0.3"}
    for cell in cells.values():
        assert 0 < cell["smoothed_best"] <= cell["votes"] < 1 and cell["n"] > 10
    assert cells["raters-9_alpha-0.3"]["votes"] < cells["raters-1_alpha-0.3"]["votes"]
    assert (
        f"{cells['raters-1_alpha-0.3']['corrected']:.3f}" in said and (tmp_path / "curves.png").stat().st_size > 5000
    )
    # What is done is not done again.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("raters-*.json")}
    assert script.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("raters-*.json")} == before
