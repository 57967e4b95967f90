"""Tables of made-up studies: what stands in them, and that Markdown, CSV and LaTeX say the same."""

import csv
import io
import re

import numpy as np
import pytest
from helpers.made_report import CLASSES, K, made_cell, made_clips, made_study
from scipy import stats
from sklearn import metrics as sk

from hf_ambiser.metrics.display import COLUMNS, QUOTED, one_line, quoted_figure
from hf_ambiser.report.groups import find, group
from hf_ambiser.report.paper_tables import quoted_folds_table, quoted_table
from hf_ambiser.report.protocols import protocols_table
from hf_ambiser.report.results import (
    apart_table,
    baselines_table,
    comparison_table,
    counts_line,
    figures_table,
    per_class_table,
)
from hf_ambiser.report.statistics import over_folds, over_utterances
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.studies.plan import read_plan
from hf_ambiser.studies.plan_file import PlanFile, Quoted, QuotedFolds


def only_group(folder):
    (one,) = group(find(folder)[0])
    return one


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return only_group(made_study(tmp_path_factory.mktemp("study"), {"ipr": 1.0, "base": 0.3, "soft_vote": 0.6}))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """A study without folds, three seeds."""
    folder = tmp_path_factory.mktemp("seeds")
    for system, skill in (("ipr", 1.0), ("base", 0.3)):
        for seed in range(3):
            made_cell(folder / system / str(seed), system, seed, skill=skill)
    return only_group(folder)


def cells_of(table: Table, row: str) -> list[str]:
    found = [line for line in table.markdown().splitlines() if line.startswith(f"| {row} |")]
    assert len(found) == 1, (row, table)
    return [cell.strip() for cell in found[0].strip("|").split("|")][1:]


def rows_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"[-+]?\d+(?:\.\d+)?", text)]


def test_figures_over_folds_as_shown_and_as_written(study):
    table = figures_table(study, "d3")
    assert [row[0].text for row in table.entries] == ["base", "ipr", "soft_vote"]
    for row in rows_of(table):
        cells = study.systems[row["system"]]
        shown = cells_of(table, row["system"])
        assert shown[:3] == ["3", "2", "6"] == [row["folds"], row["seeds"], row["runs"]]
        for cell, (name, figure) in zip(shown[3:], COLUMNS.items(), strict=True):
            folds = [np.mean([c.figure("d3", name) for c in cells if c.fold == f]) for f in ("0", "1", "2")]
            folds = np.array(folds) * figure.factor
            interval = stats.ttest_1samp(folds, 0).confidence_interval(0.95)
            expected = [folds.mean(), folds.std(ddof=1), interval.low, interval.high]
            np.testing.assert_allclose(numbers(cell), expected, atol=0.5000001 * 10.0**-figure.digits)
            written = [float(row[f"{figure.title}: {part}"]) for part in ("mean", "sd", "low", "high")]
            np.testing.assert_allclose(written, expected)
    assert "seeds of each fold" in table.note and "over seeds" not in table.note


def test_figures_over_seeds_and_of_a_single_run(seeds, tmp_path):
    table = figures_table(seeds, "d3")
    assert cells_of(table, "ipr")[:3] == ["1", "3", "3"] and "There is one fold" in table.note
    values = [100 * c.figure("d3", "ua") for c in seeds.systems["ipr"]]
    assert numbers(cells_of(table, "ipr")[4])[:2] == pytest.approx(
        [np.mean(values), np.std(values, ddof=1)], abs=0.0501
    )
    made_cell(tmp_path, "ipr")
    alone = figures_table(only_group(tmp_path), "d3")
    assert not re.search(r"[(\[]", "".join(cells_of(alone, "ipr"))) and alone.note == ""


