"""`hf-ambiser suggest` and `hf_ambiser.suggest`: what they say, in each format, and from which answers."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.made_data import tiny_model
from helpers.made_model import saved
from helpers.made_report import made_cell
from helpers.made_run import built

from hf_ambiser import open_model, predict, suggest
from hf_ambiser.cli import main
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.next_ratings.belief import fit_belief
from hf_ambiser.next_ratings.model_answers import ModelAnswers, held_out_answers
from hf_ambiser.next_ratings.rated_votes import RatedVotes, read_rated_votes
from hf_ambiser.next_ratings.rater_evidence import LOOKS_WRONG
from hf_ambiser.next_ratings.suggest import measure_raters, suggestions
from hf_ambiser.next_ratings.tables import text_of, text_of_raters


torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("suggest"), n=40, configs=("ipr-strict", "slc-strict"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    return str(saved(tmp_path_factory.mktemp("tiny"), tiny_model()))


@pytest.fixture(scope="module")
def found(dataset, tiny):
    return suggest(dataset, tiny, 1000, progress=False)


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory) -> Path:
    """Two runs of one system that have answered the utterances of a data set."""
    folder, rated = tmp_path_factory.mktemp("runs"), read_rated_votes(dataset)
    half = len(rated.ids) // 2
    for fold, rows in enumerate((slice(0, half), slice(half, None))):
        made_cell(folder / str(fold), fold=str(fold), content=rated.content, clips={"test": clips(rated, rows)})
    return folder


def clips(rated: RatedVotes, rows: slice) -> dict:
    votes = rated.votes[rows]
    about = {"id": list(rated.ids[rows]), "speaker": list(rated.speakers[rows])}
    return about | {"votes": votes, "consensus": votes.argmax(axis=1)}


def test_every_utterance_gets_the_gain_of_its_votes_and_the_models_answer(dataset, tiny, found):
    rated = read_rated_votes(dataset)
    audio: dict[str, bytes] = {}
    for config, about in read_dataset_info(dataset)["configs"].items():
        for split in about["splits"]:
            rows = load_split(dataset, config, split)
            audio |= {row["id"]: row["audio"]["bytes"] for row in rows}
    answers = predict([audio[name] for name in rated.ids], tiny, progress=False)
    said = np.array([[answer.probabilities[name] for name in rated.classes] for answer in answers])
    belief = fit_belief(said, rated.weighted({one.rater: one.high for one in found.raters}))
    gain, expected, share = belief.gain(), belief.expected(), belief.model_share()
    assert [one.id for one in found.utterances] == [rated.ids[i] for i in np.argsort(-gain, kind="stable")]
    assert [one.rank for one in found.utterances] == list(range(1, len(rated.ids) + 1))
    for one in found.utterances:
        row = rated.ids.index(one.id)
        assert one.gain == pytest.approx(gain[row], abs=1e-6) and one.speaker == rated.speakers[row]
        assert one.model_share == pytest.approx(share[row], abs=1e-4)
        assert list(one.model.values()) == pytest.approx(said[row].tolist(), abs=1e-5)
        assert list(one.expected.values()) == pytest.approx(expected[row].tolist(), abs=1e-4)
        assert list(one.votes.values()) == rated.votes[row].tolist() and one.n_votes == rated.votes[row].sum()
    assert found.n_utterances == len(rated.ids) and found.source.startswith("model ")
    assert {one.rater for one in found.raters} == set(rated.raters)


def test_the_command_prints_what_the_function_returns(dataset, tiny, found, tmp_path, capsys):
    every = ["suggest", str(dataset), "--model", tiny, "--no-progress"]
    words = [*every, "-n", "7"]
    seven = replace(found, utterances=found.utterances[:7])
    for form in ("jsonl", "csv", "table"):
        for raters in (False, True):
            out = tmp_path / f"{form}{raters}"
            given = [
                *(["suggest", str(dataset), "--raters"] if raters else words),
                "--format",
                form,
                "--out",
                str(out),
            ]
            assert main(given) == 0
            assert out.read_text() == (text_of_raters(found.raters, form) if raters else text_of(seven, form))
            printed, said = capsys.readouterr()
            assert printed == "" and ("comes from it" in said or "the votes alone decide" in said) == (not raters)
            assert f"{len(found.raters)} raters have names" in said
    assert main(words) == 0
    assert capsys.readouterr().out == text_of(seven, "table")
    assert main([*words, "--out", str(tmp_path / "next.csv")]) == 0  # the ending says the format
    assert (tmp_path / "next.csv").read_text() == text_of(seven, "csv")
    lines = [json.loads(line) for line in (tmp_path / "jsonlFalse").read_text().splitlines()]
    assert lines == [one.to_dict() for one in seven.utterances] and all(line["reason"] for line in lines)
    raters = [json.loads(line) for line in (tmp_path / "jsonlTrue").read_text().splitlines()]
    assert raters == [one.to_dict() for one in found.raters]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "csvFalse").read_text())))
    for row, one in zip(rows, seven.utterances, strict=True):
        assert (row["rank"], row["id"], row["reason"]) == (str(one.rank), one.id, one.reason)
        for name in found.classes:
            assert float(row[f"votes_{name}"]) == one.votes[name]
            assert float(row[f"expected_{name}"]) == one.expected[name]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "csvTrue").read_text())))
    assert [row["rater"] for row in rows] == [one.rater for one in found.raters]
    assert (tmp_path / "tableFalse").read_text().splitlines()[0].split() == "rank utterance gain in bit reason".split()


def rated_by_hand() -> tuple[RatedVotes, ModelAnswers]:
    """Of 30 utterances, a and b agree with c and d on all but those that `wrong` answered."""
    classes, names = ("joy", "fear"), ("a", "b", "c", "d", "=wrong")
    given = [(u, r, (u % 2) if r < 4 else 1 - u % 2) for u in range(30) for r in range(5)]
    utterance, rater, label = np.array(given).T
    answers = np.eye(2)[label]
    votes = np.zeros((33, 2))
    np.add.at(votes, utterance, answers)
    votes[31] = [1, 0]
    model = np.array([[0.9, 0.1] if u % 2 == 0 else [0.1, 0.9] for u in range(33)])
    model[32] = np.nan
    ids = tuple(f"u{i}" for i in range(33))
    return RatedVotes(ids, ids, classes, votes, utterance, rater, answers, names, n_unknown=1), ModelAnswers(
        model, "m"
    )


def test_what_has_few_votes_comes_first_and_the_reason_says_what_is_there():
    found = suggestions(*rated_by_hand(), n=3)
    by_id = {one.id: one for one in found.utterances}
    assert set(by_id) == {"u30", "u31", "u32"}
    assert by_id["u30"].reason.startswith("no votes; model: joy 90 %; next vote: joy")
    assert by_id["u31"].reason.startswith("votes: joy 1 contradict the model (fear 90 %); next vote: ")
    assert by_id["u32"].reason.startswith("no votes; no answer of the model; next vote: ")
    assert by_id["u32"].model is None and "model_joy" in text_of(found, "csv").splitlines()[0]
    assert by_id["u30"].model_share == 1.0 > by_id["u31"].model_share
    assert any("1 utterances is not stored" in note for note in found.notes)


def test_a_rater_whose_answers_look_wrong_counts_less_and_is_named(capsys):
    rated, answers = rated_by_hand()
    found = suggestions(rated, answers, n=3)
    (wrong,) = found.look_wrong
    assert wrong.rater == "=wrong" and wrong.verdict == LOOKS_WRONG and wrong.high < 0.5
    full = fit_belief(answers.probabilities, rated.votes).expected()[0, 0]
    counted = fit_belief(answers.probabilities, rated.weighted({one.rater: one.high for one in found.raters}))
    assert counted.expected()[0, 0] > full + 0.05  # four say joy, and the fifth hardly counts
    assert text_of_raters(found.raters, "csv").splitlines()[1].startswith("'=wrong,30,30,")
    assert text_of_raters(found.raters, "table").splitlines()[1].split()[:2] == ["=wrong", "30"]
    with pytest.raises(ValueError, match="format is 'xml'"):
        text_of(found, "xml")


def test_stored_answers_of_held_out_utterances_need_no_model(dataset, runs, capsys):
    rated = read_rated_votes(dataset)
    answers = held_out_answers(runs, rated)
    assert np.isfinite(answers.probabilities).all() and answers.notes == ()
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1.0)
    assert main(["suggest", str(dataset), "--held-out", str(runs), "-n", "3", "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [one.to_dict() for one in suggestions(rated, answers, 3).utterances]


def test_several_runs_give_the_mean_and_what_none_answered_is_said(dataset, tmp_path):
    rated = read_rated_votes(dataset)
    few = clips(rated, slice(0, 4))
    cells = [made_cell(tmp_path / str(s), seed=s, content=rated.content, clips={"test": few}) for s in range(2)]
    each = [held_out_answers(cell, rated).probabilities[:4] for cell in cells]
    both = held_out_answers(tmp_path, rated)
    np.testing.assert_allclose(both.probabilities[:4], (each[0] + each[1]) / 2)
    assert np.isnan(both.probabilities[4:]).all()
    assert both.notes == (f"{len(rated.ids) - 4} utterances are in no test split of these runs",)
    assert suggestions(rated, both, 1000).utterances[0].model is None or both.notes


def test_runs_that_are_no_held_out_answers_are_refused(dataset, tmp_path):
    rated = read_rated_votes(dataset)
    part = {"test": clips(rated, slice(0, 8))}
    with pytest.raises(ValueError, match="holds no finished run"):
        held_out_answers(tmp_path, rated)
    made_cell(tmp_path / "one" / "a", content="another", clips=part)
    with pytest.raises(ValueError, match=r"made on another data set \(content another\)"):
        held_out_answers(tmp_path / "one", rated)
    for system in ("ipr", "slc"):
        made_cell(tmp_path / "two" / system, system, content=rated.content, clips=part)
    with pytest.raises(ValueError, match="2 systems"):
        held_out_answers(tmp_path / "two", rated)
    path = made_cell(tmp_path / "learnt", content=rated.content, clips=part) / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "learnt_from": {"test": 3}}))
    with pytest.raises(ValueError, match="has learnt from 3 utterances of its split 'test'"):
        held_out_answers(tmp_path / "learnt", rated)


def test_classes_go_by_name(dataset, tmp_path, found):
    model = tiny_model()
    names = dict(model.config.id2label)
    rated = read_rated_votes(dataset)
    assert list(names.values()) == list(rated.classes)
    renamed = {0: "boredom", **{i: names[i] for i in range(1, len(names))}}
    model.config.id2label, model.config.label2id = renamed, {name: i for i, name in renamed.items()}
    lacking = saved(tmp_path / "lacking", model)
    with pytest.raises(ValueError, match=rf"lacks \['{names[0]}'\] of the data set"):
        suggest(dataset, str(lacking), progress=False)


def test_more_classes_of_the_model_are_left_out_and_said():
    from hf_ambiser.next_ratings.model_answers import _within

    answers = np.array([[0.2, 0.6, 0.2], [0.5, 0.5, 0.0], [np.nan] * 3])
    found, notes = _within(answers, [2, 0], ("joy", "surprise", "fear"))
    np.testing.assert_allclose(found[0], [0.5, 0.5])
    np.testing.assert_allclose(found[1], [0.0, 1.0])
    assert np.isnan(found[2]).all()
    assert notes == ["the model also knows surprise, which got 55 % of its answers; the rest is divided anew"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-n", "0"], "n is 0; allowed: a whole number of at least 1"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--confidence", "1"], "confidence is 1.0; allowed: above 0 and below 1"),
        (["--model", "a", "--held-out", "b"], "are both given"),
        (["--out", "nowhere/at/all"], "make it first"),
        (["--out", "next.csv", "--format", "jsonl"], "--out next.csv ends as csv does, and --format is jsonl"),
        (["--raters", "-n", "5"], "-n 5 changes nothing: --raters shows all raters"),
        (["--raters", "--model", "m"], "--model m changes nothing: --raters shows all raters"),
        (["--held-out", "runs", "--device", "cpu"], "--device cpu changes nothing: --held-out runs opens no model"),
        (["--held-out", "runs", "--batch-size", "4"], "--batch-size 4 changes nothing"),
        (["--out", "."], "is a folder or a device"),
    ],
)
def test_a_mistake_is_one_line(dataset, words, reason, capsys):
    assert main(["suggest", str(dataset), *words]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1


def test_other_mistakes_are_one_line(dataset, tmp_path, tiny, monkeypatch, capsys):
    assert main(["suggest", str(dataset), "--out", str(dataset / "next.csv")]) == 2
    assert "is inside the data set" in capsys.readouterr().err
    assert main(["suggest", str(tmp_path), "--model", tiny]) == 2
    assert "not a built data set" in capsys.readouterr().err
    module = "hf_ambiser.next_ratings.suggest"
    rated = read_rated_votes(dataset)
    nameless = replace(rated, rater=np.full(len(rated.rater), -1), raters=())
    monkeypatch.setattr(f"{module}.read_rated_votes", lambda dataset: nameless)
    with pytest.raises(
        ValueError, match=r"no rating names its rater.* Call suggest\(\).*\(leave --raters out\)"
    ) as error:
        measure_raters(dataset)
    assert main(["suggest", str(dataset), "--raters"]) == 2
    assert capsys.readouterr().err == f"hf-ambiser: {error.value}\n"


def test_a_model_that_has_learnt_from_the_data_set_is_said(dataset, tmp_path):
    rated = read_rated_votes(dataset)
    run = made_cell(tmp_path / "run", content=rated.content, clips={"test": clips(rated, slice(0, 8))})
    saved(run / "model", tiny_model())
    assert any("has learnt from this data set" in note for note in suggest(dataset, run, 1, progress=False).notes)
    opened = open_model(run)
    assert suggest(dataset, opened, 1, progress=False).source == f"model of {run}"  # every run's folder is `model`
