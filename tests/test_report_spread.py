"""Intervals and tests over folds, seeds and clips, against SciPy and slow loops on made-up runs."""

import json
import statistics

import numpy as np
import pytest
from helpers.made_report import K, made_cell, made_clips, made_study
from scipy import stats

from hf_ambiser.report import statistics as module
from hf_ambiser.report.groups import find, group
from hf_ambiser.report.statistics import CORRECTED, PAIRED, over_folds, over_utterances, pooled, spread
from hf_ambiser.run_folder.columns import read_columns, write_columns


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two systems on three folds with two seeds; of system b one cell is missing."""
    folder = made_study(tmp_path_factory.mktemp("study"), {"a": 1.0, "b": 0.3})
    path = folder / "cells" / "b" / "ipr-strict-kfold3-2" / "seed-1" / "results.json"
    path.rename(path.with_suffix(".gone"))
    return group(find(folder)[0])[0]


def wa(cell):
    return cell.figure("d3", "wa")


def slow(cells):
    """fold -> seed -> WA, straight from the files."""
    table = {}
    for cell in cells:
        results = json.loads((cell.folder / "results.json").read_text())
        table.setdefault(results["data"]["fold"], {})[results["seed"]] = results["scores"]["d3"]["all"]["wa"]
    return table


def test_an_interval_is_t_over_the_folds_means(study):
    for system, cells in study.systems.items():
        ours = spread(cells, wa)
        means = [statistics.mean(seeds.values()) for seeds in slow(cells).values()]
        interval = stats.ttest_1samp(means, 0).confidence_interval(0.95)
        assert (ours.t.low, ours.t.high) == pytest.approx((interval.low, interval.high)), system
        assert (ours.t.mean, ours.t.sd) == pytest.approx((statistics.mean(means), statistics.stdev(means)))
        assert (ours.over, ours.t.n, ours.n_undefined) == ("folds", 3, 0)
        # Seeds are no further folds: six values taken as independent would give another interval.
        every = [value for seeds in slow(cells).values() for value in seeds.values()]
        assert abs(stats.ttest_1samp(every, 0).confidence_interval(0.95).low - ours.t.low) > 1e-4


def test_one_fold_has_an_interval_over_seeds_and_one_run_has_none(study):
    cells = [cell for cell in study.systems["a"] if cell.fold == "0"]
    ours, interval = spread(cells, wa), stats.ttest_1samp([wa(c) for c in cells], 0).confidence_interval(0.95)
    assert (ours.over, ours.t.low, ours.t.high) == ("seeds", pytest.approx(interval.low), pytest.approx(interval.high))
    alone = spread(cells[:1], wa)
    assert (alone.over, alone.t.mean, alone.t.sd) == ("", wa(cells[0]), None)


def test_runs_without_a_value_are_counted_and_left_out(study):
    cells = study.systems["a"]
    ours = spread(cells, lambda c: None if c.seed == 1 else wa(c))
    assert ours.n_undefined == 3 and ours.t.mean == pytest.approx(np.mean([wa(c) for c in cells if c.seed == 0]))
    nothing = spread(cells, lambda c: None)
    assert nothing.t is None and nothing.n_undefined == 6


def test_a_difference_over_folds_is_the_corrected_t_of_the_cells_that_both_have(study):
    a, b = study.systems["a"], study.systems["b"]
    ours = over_folds(a, b, wa)
    mine, theirs = slow(a), slow(b)
    differences = []
    for fold in ("0", "1", "2"):
        seeds = [s for s in mine[fold] if s in theirs[fold]]
        differences.append(statistics.mean(mine[fold][s] - theirs[fold][s] for s in seeds))
    mean, variance = statistics.mean(differences), statistics.variance(differences)
    t = mean / ((1 / 3 + 1 / 2) * variance) ** 0.5
    assert ours.test == CORRECTED and ours.t.p == pytest.approx(2 * stats.t.sf(abs(t), 2))
    half = stats.t.ppf(0.975, 2) * ((1 / 3 + 1 / 2) * variance) ** 0.5
    assert (ours.t.low, ours.t.high) == pytest.approx((mean - half, mean + half))
    back = over_folds(b, a, wa)
    assert (back.t.low, back.t.high, back.t.p) == pytest.approx((-ours.t.high, -ours.t.low, ours.t.p))


def test_a_difference_on_one_fold_is_scipys_paired_t_over_seeds(study):
    a, b = ([c for c in study.systems[name] if c.fold == "0"] for name in "ab")
    ours, theirs = over_folds(a, b, wa), stats.ttest_rel([wa(c) for c in a], [wa(c) for c in b])
    interval = theirs.confidence_interval(0.95)
    assert (ours.test, ours.t.p) == (PAIRED, pytest.approx(theirs.pvalue))
    assert (ours.t.low, ours.t.high) == pytest.approx((interval.low, interval.high))
    assert over_folds(a[:1], b[:1], wa).test == "one seed"
    assert over_folds([c for c in study.systems["a"] if c.fold == "1"], b, wa).t is None  # no shared cell


def test_clips_are_pooled_over_folds_and_averaged_over_seeds(study):
    cells = study.systems["a"]
    clips = pooled(cells, "d3")
    assert len(clips.id) == len(set(clips.id)) == 3 * 48
    slow_sums: dict[str, list] = {}
    for cell in cells:
        read = read_columns(cell.folder / "predictions" / "d3.parquet")
        for i, name in enumerate(read["id"]):
            slow_sums.setdefault(name, []).append(read["probabilities"][i])
    for i, name in enumerate(clips.id):
        np.testing.assert_allclose(clips.probabilities[i], sum(slow_sums[name]) / 2)
    source = made_clips(fold="1")
    rows = {name: i for i, name in enumerate(source["id"])}
    mine = [i for i, name in enumerate(clips.id) if name in rows]
    assert len(mine) == 48
    for i in mine:
        row = rows[clips.id[i]]
        assert clips.votes[i].tolist() == source["votes"][row].tolist()
        assert (clips.speaker[i], clips.consensus[i]) == (source["speaker"][row], source["consensus"][row])


@pytest.mark.parametrize("figure", ["wa", "ua", "js"])
def test_the_bootstrap_draws_speakers_of_all_folds_as_a_literal_one_does(study, figure, monkeypatch):
    monkeypatch.setattr(module, "RESAMPLES", 40)
    a, b = study.systems["a"], study.systems["b"]
    result = over_utterances(a, b, "d3", figure)
    # Only cells that both have: fold 2, seed 1 of system a has no partner.
    kept = [c for c in a if (c.fold, c.seed) != ("2", 1)]
    mine, theirs = pooled(kept, "d3"), pooled(b, "d3")

    def value(clips, rows):
        if figure == "js":
            total = 0.0
            for i in rows:
                p, q = clips.votes[i] / clips.votes[i].sum(), clips.probabilities[i]
                m = (p + q) / 2
                total += sum(x * np.log2(x / z) / 2 for x, z in zip(p, m, strict=True) if x > 0)
                total += sum(x * np.log2(x / z) / 2 for x, z in zip(q, m, strict=True) if x > 0)
            return total / len(rows)
        right = [(int(clips.consensus[i]), clips.probabilities[i].argmax() == clips.consensus[i]) for i in rows]
        if figure == "wa":
            return float(np.mean([hit for _, hit in right]))
        recalls = [[hit for label, hit in right if label == c] for c in range(K)]
        return float(np.mean([np.mean(hits) for hits in recalls if hits]))

    used = [i for i in range(len(mine.id)) if figure == "js" or mine.consensus[i] >= 0]
    assert result.difference == pytest.approx(value(mine, used) - value(theirs, used))
    speakers = sorted({mine.speaker[i] for i in used})
    rng, differences = np.random.default_rng(0), []
    for _ in range(40):
        drawn = [speakers[c] for c in rng.integers(len(speakers), size=len(speakers))]
        rows = [i for speaker in drawn for i in used if mine.speaker[i] == speaker]
        differences.append(value(mine, rows) - value(theirs, rows))
    assert [result.low, result.high] == pytest.approx(np.percentile(differences, [2.5, 97.5]).tolist())
    below, above = sum(d <= 0 for d in differences), sum(d >= 0 for d in differences)
    assert result.p == pytest.approx(min(1, 2 * (1 + min(below, above)) / 41))
    assert result.n_clusters == 12 and result.n_utterances == len(used)


def test_what_cannot_be_compared_over_utterances_says_why(study, tmp_path):
    a, b = study.systems["a"], study.systems["b"]
    assert over_utterances(a[:2], [c for c in b if c.fold == "1"], "d3", "wa") == "no shared run"
    one = {"d3": made_clips(n_speakers=3)}
    for system in ("a", "b"):
        made_cell(tmp_path / system, system, clips=one)
    lonely = group(find(tmp_path)[0])[0].systems
    assert over_utterances(lonely["a"], lonely["b"], "d3", "wa") == "speakers to draw: 3, and at least 4 are needed"
    nobody = {"d3": {**made_clips(), "consensus": np.full(48, -1)}}
    for system in ("a", "b"):
        made_cell(tmp_path / "nobody" / system, system, clips=nobody)
    none = group(find(tmp_path / "nobody")[0])[0].systems
    assert over_utterances(none["a"], none["b"], "d3", "ua") == "no utterance has a consensus"
    path = lonely["b"][0].folder / "predictions" / "d3.parquet"
    changed = read_columns(path)
    changed["id"] = np.array([f"other{i}" for i in range(len(changed["id"]))])
    write_columns(path, {**changed, "id": changed["id"].tolist(), "speaker": changed["speaker"].tolist()})
    assert over_utterances(lonely["a"], lonely["b"], "d3", "wa") == "the systems were scored on different utterances"


def test_runs_that_disagree_on_the_votes_are_refused(tmp_path):
    for seed in (0, 1):
        made_cell(tmp_path / str(seed), "a", seed, clips={"d3": made_clips(fold="same", n=20)})
    path = tmp_path / "1" / "predictions" / "d3.parquet"
    read = read_columns(path)
    votes = read["votes"].copy()
    # Of two utterances with one consensus, so that the counts of the file are what the run has scored.
    other = next(i for i in range(4, 20) if read["consensus"][i] == read["consensus"][3] and any(votes[i] != votes[3]))
    votes[[3, other]] = votes[[other, 3]]
    write_columns(path, {**read, "id": read["id"].tolist(), "speaker": read["speaker"].tolist(), "votes": votes})
    with pytest.raises(ValueError, match="different votes for utterance 'd3-same-003'"):
        pooled(group(find(tmp_path)[0])[0].runs, "d3")