@pytest.mark.parametrize("figure", ["wa", "ua", "js"])
def test_comparisons_show_both_tests_with_raw_and_corrected_p(study, figure):
    table, ours = comparison_table(study, "d3", figure, "ipr"), study.systems["ipr"]
    shown = COLUMNS[figure]
    rows = {next(iter(row.values())): list(row.values()) for row in rows_of(table)}
    assert list(rows) == ["base", "soft_vote"]
    raw = {}
    for system in rows:
        t = over_folds(ours, study.systems[system], lambda c: c.figure("d3", figure)).t
        b = over_utterances(ours, study.systems[system], "d3", figure)
        written = [float(x) for x in rows[system][1:-1]]
        expected = [t.mean, t.low, t.high], [b.difference, b.low, b.high]
        np.testing.assert_allclose(written[:3], np.array(expected[0]) * shown.factor)
        np.testing.assert_allclose(written[5:8], np.array(expected[1]) * shown.factor)
        raw[system] = (t.p, b.p)
        assert (written[3], written[8]) == pytest.approx(raw[system])
        assert numbers(cells_of(table, system)[0])[0] == pytest.approx(t.mean * shown.factor, abs=0.0501)
    for test, place in ((0, 4), (1, 9)):
        small, large = sorted(rows, key=lambda s: raw[s][test])
        holm = {small: min(1, 2 * raw[small][test])}
        holm[large] = max(holm[small], raw[large][test])
        assert {s: float(rows[s][1:-1][place]) for s in rows} == pytest.approx(holm)
    assert f"{shown.title} of ipr minus" in table.columns[0] and "corrected resampled t over folds" in table.columns[1]
    assert "2 comparisons" in table.note and "Nadeau and Bengio" in table.note
    speakers = {name for run in ours for name in run.predictions("d3")["speaker"]}
    assert f"There are {len(speakers)} speakers to draw." in table.note
    assert ("so few" in table.note) == (len(speakers) < 10)


def test_one_fold_is_compared_by_scipys_paired_t_over_seeds(seeds):
    table = comparison_table(seeds, "d3", "ua", "ipr")
    a, b = ([100 * c.figure("d3", "ua") for c in seeds.systems[name]] for name in ("ipr", "base"))
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    (row,) = rows_of(table)
    written = [float(x) for x in list(row.values())[1:6]]
    assert written == pytest.approx([np.mean(a) - np.mean(b), interval.low, interval.high, *[expected.pvalue] * 2])
    assert "paired t over seeds" in table.columns[1] and "Holm" not in table.note
    assert "There are 4 speakers to draw. These are so few that its intervals are too narrow" in table.note


def test_what_cannot_be_tested_says_why(tmp_path):
    same = {"d3": made_clips(n_speakers=1)}
    for system in ("ipr", "base"):
        made_cell(tmp_path / system, system, clips=same)
    difference, p, holm, clips, *rest = cells_of(comparison_table(only_group(tmp_path), "d3", "wa", "ipr"), "base")
    assert "one seed" in difference and (p, holm) == ("-", "-")
    assert (
        clips.startswith("undefined (")
        and "at least 4 are needed" in clips
        and rest == ["-", "-", "not known: ipr and base"]
    )
    for system in ("ipr", "base"):
        made_cell(tmp_path / system / "again", system, seed=1, noise=3)
        made_cell(tmp_path / "equal" / system / "0", system, seed=0, noise=3)
        made_cell(tmp_path / "equal" / system / "1", system, seed=1, noise=3)
    difference, p, *_ = cells_of(comparison_table(only_group(tmp_path / "equal"), "d3", "wa", "ipr"), "base")
    assert difference.startswith("+0.0 (all values are equal") and p == "-"


def test_figures_without_a_value_are_named_and_counted(tmp_path):
    nobody = {**made_clips(), "consensus": np.full(48, -1)}
    made_cell(tmp_path / "0", "ipr", 0, clips={"d3": nobody})
    made_cell(tmp_path / "1", "ipr", 1, clips={"d3": made_clips(part="other")}, split_fingerprint="splitNone")
    table = figures_table(only_group(tmp_path), "d3")
    assert "WA % of ipr has no value in 1 of 2 runs" in table.note
    made_cell(tmp_path / "only" / "0", "ipr", 0, clips={"d3": nobody})
    none = only_group(tmp_path / "only")
    assert cells_of(figures_table(none, "d3"), "ipr")[3:5] == ["undefined", "undefined"]
    assert rows_of(figures_table(none, "d3"))[0]["WA %"] == "undefined"
    assert cells_of(per_class_table(none, "d3"), "ipr") == ["- / - / -"] * K
    assert one_line(none.first.results["scores"]["d3"]).startswith("n 48, WA % undefined")


def test_figures_of_a_class_are_averaged_over_seeds_then_folds(study):
    table = per_class_table(study, "d3")
    for system, cells in study.systems.items():
        shown = dict(zip(study.classes, cells_of(table, system), strict=True))
        for c, name in enumerate(study.classes):
            folds = []
            for fold in ("0", "1", "2"):
                seeds = []
                for cell in (one for one in cells if one.fold == fold):
                    read = cell.predictions("d3")
                    answer = read["probabilities"].argmax(axis=1)[read["consensus"] >= 0] == c
                    mine = read["consensus"][read["consensus"] >= 0] == c
                    hits = (answer & mine).sum()
                    seeds.append([hits / answer.sum(), hits / mine.sum(), 2 * hits / (answer.sum() + mine.sum())])
                folds.append(np.mean(seeds, axis=0))
            want = 100 * np.mean(folds, axis=0)
            assert [float(part) for part in shown[name].split(" / ")] == pytest.approx(want, abs=0.501)
        row = next(row for row in rows_of(table) if row["precision / recall / F1 %"] == system)
        assert float(row[f"{study.classes[-1]}: f1"]) == pytest.approx(want[2])  # the last class's, unrounded


