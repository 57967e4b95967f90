"""The report's table of the mean answer of a system's seeds, against a literal transcription."""

from __future__ import annotations

import math
import shutil

import pytest
from helpers.made_report import made_study, made_whole, rows_of, whole_group

from hf_ambiser.report.seeds_together import seeds_together_table
from hf_ambiser.report.write import write_report


pytestmark = pytest.mark.usefixtures("blank_figures", "few_resamples")
FOLDS, SEEDS = 3, 4


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two systems, three folds, four seeds."""
    return made_study(tmp_path_factory.mktemp("study"), {"ipr": 0.4, "other": 1.0}, FOLDS, SEEDS)


def divergence(p, q):
    """Jensen-Shannon divergence in bits, class by class."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        total += (a * math.log2(a / middle) if a else 0.0) / 2 + (b * math.log2(b / middle) if b else 0.0) / 2
    return total


def by_hand(runs, split):
    """JS (bit) and cross-entropy (nat) of the mean answer of these runs of one fold."""
    answers, votes = {}, {}
    for run in runs:
        read = run.columns(split, ("id", "probabilities", "votes"))
        for name, p, v in zip(
            read["id"].tolist(), read["probabilities"].tolist(), read["votes"].tolist(), strict=True
        ):
            answers.setdefault(name, []).append(p)
            votes[name] = [one / sum(v) for one in v]
    js, far = [], []
    for name, each in answers.items():
        mean = [sum(column) / len(each) for column in zip(*each, strict=True)]
        js.append(divergence(votes[name], mean))
        far.append(-sum(t * math.log(p) for t, p in zip(votes[name], mean, strict=True) if t))
    return sum(js) / len(js), sum(far) / len(far)


def test_the_figures_are_those_of_the_mean_distribution_of_each_fold(study):
    one = whole_group(study)
    rows = rows_of(seeds_together_table(one, "d3"))
    assert list(rows) == ["ipr", "other"]
    for system, row in rows.items():
        folds = [[run for run in one.systems[system] if run.fold == str(fold)] for fold in range(FOLDS)]
        together = [by_hand(runs, "d3") for runs in folds]
        alone = [by_hand([run], "d3") for runs in folds for run in runs]
        for place, name in enumerate(("JS (bit)", "cross-entropy (nat)")):
            mean = sum(figures[place] for figures in together) / FOLDS
            assert float(row[f"{name}: mean"]) == pytest.approx(mean, rel=1e-6)
            single = sum(figures[place] for figures in alone) / len(alone)
            difference = float(row[f"{name} minus a single seed's: difference [95 %]: difference"])
            assert difference == pytest.approx(mean - single, abs=1e-6)
            # Both are convex in the answer, so a mean of answers is never farther away than the answers are.
            assert difference < 0
        assert int(row["seeds"]) == SEEDS


def test_a_system_with_one_seed_is_not_in_it(tmp_path):
    made_study(tmp_path, {"ipr": 1.0}, folds=2, seeds=1)
    assert seeds_together_table(whole_group(tmp_path), "d3") is None


def test_a_seed_that_lacks_a_fold_is_left_out_and_named(study, tmp_path):
    shutil.copytree(study / "cells", tmp_path / "cells")
    before = rows_of(seeds_together_table(whole_group(tmp_path), "d3"))
    shutil.rmtree(next((tmp_path / "cells" / "ipr").glob("*-0")) / "seed-3")
    table = seeds_together_table(whole_group(tmp_path), "d3")
    after = rows_of(table)
    assert (int(before["ipr"]["seeds"]), int(after["ipr"]["seeds"])) == (4, 3)
    assert before["other"] == after["other"]
    assert "ipr: seed 3 lacks folds that another seed has, so it is left out." in table.note
    for seed in range(3):
        shutil.rmtree(next((tmp_path / "cells" / "ipr").glob(f"*-{seed}")) / f"seed-{seed}", ignore_errors=True)
    table = seeds_together_table(whole_group(tmp_path), "d3")
    assert list(rows_of(table)) == ["other"]
    assert "ipr is not here: seed " in table.note and "and fewer than two seeds are left." in table.note


def test_a_system_whose_predictions_are_gone_is_named(study, tmp_path):
    shutil.copytree(study / "cells", tmp_path / "cells")
    next((tmp_path / "cells" / "other").rglob("d3.parquet")).unlink()
    table = seeds_together_table(whole_group(tmp_path), "d3")
    assert list(rows_of(table)) == ["ipr"]
    assert "other is not here, because predictions of its runs are gone" in table.note


def test_of_one_fold_the_difference_has_no_test(tmp_path):
    for seed in range(2):
        made_whole(tmp_path / str(seed), seed=seed)
    one = whole_group(tmp_path)
    text = seeds_together_table(one, one.whole).markdown()
    assert text.count("(one fold)") == 2
    report = write_report(tmp_path, html=False, progress=False)
    assert report.count("| the seeds' mean answer |") == 1
