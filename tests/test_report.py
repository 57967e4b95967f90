"""Tables from made-up run folders, and the `compare` command."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from hf_ambiser import cli
from hf_ambiser.runs.report import (
    COLUMNS,
    baselines,
    compare,
    comparison,
    find_runs,
    one_line,
    recall_table,
    seeds_table,
)
from hf_ambiser.runs.scoring import score


CLASSES = ["anger", "happiness", "sadness", "neutral"]
N = 48


def clips(seed: int = 0, n_speakers: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    votes = np.stack([rng.multinomial(5, rng.dirichlet(np.ones(4) / 2)) for _ in range(N)]).astype(float)
    unique = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return {
        "speaker": np.array([f"s{i % n_speakers}" for i in range(N)]),
        "votes": votes,
        "consensus": np.where(unique, votes.argmax(axis=1), -1),
    }


def made_run(folder: Path, skill: float, seed: int, data: dict | None = None, split: str = "d3", **marks: str) -> Path:
    """A run folder with the figures of random logits that lean `skill` towards the votes."""
    data = data or clips()
    logits = skill * data["votes"] + np.random.default_rng(100 + seed).normal(size=(N, 4))
    scores = score(logits, data["votes"], data["consensus"], CLASSES)
    about = {
        "corpus": "made", "classes": CLASSES, "dataset_config": "ipr-strict", "protocol": "strict",
        "policy": "simulated-4", "policy_fingerprint": "abc", "split_fingerprint": "def", **marks,
    }  # fmt: skip
    (folder / "predictions").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"method": "x", "data": about, "scores": {split: scores}}))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = {
        "id": [f"c{i}" for i in range(N)], "speaker": data["speaker"].tolist(), "consensus": data["consensus"],
        **{
            name: pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(values)), 4)
            for name, values in (("probabilities", p), ("votes", data["votes"]))
        },
    }  # fmt: skip
    pq.write_table(pa.table(rows), folder / "predictions" / f"{split}.parquet")
    empty = {"id": ["u"], "reference_votes": [[1.0] * 4], "reference_label": [0], "true_distribution": [[0.0] * 4]}
    pq.write_table(pa.table(empty), folder / "reference.parquet")
    return folder


def study(folder: Path, **skills: tuple[float, ...]) -> Path:
    for system, values in skills.items():
        for seed, skill in enumerate(values):
            made_run(folder / system / str(seed), skill, seed + 10 * len(system))
    return folder


def cells_of(table: str, row: str) -> list[str]:
    found = [line for line in table.splitlines() if line.startswith(f"| {row} |")]
    assert len(found) == 1, (row, table)
    return [cell.strip() for cell in found[0].strip("|").split("|")][1:]


@pytest.fixture
def three(tmp_path) -> Path:
    return study(tmp_path / "runs", ipr=(1.0, 1.5, 1.2), base=(0.2, 0.4, 0.5))


def test_mean_and_deviation_over_seeds(three):
    runs = find_runs(three)
    assert {name: [run.folder.name for run in group] for name, group in runs.items()} == {
        "base": ["0", "1", "2"],
        "ipr": ["0", "1", "2"],
    }
    table = seeds_table(runs, "d3", ["ipr", "base"])
    assert table.index("| ipr |") < table.index("| base |")
    for system in runs:
        cells = cells_of(table, system)
        assert cells[0] == "3" and len(cells) == 1 + len(COLUMNS)
        for cell, (name, (_, digits, factor)) in zip(cells[1:], COLUMNS.items(), strict=True):
            values = [run.results["scores"]["d3"]["all"][name] * factor for run in runs[system]]
            mean = sum(values) / 3
            sd = (sum((v - mean) ** 2 for v in values) / 2) ** 0.5
            shown = [float(x.strip("()")) for x in cell.split()]
            np.testing.assert_allclose(shown, [mean, sd], atol=0.5000001 * 10.0**-digits)


@pytest.mark.parametrize("figure", ["wa", "ua"])
def test_differences_over_seeds_are_scipys_paired_t(three, figure):
    runs = find_runs(three)
    seeds, p, clip, _ = cells_of(comparison(runs, "d3", figure, "ipr"), "base")
    a, b = ([100 * run.figure("d3", figure) for run in runs[name]] for name in ("ipr", "base"))
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    shown = [float(x) for x in seeds.replace("[", "").replace("]", "").replace(",", "").split()]
    np.testing.assert_allclose(shown, [np.mean(a) - np.mean(b), interval.low, interval.high], atol=0.0501)
    assert float(p) == pytest.approx(expected.pvalue, abs=0.000501)
    # Over clips: the systems' probabilities averaged over seeds.
    means = []
    for name in ("ipr", "base"):
        predictions = [run.predictions("d3") for run in runs[name]]
        right: dict[int, list[bool]] = {}
        for i, truth in enumerate(predictions[0]["consensus"]):
            if truth >= 0:
                mean = sum(one["probabilities"][i] for one in predictions) / 3
                right.setdefault(int(truth), []).append(mean.argmax() == truth)
        every = [x for values in right.values() for x in values]
        means.append(np.mean(every) if figure == "wa" else np.mean([np.mean(v) for v in right.values()]))
    assert float(clip.split()[0]) == pytest.approx(100 * (means[0] - means[1]), abs=0.0501)


def test_only_seeds_that_both_have_are_paired(tmp_path):
    runs = find_runs(study(tmp_path, ipr=(1.0, 1.5, 1.2), base=(0.2, 0.4)))
    seeds, p, *_ = cells_of(comparison(runs, "d3", "wa", "ipr"), "base")
    a, b = ([100 * run.figure("d3", "wa") for run in runs[name]][:2] for name in ("ipr", "base"))
    assert float(p) == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.000501)
    assert float(seeds.split()[0]) == pytest.approx(np.mean(a) - np.mean(b), abs=0.0501)
    assert cells_of(seeds_table(runs, "d3", ["base"]), "base")[0] == "2"


def test_one_seed_has_no_deviation_and_no_t(tmp_path):
    runs = find_runs(study(tmp_path, ipr=(1.0,), base=(0.2,)))
    assert "(" not in "".join(cells_of(seeds_table(runs, "d3", ["ipr"]), "ipr"))
    seeds, p, clips_cell, _ = cells_of(comparison(runs, "d3", "ua", "ipr"), "base")
    assert (seeds, p) == ("one seed", "-") and clips_cell[0] in "+-"


def test_differences_that_are_all_equal_have_no_p(tmp_path):
    for system in ("ipr", "base"):
        for seed in range(2):
            made_run(tmp_path / system / str(seed), 1.0, 0)
    seeds, p, *_ = cells_of(comparison(find_runs(tmp_path), "d3", "wa", "ipr"), "base")
    assert seeds.startswith("+0.0 (all values are equal") and p == "-"


def test_recall_of_each_class_is_its_mean_over_seeds(three):
    runs = find_runs(three)
    for system, group in runs.items():
        for c, cell in enumerate(cells_of(recall_table(runs, "d3"), system)):
            recalls = []
            for run in group:
                read = run.predictions("d3")
                mine = [i for i in range(N) if read["consensus"][i] == c]
                recalls.append(sum(read["probabilities"][i].argmax() == c for i in mine) / len(mine))
            assert float(cell) == pytest.approx(100 * sum(recalls) / 3, abs=0.501)


def test_figures_without_a_value_are_named_so_and_do_not_stop_the_report(tmp_path):
    nobody = {**clips(), "consensus": np.full(N, -1)}
    for system in ("ipr", "base"):
        for seed in range(2):
            made_run(tmp_path / system / str(seed), 1.0 + seed, seed, nobody)
    text = compare(tmp_path)
    runs = find_runs(tmp_path)
    wa, ua = cells_of(seeds_table(runs, "d3", ["ipr"]), "ipr")[1:3]
    assert (wa, ua) == ("undefined", "undefined")
    assert cells_of(recall_table(runs, "d3"), "ipr") == ["-"] * 4
    assert "undefined (" in text and one_line(runs["ipr"][0].results["scores"]["d3"]).startswith(f"n {N}, WA % undef")


def test_one_speaker_gives_no_bootstrap_but_a_report(tmp_path):
    for system in ("ipr", "base"):
        made_run(tmp_path / system / "0", 1.0, len(system), clips(n_speakers=1))
    *_, clip, p = cells_of(comparison(find_runs(tmp_path), "d3", "wa", "ipr"), "base")
    assert clip.startswith("undefined (") and "two clusters" in clip and p == "-"


def test_counts_majority_and_ceiling_stand_beside_every_split(three):
    text, runs = compare(three), find_runs(three)
    scores, data = runs["ipr"][0].results["scores"]["d3"]["all"], clips()
    counts = np.bincount(data["consensus"][data["consensus"] >= 0], minlength=4)
    expected = ", ".join(f"{name} {n}" for name, n in zip(CLASSES, counts, strict=True))
    assert f"{N} clips ({expected})." in text and baselines(runs["ipr"][0], "d3") in text
    majority = cells_of(text, "always the majority class")
    assert float(majority[0]) == pytest.approx(100 * counts.max() / counts.sum(), abs=0.0501)
    assert float(majority[1]) == pytest.approx(100 / (counts > 0).sum(), abs=0.0501)
    ceiling = cells_of(text, "one rater against the others")
    assert float(ceiling[0]) == pytest.approx(100 * scores["rater_ceiling"]["wa"], abs=0.0501)
    assert "protocol **strict**" in text and "`abc`" in text and "`def`" in text


@pytest.mark.parametrize("mark", ["split_fingerprint", "policy_fingerprint"])
def test_runs_on_other_data_cannot_stand_in_one_table(tmp_path, mark):
    made_run(tmp_path / "ipr" / "0", 1.0, 0)
    made_run(tmp_path / "base" / "0", 1.0, 0, **{mark: "other"})
    with pytest.raises(ValueError, match="different data") as error:
        compare(tmp_path)
    assert "other" in str(error.value) and str(tmp_path / "base" / "0") in str(error.value)


def test_unfinished_runs_are_no_runs(three, tmp_path):
    (three / "ipr" / "3").mkdir()
    (three / "ipr" / "3" / "data.json").write_text("{}")
    assert [run.folder.name for run in find_runs(three)["ipr"]] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="no finished run"):
        find_runs(tmp_path / "nothing")


def test_a_split_that_a_run_was_not_scored_on_is_named(three):
    made_run(three / "base" / "9", 1.0, 0, split="test_clear")
    with pytest.raises(ValueError, match="not scored on.*d3"):
        compare(three, splits=["d3"])


def test_the_compare_command(three, tmp_path, capsys):
    assert cli.main(["compare", str(three), "--of", "base", "--splits", "d3"]) == 0
    out = capsys.readouterr().out
    assert "WA % of base minus" in out and "### d3" in out
    assert cli.main(["compare", str(three), "--of", "mine"]) == 0
    assert "no system 'mine'" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    for argv in ([str(tmp_path / "empty")], [str(three), "--splits", "d8"]):
        assert cli.main(["compare", *argv]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("hf-ambiser: ") and said.err.count("\n") == 1