def test_counts_majority_and_ceiling_are_those_of_all_folds(study):
    clips = [made_clips(fold=f) for f in ("0", "1", "2")]
    counts = sum(np.bincount(c["consensus"][c["consensus"] >= 0], minlength=K) for c in clips)
    listed = ", ".join(f"{name} {n}" for name, n in zip(CLASSES, counts, strict=True))
    line = counts_line(study, "d3")
    assert (
        line.startswith(f"144 utterances over 3 folds ({listed}")
        and f"{144 - counts.sum()} without a consensus" in line
    )
    majority = np.mean(
        [max(np.bincount(c["consensus"][c["consensus"] >= 0])) / (c["consensus"] >= 0).sum() for c in clips]
    )
    table = baselines_table(study, "d3")
    assert float(cells_of(table, "always the majority class")[0]) == pytest.approx(100 * majority, abs=0.0501)
    ceiling = np.mean([c.scores("d3")["rater_ceiling"]["ua"] for c in study.one_a_fold()])
    assert float(cells_of(table, "one rater against the others")[1]) == pytest.approx(100 * ceiling, abs=0.0501)


def test_clear_and_ambiguous_clips_stand_apart(study):
    table = apart_table(study, "d3")
    for row in rows_of(table):
        cells = study.systems[row["system"]]
        n = sum(c.scores("d3", row["utterances"])["n"] for c in study.one_a_fold())
        folds = [
            np.mean([c.figure("d3", "js", row["utterances"]) for c in cells if c.fold == f]) for f in ("0", "1", "2")
        ]
        assert int(row["n"]) == n and float(row["JS (bit): mean"]) == pytest.approx(np.mean(folds))
    assert {row["utterances"] for row in rows_of(table)} == {"clear", "ambiguous"}


def test_protocols_side_by_side_with_the_gap(tmp_path):
    for family, skill in (("ipr-strict-kfold3", 0.5), ("ipr-paper-kfold3", 1.0)):
        made_study(tmp_path, {"ipr": skill, f"only-{family}": 1.0}, family=family)
    paper, strict = group(find(tmp_path)[0])
    (row,) = rows_of(protocols_table(paper, strict, ["d3"]))
    assert (row["system"], row["split"]) == ("ipr", "d3")
    means = {}
    for protocol, one in (("paper", paper), ("strict", strict)):
        folds = [np.mean([c.figure("d3", "wa") for c in one.systems["ipr"] if c.fold == f]) for f in ("0", "1", "2")]
        means[protocol] = 100 * np.array(folds)
        assert float(row[f"WA % {protocol}: mean"]) == pytest.approx(means[protocol].mean())
    gap = means["paper"] - means["strict"]
    assert float(row["WA % gap"]) == pytest.approx(gap.mean())
    half = stats.t.ppf(0.975, 2) * gap.std(ddof=1) * (1 / 3 + 1 / 2) ** 0.5
    assert float(row["WA % gap: high"]) == pytest.approx(gap.mean() + half)


def test_a_papers_numbers_stand_beside_ours(study):
    quoted = [
        Quoted("ipr", "wa", 70.75, "Table 3", split="d3", sd=1.5),
        Quoted("ipr", "weighted_f1", 68.0, "Table 4", split="d3"),
        Quoted("slc", "ua", 71.3, "Table 7"),
        Quoted("ipr", "wa", 60.0, "Table 3", protocol="paper"),
        Quoted("ipr", "wwa", 60.0, "Table 3"),
    ]
    first, second, slc, other, typo = rows_of(quoted_table([study], quoted))
    folds = [np.mean([c.figure("d3", "wa") for c in study.systems["ipr"] if c.fold == f]) for f in ("0", "1", "2")]
    assert (first["paper"], first["paper: sd"], first["reference"]) == ("70.75", "1.5", "Table 3")
    assert float(first["ours: mean"]) == pytest.approx(100 * np.mean(folds))
    assert float(first["ours minus paper"]) == pytest.approx(100 * np.mean(folds) - 70.75)
    assert second["figure"] == "weighted F1 %" and float(second["ours: mean"]) > 0
    assert slc["ours: mean"] == "not run" == other["ours: mean"] and "no figure 'wwa'" in typo["ours: mean"]
    assert quoted_table([study], []) is None


