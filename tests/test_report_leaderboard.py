"""The report's table that ranks systems by the cross-entropy of their answers against votes."""

from __future__ import annotations

import csv
import io
import math

import pytest
from helpers.made_report import made_whole, whole_group

from hf_ambiser.report.leaderboard import leaderboard_table, mean_cross_entropy
from hf_ambiser.report.rater_equivalence import worth_of_systems
from hf_ambiser.report.write import write_report


pytestmark = pytest.mark.usefixtures("blank_figures", "few_resamples")
SKILLS = {"worst": 0.1, "best": 2.0, "middle": 0.8}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three systems, two seeds, one fold."""
    folder = tmp_path_factory.mktemp("study")
    for system, skill in SKILLS.items():
        for seed in range(2):
            made_whole(folder / system / str(seed), system=system, seed=seed, skill=skill)
    return folder


def by_hand(run, split: str) -> float:
    total, n = 0.0, 0
    table = run.columns(split, ("id", "probabilities", "votes"))
    for p, votes in zip(table["probabilities"].tolist(), table["votes"].tolist(), strict=True):
        total -= sum(v / sum(votes) * math.log(max(q, 1e-37)) for v, q in zip(votes, p, strict=True) if v)
        n += 1
    return total / n


def test_systems_are_ranked_by_cross_entropy_and_compared_with_the_reference(study):
    one = whole_group(study)
    worths = worth_of_systems(one, one.whole)
    table = leaderboard_table(one, one.whole, "middle", worths)
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    values = {system: sum(by_hand(run, one.whole) for run in runs) / len(runs) for system, runs in one.systems.items()}
    assert [row["system"] for row in rows] == sorted(values, key=values.__getitem__)
    assert [int(row["place"]) for row in rows] == [1, 2, 3]
    for row in rows:
        assert float(row["cross-entropy (nat): mean"]) == pytest.approx(values[row["system"]], rel=1e-6)
        runs = one.systems[row["system"]]
        js = sum(run.figure(one.whole, "js") for run in runs) / len(runs)
        assert float(row["JS (bit): mean"]) == pytest.approx(js)
    texts = table.markdown()
    difference = values["best"] - values["middle"]
    assert f"{difference:+.3f}" in next(line for line in texts.splitlines() if "| best |" in line)
    assert "the reference" in next(line for line in texts.splitlines() if "| middle |" in line)
    assert "Holm: corrected over the 2 comparisons" in table.note


def test_a_sure_mistake_is_finite_and_runs_without_predictions_are_left_out(study, tmp_path):
    one = whole_group(study)
    run = one.systems["best"][0]
    columns = run.columns(one.whole, ("id", "probabilities", "votes"))

    class Sure:
        has_predictions = staticmethod(lambda split: True)
        columns = staticmethod(lambda split, names: {**_columns, "probabilities": _columns["probabilities"] * 0})

    _columns = columns
    assert math.isfinite(mean_cross_entropy(one.whole, Sure()))
    Sure.has_predictions = staticmethod(lambda split: False)
    assert mean_cross_entropy(one.whole, Sure()) is None
    alone = made_whole(tmp_path / "alone", system="alone")
    assert alone and leaderboard_table(whole_group(tmp_path), whole_group(tmp_path).whole, None, {}) is None


def test_the_report_begins_the_whole_set_with_it(study):
    text = write_report(study, reference="middle", html=False, progress=False)
    assert text.index("| place | system | cross-entropy (nat) |") < text.index("| system | folds | seeds | runs |")
    assert list((study / "report").glob("*leaderboard.csv"))
