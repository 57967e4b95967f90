"""A run answers its whole test side, whatever its test splits are, so that all utterances with votes can be scored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import disable_progress_bars
from helpers.made_report import make_old
from helpers.made_run import built, fields

from hf_ambiser.cards import read_facts, write_card
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.predictions import read_predictions
from hf_ambiser.run_scores.held_out import WHOLE
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.held_out import answer_rest
from hf_ambiser.runs.run import prepare, run
from hf_ambiser.runs.scoring import load_for_scoring, predict_logits
from hf_ambiser.training.validation import softmax


pytestmark = pytest.mark.usefixtures("blank_figures")
torch.set_num_threads(1)
disable_progress_bars()
BASELINE = {"method": "hard_vote", "warmup_epochs": ..., "num_train_epochs": 1}
CONFIGS = ("ipr-strict", "ipr-paper", "slc-strict", "kfold3-strict")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("built"), n=120, configs=CONFIGS)


def arguments(dataset: Path, out: Path, **changes) -> RunArguments:
    return RunArguments.from_mapping(fields(dataset, out, **{**BASELINE, **changes}))


def ids_with_votes(dataset: Path, config: str, speakers: set[str]) -> dict[str, int]:
    """Every utterance with votes of these speakers, in whatever split it is -> its consensus label."""
    found = {}
    for split in read_dataset_info(dataset)["configs"][config]["splits"]:
        rows = load_split(dataset, config, split).select_columns(
            ["id", "speaker", "reference_votes", "reference_label"]
        )
        for row in rows:
            if row["speaker"] in speakers and sum(row["reference_votes"]) > 0:
                found[row["id"]] = row["reference_label"]
    return found


@pytest.mark.parametrize(
    "config,train,tests,rest",
    [
        ("ipr-strict", "d1", ["d3"], ["test_clear", "test_no_consensus"]),
        ("slc-strict", "clear", ["test_clear"], ["test"]),
        ("kfold3-strict-0", "train", ["test"], ["test_no_consensus"]),
    ],
)
def test_every_utterance_with_votes_of_the_held_out_speakers_is_answered(
    dataset, tmp_path, config, train, tests, rest
):
    splits = {"dataset_config": config, "train_splits": [train], "test_splits": tests, "ambiguous_splits": []}
    results = run(arguments(dataset, tmp_path, **splits))
    folder = RunFolder(tmp_path)
    assert list(results["scores"]) == tests == list(results["scored_clips_cut_at_max_seconds"])
    assert {path.stem for path in folder.predictions.iterdir()} == {*tests, *rest}
    facts = read_facts(tmp_path)
    table = facts.scored.predictions(facts.whole)
    expected = ids_with_votes(dataset, config, set(table["speaker"]))
    assert dict(zip(table["id"].tolist(), table["consensus"].tolist(), strict=True)) == expected
    without = sum(label < 0 for label in expected.values())
    scores = facts.scores[facts.whole]["all"]
    assert (scores["n"], scores["n_without_consensus"]) == (len(expected), without) and without > 0
    title = f"### {facts.whole}" + (f": {WHOLE}" if facts.whole in tests else "")
    assert title in folder.card.read_text()
    # The answers are the saved model's.
    for split in rest:
        model, extractor, data, _ = load_for_scoring(str(folder.model), dataset, config, split)
        ours = softmax(predict_logits(model, extractor, data, 16))
        read = read_predictions(folder.predictions_of(split))
        np.testing.assert_allclose(read["probabilities"], ours, atol=1e-5)
        np.testing.assert_array_equal(read["agreement"], data.agreement)


def test_a_split_that_holds_out_nobody_has_no_rest(dataset, tmp_path):
    splits = {"dataset_config": "ipr-paper", "test_splits": ["d3"]}
    results = run(arguments(dataset, tmp_path, **splits))
    assert results["held_out_splits"] == []
    assert [path.name for path in RunFolder(tmp_path).predictions.iterdir()] == ["d3.parquet"]
    assert read_facts(tmp_path).whole == "" and WHOLE not in RunFolder(tmp_path).card.read_text()


def test_other_names_and_parts_of_splits_are_not_taken_for_a_split(dataset, tmp_path):
    trainer, _ = prepare(arguments(dataset, tmp_path, dataset_config="ipr-strict"))
    d3, clear = (load_split(dataset, "ipr-strict", split) for split in ("d3", "test_clear"))
    folder = RunFolder(tmp_path)
    named = trainer.test_sets({"mine": d3, "test_clear": clear})
    assert answer_rest(trainer, named, folder) == ["test_clear", "mine", "test_no_consensus"]
    assert [path.stem for path in folder.predictions.iterdir()] == ["test_no_consensus"]
    part = trainer.test_sets({"some": d3.select(range(3)), "test_clear": clear})
    assert answer_rest(trainer, part, folder) == ["test_clear", "d3", "test_no_consensus"]
    assert sorted(path.stem for path in folder.predictions.iterdir()) == ["d3", "test_no_consensus"]
    taken = trainer.test_sets({"d3": d3.select(range(3)), "test_clear": clear})
    assert answer_rest(trainer, taken, folder) == []


def test_a_run_that_was_begun_before_goes_on(dataset, tmp_path):
    """What a run is asked for has not changed, so its folder is still its own."""
    given = arguments(dataset, tmp_path, dataset_config="ipr-strict", test_splits=["d3", "test_clear"])
    results = run(given)
    (tmp_path / "results.json").unlink()
    RunFolder(tmp_path).predictions_of("test_no_consensus").unlink()
    assert run(given)["held_out_splits"] == results["held_out_splits"]
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["held_out_splits"] == ["test_clear", "d3", "test_no_consensus"]


def test_a_card_of_an_old_run_has_the_figures_that_its_predictions_give(dataset, tmp_path):
    splits = {"dataset_config": "slc-strict", "train_splits": ["clear"], "test_splits": ["test"]}
    run(arguments(dataset, tmp_path / "new", **splits))
    new = RunFolder(tmp_path / "new").card.read_text()
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    make_old(tmp_path / "old")
    card, _ = write_card(tmp_path / "old")
    assert results_of(card.read_text()) == results_of(new) and "How many raters" in new
    assert f"### test: {WHOLE}\n" in new and "| | all | with consensus | clear | ambiguous |" in new
    shutil.rmtree(tmp_path / "old" / "predictions")
    text = results_of(write_card(tmp_path / "old")[0].read_text())
    assert "| AURC | - | - | - |" in text and "| panel ceiling: WA | - | - | - |" in text
    assert "its predictions are gone." in text and "How many raters" not in text and WHOLE not in text


def results_of(card: str) -> str:
    return card.split("## Results")[1].split("hf_ambiser:end results")[0]