def test_quoted_figures_are_scikit_learns(study):
    cell = study.first
    read = cell.predictions("d3")
    used = read["consensus"] >= 0
    truth, answer = read["consensus"][used], read["probabilities"][used].argmax(axis=1)
    scorers = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    for name in QUOTED:
        average, figure = name.split("_")
        expected = scorers[figure](truth, answer, average=average, zero_division=0)
        assert quoted_figure(cell.scores("d3"), name) == pytest.approx(expected), name
    assert quoted_figure(cell.scores("d3"), "wa") == cell.figure("d3", "wa")


AWKWARD = r"a|b_c & 50% $x$ #1 {y} ~ ^ \ <script>"


def made_table() -> Table:
    rows = [
        [AWKWARD, Entry("1.2 (0.3)", "[0.9, 1.5]", {"mean": 1.23456, "sd": 0.3, "low": 0.9}), "words"],
        ["plain", Entry("undefined"), "[in brackets]"],
    ]
    return Table("made", ["system", "WA %", "why"], rows, "What it is: 95 % of `all`.")


def test_three_renderings_of_the_same_entries():
    table = made_table()
    markdown = table.markdown().splitlines()
    assert markdown[0] == "| system | WA % | why |" and markdown[1] == "|---|---|---|"
    assert r"a\|b_c" in markdown[2] and "| 1.2 (0.3) [0.9, 1.5] | words |" in markdown[2]
    assert table.markdown().endswith("95 % of `all`.") and not table.markdown(note=False).endswith("`all`.")
    written = list(csv.reader(io.StringIO(table.csv())))
    assert written == [
        ["system", "WA %: mean", "WA %: sd", "WA %: low", "why"],
        [AWKWARD, "1.23456", "0.3", "0.9", "words"],
        ["plain", "undefined", "", "", "[in brackets]"],
    ]
    latex = table.latex()
    assert r"a|b\_c \& 50\% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}" in latex
    assert latex.count(r"\\") == 4 and r"& {\scriptsize {[}0.9, 1.5]} &" in latex and r"\begin{tabular}{lrl}" in latex
    rules = [latex.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")]
    assert rules == sorted(rules) and r"\caption{What it is: 95 \% of all.}" in latex
    page = table.html()
    assert "<script>" not in page and "&lt;script&gt;" in page and "<small>[0.9, 1.5]</small>" in page


def test_a_row_that_does_not_fit_is_refused_and_names_fit_for_files():
    with pytest.raises(ValueError, match="a row of 1 entries for 2 columns"):
        Table("x", ["a", "b"], [["1"]])
    assert file_name("made, ipr-strict", "d3", "mu=0.1/2") == "made__ipr-strict_d3_mu_0.1_2"


def test_a_papers_folds_stand_with_their_mean_and_deviation(study):
    values = (70.3, 66.3, 69.0)
    quoted = [QuotedFolds("ipr", "wa", values), QuotedFolds("slc", "ua", values), QuotedFolds("ipr", "wwa", values)]
    ours, slc, typo = rows_of(quoted_folds_table([study], quoted))
    assert ours["the paper's folds"] == "70.3, 66.3, 69" and ours["figure"] == "WA %"
    mean = sum(values) / 3
    sd = (sum((v - mean) ** 2 for v in values) / 2) ** 0.5
    assert float(ours["mean (sd)"]) == pytest.approx(mean) and float(ours["mean (sd): sd"]) == pytest.approx(sd)
    folds = [np.mean([c.figure("d3", "wa") for c in study.systems["ipr"] if c.fold == f]) for f in ("0", "1", "2")]
    assert f"d3: {100 * np.mean(folds):.1f} (" in ours["ours"]
    assert slc["ours"] == typo["ours"] == "not run"
    assert quoted_folds_table([study], []) is None


def test_the_folds_of_a_shipped_plan_come_into_the_report_with_table_fours_deviation(tmp_path):
    plan = read_plan("papers/slc_table_7")
    PlanFile(tmp_path).write(plan.resolved())
    resolved = PlanFile(tmp_path).read()
    assert resolved is not None and len(resolved.quoted_folds) == 8
    rows = rows_of(quoted_folds_table([], resolved.quoted_folds))
    assert len(rows) == 8 and all(row["ours"] == "not run" for row in rows)
    # Table IV prints the same model's deviations over folds, 3.02 and 3.34.
    slc = {row["figure"]: float(row["mean (sd): sd"]) for row in rows if row["system"] == "slc"}
    assert slc["WA %"] == pytest.approx(3.02, abs=0.02) and slc["UA %"] == pytest.approx(3.34, abs=0.02)
