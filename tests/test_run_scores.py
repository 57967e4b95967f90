"""Figures of a finished run that the run did not store, and the set of all test utterances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.made_report import CLASSES, made_cell, made_clips, made_whole, make_old

from hf_ambiser.data.splits import held_out_splits
from hf_ambiser.metrics import evaluate_predictions
from hf_ambiser.metrics.display import DISTRIBUTION_AND_SELECTION
from hf_ambiser.run_folder.columns import read_columns, write_columns
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.predictions import read_predictions
from hf_ambiser.run_scores.complete import LATER, NO_PREDICTIONS, NOT_THE_SAME, complete_runs
from hf_ambiser.run_scores.held_out import SCORED, WHOLE, HeldOut, held_out, name_of_sides, shared_held_out


def say_held_out(folder: Path, splits: list[str]) -> None:
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "held_out_splits": splits}))


def completed(folder: Path) -> tuple[FinishedRun, str]:
    (run,), name = complete_runs([FinishedRun.read(folder)])
    return run, name


def test_an_old_run_gets_the_figures_of_a_new_one_from_its_predictions(tmp_path):
    folder = made_cell(tmp_path / "run")
    new = json.loads((folder / "results.json").read_text())["scores"]
    make_old(folder)
    before = (folder / "results.json").read_bytes()
    run, _ = completed(folder)
    for split, parts in new.items():
        assert list(run.results["scores"][split]) == ["all", "clear", "ambiguous", "consensus"]
        for part, figures in parts.items():
            found = run.scores(split, part)
            assert found.keys() == figures.keys() and found["undefined"] == figures["undefined"]
            for name in LATER:
                assert found[name] == pytest.approx(figures[name], abs=1e-12), (split, part, name)
    assert (folder / "results.json").read_bytes() == before
    for name in DISTRIBUTION_AND_SELECTION:
        assert isinstance(run.figure("d3", name), float)


def test_a_new_run_is_left_as_it_is(tmp_path):
    folder = made_cell(tmp_path / "run")
    run, _ = completed(folder)
    stored = FinishedRun.read(folder).results["scores"]
    assert all(run.results["scores"][split] is not None for split in stored)
    assert {split: run.results["scores"][split] for split in stored} == stored


def test_without_predictions_a_figure_is_none_with_the_reason(tmp_path):
    folder = made_cell(tmp_path / "run")
    make_old(folder)
    for path in (folder / "predictions").iterdir():
        path.unlink()
    run, name = completed(folder)
    assert name == "" and run.splits == ["d3", "test_clear"] and "consensus" not in run.results["scores"]["d3"]
    for part in ("all", "clear", "ambiguous"):
        scores = run.scores("d3", part)
        assert [scores[figure] for figure in DISTRIBUTION_AND_SELECTION if figure in LATER].count(None) == len(
            DISTRIBUTION_AND_SELECTION
        )
        assert scores["panel_ceiling"] == {} and scores["undefined"]["aurc"] == NO_PREDICTIONS
    assert run.figure("d3", "wa") is not None


def test_parts_that_votes_alone_do_not_tell_are_not_guessed(tmp_path):
    """The data set's agreement may count votes for classes that are left out; then old predictions cannot tell."""
    clips = made_clips()
    folder = made_cell(tmp_path / "run", clips={"d3": clips})
    table = read_columns(folder / "predictions" / "d3.parquet")
    strict = np.where(np.arange(48) % 2, 0.5, clips["votes"].max(axis=1) / 5)
    answers = (table["probabilities"], clips["votes"], clips["consensus"], CLASSES)
    results = json.loads((folder / "results.json").read_text())
    results["scores"]["d3"] = evaluate_predictions(*answers, agreement=strict, threshold=2 / 3)
    (folder / "results.json").write_text(json.dumps(results))
    expected = results["scores"]["d3"]
    make_old(folder)
    run, _ = completed(folder)
    assert run.figure("d3", "aurc") == pytest.approx(expected["all"]["aurc"])
    for part in ("clear", "ambiguous"):
        assert run.figure("d3", "aurc", part) is None
        assert run.scores("d3", part)["undefined"]["aurc"] == NOT_THE_SAME
    # A run of today stores the agreement beside its answers.
    write_columns(folder / "predictions" / "d3.parquet", {**table, "agreement": strict})
    again, _ = completed(folder)
    for part in ("clear", "ambiguous", "consensus"):
        assert again.figure("d3", "aurc", part) == pytest.approx(expected[part]["aurc"])


# ---- the set of all test utterances --------------------------------------------------------------------------------


def test_which_splits_are_the_held_out_side():
    ipr, plain = (("test_clear", "d3", "test_no_consensus"),), (("test", "test_no_consensus"),)
    slc = (("test",), ("test_clear", "test_ambiguous"))
    for config, expected in {
        "ipr-strict": ipr, "ipr-paper": (), "ipr-paper-kfold5-0": ipr, "ipr-strict-loso-S1": ipr, "slc-paper": slc,
        "slc-strict-kfold5-1": slc, "kfold5-strict-0": plain, "loso-paper-S1": plain, "kfold5-strict": plain,
        "of another package": (),
    }.items():  # fmt: skip
        assert held_out_splits(config) == expected, config


