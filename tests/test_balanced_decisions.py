"""The decision in which classes count more alike, and the report's table of it, against a literal transcription."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from helpers.made_report import CLASSES, made_study, rows_of, whole_group

from hf_ambiser.metrics.balanced import balanced_lead
from hf_ambiser.report.balanced_decisions import TAUS, balanced_decisions_table
from hf_ambiser.report.write import write_report


pytestmark = pytest.mark.usefixtures("blank_figures", "few_resamples")
FOLDS, SEEDS = 3, 2


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made_study(tmp_path_factory.mktemp("study"), {"ipr": 0.3, "other": 0.8}, FOLDS, SEEDS)


def by_hand(run, split, tau):
    """WA and UA of one run, utterance by utterance."""
    read = run.columns(split, ("id", "probabilities", "consensus"))
    answers, labels = read["probabilities"].tolist(), read["consensus"].tolist()
    share = [sum(row[k] for row in answers) / len(answers) for k in range(len(CLASSES))]
    right, there = dict.fromkeys(range(len(CLASSES)), 0), dict.fromkeys(range(len(CLASSES)), 0)
    for p, label in zip(answers, labels, strict=True):
        if label < 0:
            continue
        scores = [p[k] / share[k] ** tau for k in range(len(CLASSES))]
        there[label] += 1
        right[label] += scores.index(max(scores)) == label
    recalls = [right[k] / there[k] for k in there if there[k]]
    return sum(right.values()) / sum(there.values()), sum(recalls) / len(recalls)


def test_each_cell_is_the_mean_of_the_runs_figures(study):
    one = whole_group(study)
    rows = rows_of(balanced_decisions_table(one, "d3", "ipr"))
    assert list(rows) == ["ipr", "other"]
    for system, row in rows.items():
        for tau in TAUS:
            each = [by_hand(run, "d3", tau) for run in one.systems[system]]
            for place, name in enumerate(("WA", "UA")):
                mean = 100 * sum(figures[place] for figures in each) / len(each)
                assert float(row[f"tau {tau:g}: {name}"]) == pytest.approx(mean)
    # At tau 0 it is the decision of all other tables.
    for name in ("wa", "ua"):
        expected = np.mean([run.figure("d3", name) for run in one.systems["ipr"]])
        assert float(rows["ipr"][f"tau 0: {name.upper()}"]) == pytest.approx(100 * expected)
    difference = rows["other"]["UA % at tau 1, ipr minus: difference [95 %]: difference"]
    expected = float(rows["ipr"]["tau 1: UA"]) - float(rows["other"]["tau 1: UA"])
    assert float(difference) == pytest.approx(expected)


def test_the_report_has_it_and_names_the_predictions_that_are_gone_by_leaving_them_out(study, tmp_path):
    shutil.copytree(study / "cells", tmp_path / "cells")
    text = write_report(tmp_path, html=False, progress=False)
    assert text.count("| balanced decision: WA / UA % | tau 0 |") == 1
    for path in (tmp_path / "cells").rglob("d3.parquet"):
        path.unlink()
    assert balanced_decisions_table(whole_group(tmp_path), "d3", "ipr") is None


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_the_lead_is_that_of_the_quotients(tau):
    p = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    shares = np.array([0.7, 0.1, 0.1, 0.1])
    for row, lead in zip(p, balanced_lead(p, shares, tau), strict=True):
        scores = [row[k] / shares[k] ** tau for k in range(4)]
        assert lead == scores.index(max(scores))


def test_a_class_without_a_share_never_leads():
    p = np.array([[0.6, 0.4, 0.0], [0.2, 0.3, 0.5]])
    assert balanced_lead(p, np.array([0.5, 0.5, 0.0]), 1.0).tolist() == [0, 1]
    assert balanced_lead(p, np.array([0.5, 0.5, 0.0]), 0.0).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("shares", "tau", "reason"),
    [
        ([0.5, 0.5], 1.0, r"shares have shape \(2,\)"),
        ([0.5, 0.6, -0.1], 1.0, "none below 0"),
        ([0.0, 0.0, 0.0], 1.0, "none below 0"),
        ([0.3, 0.3, 0.4], -1.0, "tau is -1.0; allowed: a number of 0 or more"),
        ([0.3, 0.3, 0.4], float("nan"), "tau is nan"),
    ],
)
def test_values_that_do_not_fit_are_refused(shares, tau, reason):
    with pytest.raises(ValueError, match=reason):
        balanced_lead(np.array([[0.2, 0.3, 0.5]]), np.array(shares), tau)
