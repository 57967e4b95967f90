"""What a run learns from where no splits are named: soft labels take utterances without a consensus label in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import disable_progress_bars
from helpers.made_ratings import LABELS, tone, write_csv
from helpers.made_run import built, fields

from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.data.ratings.from_ratings import build_from_ratings
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import prepare, run


disable_progress_bars()
CONFIGS = ("ipr-strict", "ipr-paper", "slc-strict", "slc-paper")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("data"), configs=CONFIGS)


def given(dataset: Path, out: Path, method: str = "soft_vote", **changes: Any) -> RunArguments:
    return RunArguments.from_mapping(
        fields(dataset, out, **{"method": method, "warmup_epochs": ..., "num_train_epochs": 1, **changes})
    )


def ids(dataset: Path, config: str, *splits: str) -> list[str]:
    return [one for split in splits for one in load_split(dataset, config, split)["id"]]


def test_soft_labels_take_utterances_without_consensus_in_and_hard_ones_do_not(dataset, tmp_path):
    trainer, _ = prepare(given(dataset, tmp_path))
    assert trainer.data.ids == ids(dataset, "ipr-strict", "d1", "no_consensus")
    assert ids(dataset, "ipr-strict", "no_consensus") and not trainer.data.left_out
    trainer, _ = prepare(given(dataset, tmp_path, "hard_vote"))
    assert trainer.data.ids == ids(dataset, "ipr-strict", "d1")
    trainer, _ = prepare(given(dataset, tmp_path, train_splits=["d1"]))
    assert trainer.data.ids == ids(dataset, "ipr-strict", "d1")


def test_the_choice_is_noted_and_a_run_of_an_earlier_version_keeps_its_own(dataset, tmp_path):
    results = run(given(dataset, tmp_path / "new"))
    assert results["data"]["train_splits"] == ["d1", "no_consensus"]
    noted = yaml.safe_load((tmp_path / "new" / "arguments.yaml").read_text())
    assert noted["train_splits"] == ["d1", "no_consensus"]
    assert run(given(dataset, tmp_path / "new")) == json.loads((tmp_path / "new" / "results.json").read_text())

    run(given(dataset, tmp_path / "old", train_splits=["d1"]))
    path = tmp_path / "old" / "arguments.yaml"
    before = yaml.safe_load(path.read_text())
    del before["train_splits"]
    path.write_text(yaml.safe_dump(before))
    (tmp_path / "old" / "results.json").unlink()
    shutil.rmtree(tmp_path / "old" / "model")
    again = run(given(dataset, tmp_path / "old"))  # the command that names no splits
    assert again["data"]["train_splits"] == ["d1"]
    run(given(dataset, tmp_path / "old", train_splits=["d1"]))  # and the config that names them now


@pytest.mark.parametrize("config", CONFIGS)
def test_train_on_all_takes_every_utterance_once(config, dataset, tmp_path):
    tests = {"ipr": ["d3"], "slc": ["test_clear"]}.get(config.split("-")[0], ["test"])
    trainer, _ = prepare(given(dataset, tmp_path, dataset_config=config, test_splits=tests, train_on="all"))
    every = {
        one for split in read_dataset_info(dataset)["configs"][config]["splits"] for one in ids(dataset, config, split)
    }
    assert sorted(trainer.data.ids) == sorted(every) and trainer.eval_dataset is None
    assert (trainer.data.observed.sum(axis=1) > 0).all()  # hidden labels are known, too


def test_a_model_of_everything_says_that_its_figures_are_on_voices_that_it_knows(dataset, tmp_path):
    results = run(given(dataset, tmp_path, train_on="all"))
    assert results["learnt_from"]["d3"] == results["scores"]["d3"]["all"]["n"]
    assert "trained on utterances that it is tested on" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"train_splits": ["d1"]}, "train_on='all' names all splits, and train_splits would name others"),
        ({"method": "ipr", "warmup_epochs": 1, "num_train_epochs": 2}, "'ipr' needs ambiguous ones without"),
        (
            {"load_best_model_at_end": True, "metric_for_best_model": "ua", "save_strategy": "epoch"},
            "leaves no utterance to choose the best epoch by",
        ),
    ],
)
def test_what_contradicts_train_on_all_is_refused(changes, words, dataset, tmp_path):
    with pytest.raises(ValueError, match=words):
        prepare(given(dataset, tmp_path, **{"train_on": "all", **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_splits": ["d1", "d1"]}, r"train_splits=\['d1', 'd1'\] names 'd1' twice; name it once"),
        ({"ambiguous_splits": ["d2", "d2"]}, r"ambiguous_splits=\['d2', 'd2'\] names 'd2' twice"),
        (
            {"ambiguous_splits": ["d2", "d1"]},
            r"train_splits=\['d1'\] and ambiguous_splits=\['d2', 'd1'\] both name 'd1'.*Leave it out of one",
        ),
        ({"ambiguous_splits": []}, "needs `ambiguous_splits`, for example"),
    ],
)
@pytest.mark.parametrize("method", [name for name in available_methods() if load_method(name).needs_ambiguous])
def test_a_split_that_is_named_twice_is_refused(method, changes, words, dataset, tmp_path):
    changes = {"model_family": "prototype", "num_train_epochs": 20, **changes}  # IPR warms up for 10
    with pytest.raises(ValueError, match=words):
        prepare(given(dataset, tmp_path, method, **changes))


def test_a_split_without_labels_clashes_with_nothing_where_it_is_not_read(dataset, tmp_path):
    trainer, _ = prepare(given(dataset, tmp_path, "hard_vote", train_splits=["d1", "d2"], reveal_splits=["d2"]))
    assert trainer.data.ambiguous_sources == []


def test_train_on_is_one_of_two_words(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"train_on='everything' is not one of \['splits', 'all'\]"):
        given(dataset, tmp_path, train_on="everything")


def test_raters_who_agree_everywhere_leave_a_split_without_utterances(tmp_path, caplog):
    rows = [(f"clip_{i:02d}", f"r{r}", LABELS[i % 4], f"s{i // 4}") for i in range(24) for r in range(2)]
    for i in range(24):
        tone(tmp_path / "clips" / f"clip_{i:02d}.wav", i % 4, seed=i)
    table = write_csv(tmp_path / "ratings.csv", rows)
    build_from_ratings(table, tmp_path / "clips", tmp_path / "own", progress=False)
    named = {"train_splits": ["clear", "ambiguous"], "test_splits": ["test", "test_clear", "test_ambiguous"]}
    chosen = {"dataset_config": "slc-strict", "validation_split": "validation", **named}
    trainer, tests = prepare(given(tmp_path / "own", tmp_path / "run", **chosen))
    assert trainer.data.ids == ids(tmp_path / "own", "slc-strict", "clear") and list(tests) == ["test", "test_clear"]
    for part in ("ambiguous", "test_ambiguous"):
        assert f"has no utterance in {part}, so " in caplog.text
    with pytest.raises(ValueError, match="has no split 'ambiguous'; it has"):
        prepare(given(tmp_path / "own", tmp_path / "run", **{**chosen, "train_splits": ["ambiguous"]}))
    with pytest.raises(ValueError, match="has no split 'claer'; it has"):
        prepare(given(tmp_path / "own", tmp_path / "run", **{**chosen, "train_splits": ["clear", "claer"]}))