def test_the_set_is_scored_from_the_predictions_of_its_splits(tmp_path):
    run, name = completed(made_whole(tmp_path / "run"))
    assert name == WHOLE and run.splits == [WHOLE, "test_clear", "d3"]
    tables = [
        read_predictions(tmp_path / "run" / "predictions" / f"{split}.parquet")
        for split in ("test_clear", "d3", "test_no_consensus")
    ]
    rows = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    agreement = np.array([max(row) / sum(row) for row in rows["votes"]])
    answers = (rows["probabilities"], rows["votes"], rows["consensus"], CLASSES)
    expected = evaluate_predictions(*answers, agreement=agreement, threshold=2 / 3)
    assert run.results["scores"][WHOLE] == expected
    assert run.scores(WHOLE)["n"] == 3 * 48 and run.scores(WHOLE, "consensus")["n_without_consensus"] == 0
    read = run.predictions(WHOLE)
    assert read["id"].tolist() == rows["id"].tolist() and run.has_predictions(WHOLE)
    np.testing.assert_array_equal(read["probabilities"], rows["probabilities"])


def test_an_utterance_in_two_splits_counts_once(tmp_path):
    clips = made_clips(part="d3")
    some = {key: values[:10] for key, values in clips.items()}
    folder = made_cell(tmp_path / "run", clips={"test_clear": some, "d3": clips})
    run, name = completed(folder)
    assert name == SCORED and run.scores(SCORED)["n"] == 48
    assert sorted(run.predictions(SCORED)["id"]) == sorted(clips["id"])


@pytest.mark.parametrize(
    "family,splits,stored,name,parts",
    [
        ("ipr-strict", ["d3", "test_clear"], None, SCORED, ("test_clear", "d3")),  # made before
        ("ipr-strict", ["d3", "test_clear"], ["test_clear", "d3"], WHOLE, ("test_clear", "d3")),  # nobody disagreed
        ("ipr-strict", ["d3"], None, "", ("d3",)),
        ("ipr-strict", ["d3", "test_clear"], [], "", ()),  # a part of a split was answered
        ("ipr-strict", ["d3", "test_clear"], ["test_clear", "d3", "gone"], SCORED, ("test_clear", "d3")),
        ("ipr-paper", ["d3"], None, "", ()),
        ("slc-strict", ["test", "test_clear"], None, "test", ("test",)),
        ("slc-strict", ["test_ambiguous", "test_clear"], None, WHOLE, ("test_clear", "test_ambiguous")),
        ("slc-strict", ["test_clear"], None, "", ("test_clear",)),
        ("kfold3-strict", ["test", "test_no_consensus"], None, WHOLE, ("test", "test_no_consensus")),
        ("kfold3-strict", ["test"], None, "", ("test",)),
        ("kfold3-strict", ["test"], ["test"], "test", ("test",)),
        ("another", ["test"], None, "", ()),
    ],
)
def test_what_is_known_of_the_held_out_side(tmp_path, family, splits, stored, name, parts):
    clips = {split: made_clips(part=split) for split in splits}
    made_cell(tmp_path, family=family, fold="0" if "kfold" in family else None, clips=clips)
    if stored is not None:
        say_held_out(tmp_path, stored)
    side = held_out(FinishedRun.read(tmp_path))
    assert (side.splits, side.name) == (parts, name)
    run, found = completed(tmp_path)
    assert found == name and (name in run.joined) == (name in (WHOLE, SCORED))


def test_systems_are_compared_on_what_all_runs_of_a_fold_have_answered(tmp_path):
    """A run made before and one of today: nothing but what both have answered is in their set."""
    new = made_whole(tmp_path / "new", system="new")
    old = made_cell(tmp_path / "old", "old", clips={part: made_clips(part=part) for part in ("d3", "test_clear")})
    runs, name = complete_runs([FinishedRun.read(new), FinishedRun.read(old)])
    assert name == SCORED
    assert [run.joined[SCORED] for run in runs] == [("test_clear", "d3")] * 2
    assert [run.scores(SCORED)["n"] for run in runs] == [96, 96]


def test_names_of_sets_over_folds():
    whole, one, some = HeldOut(("a", "b"), True), HeldOut(("a",), True), HeldOut(("a", "b"), False)
    none = HeldOut(("a",), False)
    assert shared_held_out([whole, some]) == whole
    assert shared_held_out([HeldOut(("a", "b", "c"), True), some]) == some
    assert name_of_sides([one, one]) == "a"
    assert name_of_sides([one, whole]) == WHOLE  # in one fold, nobody disagreed
    assert name_of_sides([whole, some]) == SCORED
    assert name_of_sides([whole, none]) == "" and none.name == ""
