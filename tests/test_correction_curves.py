"""The study of corrected labels on the simulated corpus: votes of fewer raters, and a run of it from end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.made_run import built
from helpers.scripts import load_script

from hf_ambiser.labels.policies import get_policy


POLICY = get_policy("simulated-4")


@pytest.fixture(scope="module")
def script():
    return load_script("train_scripts/correction_curves.py")


def given(n_clips: int) -> list[list[dict]]:
    rng = np.random.default_rng(0)
    names = ["anger", "happiness", "sadness", "neutral"]
    return [[{"rater": f"r{i}", "labels": [str(rng.choice(names))]} for i in range(9)] for _ in range(n_clips)]


def test_fewer_raters_are_always_among_the_more(script):
    ratings = given(40)
    votes = {n: script._of_some(ratings, n, 3, POLICY) * n for n in (1, 2, 3, 5, 9)}
    for n, counts in votes.items():
        np.testing.assert_allclose(counts.sum(axis=1), n)
        np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    for fewer, more in ((1, 2), (2, 3), (3, 5), (5, 9)):
        assert (votes[more] - votes[fewer] > -1e-9).all()
    classes = POLICY.classes
    whole = [np.bincount([classes.index(r["labels"][0]) for r in clip], minlength=4) for clip in ratings]
    np.testing.assert_allclose(votes[9], whole)
    assert np.abs(script._of_some(ratings, 1, 4, POLICY) - votes[1]).max() == 1


def test_raters_held_out_are_never_among_those_kept_and_only_votes_for_the_classes_count(script):
    ratings = given(40)
    whole = script._of_some(ratings, 9, 3, POLICY) * 9
    kept, held_out = script._of_some(ratings, 6, 3, POLICY) * 6, script._of_some(ratings, -3, 3, POLICY) * 3
    np.testing.assert_allclose(kept + held_out, whole, atol=1e-9)
    policy = get_policy("crema-d-4")
    assert [policy.class_map[name] for name in ("disgust", "anger")] == [None, "anger"]
    clip = [{"labels": [name]} for name in ("disgust", "anger", "disgust", "sadness")]
    assert [given["labels"] for given in script._counted(clip, policy)] == [["anger"], ["sadness"]]
    assert script._of_some([clip], 2, 0, policy).sum() == pytest.approx(1)


def test_the_squared_distance_to_other_raters_ranks_labels_as_the_one_to_the_truth_does(script):
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(4), size=20000)
    others = np.stack([rng.multinomial(3, p) for p in truth]) / 3
    labels = [truth, 0.7 * truth + 0.3 / 4, np.full_like(truth, 0.25)]
    to_truth, to_others = ([script._squared(to, label) for label in labels] for to in (truth, others))
    np.testing.assert_allclose(np.diff(to_others), np.diff(to_truth), atol=5e-3)


@pytest.mark.slow
def test_a_small_run_on_a_built_data_set(script, tmp_path, capsys):
    dataset = built(tmp_path, n=120, configs=("slc-strict",))
    arguments = ["--dataset", str(dataset), "--raters", "1", "2", "--alphas", "0.3", "--epochs", "2", "--seeds", "0"]
    assert script.main(["--out", str(tmp_path / "out"), *arguments]) == 0
    said = capsys.readouterr().out
    assert "with at least 5 votes" in said and "squared distance to 3 other raters" in said
    cells = [json.loads(path.read_text()) for path in tmp_path.rglob("raters-*.json")]
    assert len(cells) == 2 and all(0 < cell["smoothed_best"] <= cell["votes"] for cell in cells)


def test_a_data_set_that_is_none_is_refused_in_one_line(script, tmp_path, capsys):
    assert script.main(["--out", str(tmp_path), "--dataset", str(tmp_path / "no")]) == 2
    assert "not a built data set" in (said := capsys.readouterr().err) and said.count("\n") == 1


@pytest.mark.parametrize(("option", "value"), [("--raters", "10"), ("--raters", "0"), ("--alphas", "1.5")])
def test_what_cannot_be_is_refused_in_one_line(script, tmp_path, capsys, option, value):
    assert script.main(["--out", str(tmp_path), option, value]) == 2
    said = capsys.readouterr().err
    assert value in said and "raters go from 1 to 9" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["--held-out", "2"], ["--dataset-config", "x"], ["--dataset", "d", "--utterances", "5"]]
)
def test_what_is_of_the_other_kind_of_corpus_is_refused(script, tmp_path, capsys, words):
    with pytest.raises(SystemExit):
        script.main(["--out", str(tmp_path), *words])
    assert "simulated corp" in capsys.readouterr().err


def test_cells_of_another_recipe_are_not_taken_for_these(script, tmp_path):
    places = [script.Study(tmp_path, {"num_train_epochs": 2, "rate": rate}, 80, None, "c", 9, 3) for rate in (1, 2)]
    assert len({one.result(0, 1, 0.3) for one in places}) == len({one.place(0) for one in places}) == 2


@pytest.mark.slow
def test_a_small_run_of_it(script, tmp_path, capsys):
    size = ["--utterances", "80", "--epochs", "2", "--seeds", "0", "--jobs", "1"]
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
