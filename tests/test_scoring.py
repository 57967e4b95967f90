"""Predictions to figures and to files."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.made_data import CLASSES, evaluation_set
from transformers import EvalPrediction

from hf_ambiser.cli import main
from hf_ambiser.metrics import evaluate_predictions
from hf_ambiser.run_folder.columns import read_columns
from hf_ambiser.run_folder.predictions import read_predictions
from hf_ambiser.runs.scoring import save_predictions
from hf_ambiser.training.validation import HEADLINES, ValidationMetrics, score, softmax


def made(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, votes and consensus of clips of 3 raters, some without consensus, two without any vote."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)).astype(np.float32) * 3
    votes = np.stack([rng.multinomial(3, rng.dirichlet(np.ones(4))) for _ in range(n)]).astype(np.float64)
    votes[:2] = 0
    top = votes.max(axis=1)
    unique = (votes == top[:, None]).sum(axis=1) == 1
    return logits, votes, np.where(unique & (top > 0), votes.argmax(axis=1), -1)


def test_softmax_is_the_literal_one():
    logits, _, _ = made()
    for row, ours in zip(logits, softmax(logits), strict=True):
        e = [math.exp(float(z)) for z in row]
        np.testing.assert_allclose(ours, [x / sum(e) for x in e])
    assert softmax(logits).dtype == np.float64


def test_softmax_of_huge_logits_is_finite():
    p = softmax(np.array([[1e5, 0, -1e5], [-1e5, -1e5, -1e5], [1e5, 1e5, 0]], dtype=np.float32))
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]])


def test_clear_means_that_two_of_three_agreed():
    logits, votes, consensus = made()
    figures = score(logits, votes, consensus, list(CLASSES))
    clear = np.array([max(row) >= 2 for row in votes])
    assert figures["clear"]["n"] == clear.sum() and figures["ambiguous"]["n"] == (~clear).sum()
    assert figures["all"]["n"] == 60
    # Each part is what it would be alone.
    for part, rows in (("all", slice(None)), ("clear", clear)):
        mine = softmax(logits[rows]), votes[rows], consensus[rows]
        alone = evaluate_predictions(*mine, list(CLASSES), clear=np.ones(len(mine[0]), dtype=bool))["all"]
        for name in HEADLINES:
            assert figures[part][name] == pytest.approx(alone[name]), (part, name)
    json.dumps(figures)  # goes into results.json


def test_headlines_against_a_count_by_hand():
    logits, votes, consensus = made()
    figures = score(logits, votes, consensus, list(CLASSES))["all"]
    rows = [i for i in range(60) if consensus[i] >= 0]
    right = [int(logits[i].argmax() == consensus[i]) for i in rows]
    assert figures["wa"] == pytest.approx(sum(right) / len(rows))
    recalls = []
    for c in range(4):
        mine = [r for i, r in zip(rows, right, strict=True) if consensus[i] == c]
        recalls.append(sum(mine) / len(mine))
    assert figures["ua"] == pytest.approx(sum(recalls) / 4)
    p = softmax(logits)
    voted = [i for i in range(60) if votes[i].sum() > 0]
    brier = [sum((p[i, c] - votes[i, c] / votes[i].sum()) ** 2 for c in range(4)) for i in voted]
    assert figures["brier"] == pytest.approx(sum(brier) / len(brier))


def test_the_trainer_is_given_the_headlines_that_have_a_value():
    logits, votes, consensus = made()
    metrics = ValidationMetrics(list(CLASSES))
    shown = metrics(EvalPrediction(predictions=logits, label_ids=(votes, consensus)))
    expected = score(logits, votes, consensus, list(CLASSES))["all"]
    assert shown == {name: expected[name] for name in HEADLINES}
    assert all(isinstance(value, float) and math.isfinite(value) for value in shown.values())
    nobody = metrics(EvalPrediction(predictions=logits, label_ids=(votes, np.full(60, -1))))
    assert "wa" not in nobody and "ua" not in nobody and nobody["js"] == shown["js"]


def test_the_votes_answer_is_what_is_scored_not_their_number():
    logits, votes, consensus = made()
    a = score(logits, votes, consensus, list(CLASSES))["all"]
    b = score(logits, votes * 7, consensus, list(CLASSES))["all"]
    assert all(a[name] == pytest.approx(b[name]) for name in HEADLINES)


def test_predictions_survive_their_file(tmp_path):
    data = evaluation_set(11)
    logits = np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32)
    path = save_predictions(tmp_path / "predictions" / "d3.parquet", data, logits)
    assert path == tmp_path / "predictions" / "d3.parquet" and [f.name for f in path.parent.iterdir()] == [
        "d3.parquet"
    ]
    read = read_predictions(path)
    assert set(read) == {"id", "speaker", "probabilities", "votes", "consensus", "agreement"}
    np.testing.assert_array_equal(read["agreement"], data.agreement)
    assert read["id"].tolist() == list(data.ids) and read["speaker"].tolist() == list(data.speakers)
    np.testing.assert_array_equal(read["probabilities"], softmax(logits))
    np.testing.assert_array_equal(read["votes"], data.votes)
    assert read["consensus"].tolist() == data.consensus.tolist()
    # The figures can be made again from the file alone.
    again = score(np.log(read["probabilities"]), read["votes"], read["consensus"], list(CLASSES))
    now = score(logits, data.votes, data.consensus, list(CLASSES))
    assert all(again["all"][name] == pytest.approx(now["all"][name]) for name in HEADLINES)


def test_embeddings_come_along_and_columns_can_be_read_alone(tmp_path):
    data, rng = evaluation_set(11), np.random.default_rng(0)
    logits, embedding = rng.normal(size=(11, 4)), rng.normal(size=(11, 6)).astype(np.float32)
    path = save_predictions(tmp_path / "d3.parquet", data, logits, embedding)
    read = read_predictions(path)
    assert read["embedding"].dtype == np.float32
    np.testing.assert_array_equal(read["embedding"], embedding)
    some = read_columns(path, ["votes", "id", "not there"])
    assert set(some) == {"votes", "id"}
    np.testing.assert_array_equal(some["votes"], data.votes)


def test_a_write_cut_short_leaves_no_file(tmp_path, monkeypatch):
    def killed(_, path):
        path.write_bytes(b"PAR1")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", killed)
    with pytest.raises(KeyboardInterrupt):
        save_predictions(tmp_path / "d3.parquet", evaluation_set(3), np.zeros((3, 4)))
    assert not (tmp_path / "d3.parquet").exists()
    monkeypatch.undo()
    save_predictions(tmp_path / "d3.parquet", evaluation_set(3), np.zeros((3, 4)))
    assert pq.read_table(tmp_path / "d3.parquet").num_rows == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "a.json", "--predictions", "a.json"], "--out and --predictions are both a.json"),
        (["--out", "gone/a.json"], "there is no folder"),
        (["--predictions", "gone/a.parquet"], "--predictions gone/a.parquet: there is no folder"),
    ],
)
def test_evaluate_checks_where_it_writes_before_it_scores(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--model", "no model", "--dataset", "none", "--split", "d3", *words]) == 2
    assert said in capsys.readouterr().err and list(tmp_path.iterdir()) == []
