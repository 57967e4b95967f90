"""A report's set of all test utterances, its second table of figures and its risk-coverage figure."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.made_report import made_cell, made_clips, made_whole, make_old

from hf_ambiser.metrics.display import DISTRIBUTION_AND_SELECTION, OF_WHOLE_SET
from hf_ambiser.report import figures
from hf_ambiser.report.groups import Group, find, group
from hf_ambiser.report.results import baselines_table, selection_table
from hf_ambiser.report.whole_set import TITLES, about_whole_set, whole_set_table
from hf_ambiser.report.write import write_report
from hf_ambiser.run_scores.held_out import SCORED, WHOLE


pytestmark = pytest.mark.usefixtures("blank_figures", "few_resamples")


def only_group(folder: Path) -> Group:
    (one,) = group(find(folder)[0])
    return one.with_all_figures()


def rows_of(table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


@pytest.fixture
def study(tmp_path):
    """Two systems, two seeds, one fold; the whole test side is answered."""
    for system, skill in (("ipr", 1.0), ("base", 0.3)):
        for seed in range(2):
            made_whole(tmp_path / system / str(seed), system=system, seed=seed, skill=skill)
    return tmp_path


def test_the_whole_set_stands_beside_its_parts(study):
    one = only_group(study)
    assert one.whole == WHOLE
    table = whole_set_table(one)
    rows = rows_of(table)
    assert [(row["system"], row["utterances"]) for row in rows] == [
        (system, title) for system in ("base", "ipr") for title in TITLES.values()
    ]
    for row in rows:
        part = next(name for name, title in TITLES.items() if title == row["utterances"])
        runs = one.systems[row["system"]]
        assert int(row["n"]) == runs[0].scores(WHOLE, part)["n"]
        for name, shown in OF_WHOLE_SET.items():
            mean = np.mean([run.figure(WHOLE, name, part) for run in runs])
            assert float(row[f"{shown.title}: mean"]) == pytest.approx(shown.factor * mean)
    n = [int(row["n"]) for row in rows[:4]]
    assert n[0] == 144 and n[0] > n[1] and n[2] + n[3] == n[0]


def test_a_report_begins_with_the_whole_set(study):
    text = write_report(study, html=True, progress=False)
    assert text.index(f"### {WHOLE}\n") < text.index("### test_clear\n") < text.index("### d3\n")
    about = f"`{WHOLE}` holds every utterance with votes of the held-out speakers, made of `test_clear`, `d3`,"
    assert f"{about} `test_no_consensus`." in text
    assert "### test_no_consensus" not in text
    assert (study / "report" / "made__ipr-strict_all_test_utterances_with_votes_and_its_parts.csv").is_file()
    name = "made__ipr-strict_all_test_utterances_with_votes_risk_coverage.png"
    assert (study / "report" / "figures" / name).read_bytes()[:4] == b"\x89PNG"
    only = write_report(study, splits=["d3"], html=False, progress=False)
    assert WHOLE not in only
    assert f"### {WHOLE}\n" in write_report(study, splits=[WHOLE], html=False, progress=False)


def test_one_split_that_is_the_whole_set_is_named_so(tmp_path):
    clips = {part: made_clips(part=part) for part in ("test", "test_clear")}
    made_cell(tmp_path, family="slc-strict", clips=clips)
    text = write_report(tmp_path, html=False, progress=False)
    assert f"### test: {WHOLE}\n" in text and text.count("| all with votes |") == 1
    assert only_group(tmp_path).splits == ["test", "test_clear"]


@pytest.mark.parametrize(
    "family,splits,words",
    [
        ("ipr-paper", ["d3"], "These splits hold out no speaker"),
        ("ipr-strict", ["d3"], "these runs answered only a part"),
        ("ipr-strict", ["d3", "test_clear"], f"`{SCORED}` holds what all of these runs answered"),
    ],
)
def test_what_a_set_lacks_is_said(tmp_path, family, splits, words):
    made_cell(tmp_path, family=family, clips={part: made_clips(part=part) for part in splits})
    assert words in about_whole_set(only_group(tmp_path))
    assert words in write_report(tmp_path, html=False, progress=False)


def test_a_report_of_old_runs_has_the_new_figures(study):
    new = write_report(study, html=False, progress=False)
    for folder in study.glob("*/[01]"):
        stored = json.loads((folder / "results.json").read_text())["held_out_splits"]
        make_old(folder)
        results = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps({**results, "held_out_splits": stored}))
    assert write_report(study, html=False, progress=False) == new
    for folder in study.glob("*/[01]"):
        make_old(folder)
    text = write_report(study, html=False, progress=False)
    assert f"### {SCORED}\n" in text and WHOLE not in text


def test_the_second_table_names_what_has_no_value(study):
    one = only_group(study)
    titles = [shown.title for shown in DISTRIBUTION_AND_SELECTION.values()]
    full = selection_table(one, WHOLE)
    assert list(full.columns[4:]) == titles and "Without a value" not in full.note
    for row in rows_of(full):
        for name, shown in DISTRIBUTION_AND_SELECTION.items():
            mean = np.mean([run.figure(WHOLE, name) for run in one.systems[row["system"]]])
            assert float(row[f"{shown.title}: mean"]) == pytest.approx(mean)


def test_figures_that_no_run_has_are_left_out_with_the_reason(tmp_path):
    clips = made_clips()
    kept = {name: np.asarray(values)[clips["consensus"] >= 0] for name, values in clips.items()}
    made_cell(tmp_path, clips={"d3": kept})
    table = selection_table(only_group(tmp_path), "d3")
    assert "AUROC, no consensus" not in table.columns and "AURC" in table.columns
    gone = "AUROC, no consensus, AUPR, no consensus, AUPR by chance (every utterance has a consensus)."
    assert f"Without a value here: {gone}" in table.note


def test_a_panel_stands_beside_one_rater_unless_votes_chose_the_utterances(study):
    one = only_group(study)
    rows = {row[""]: row for row in rows_of(baselines_table(one, WHOLE))}
    panel = rows["one panel of raters against another of the same size"]
    assert float(panel["WA %"]) == pytest.approx(100 * one.first.scores(WHOLE)["panel_ceiling"]["wa"])
    assert len(rows) == 3 and len(baselines_table(one, "d3").rows) == 2


def test_the_risk_curve_is_that_of_a_slow_loop(study, tmp_path, monkeypatch):
    one, seen = only_group(study), []
    monkeypatch.setattr(figures, "save", lambda figure, path: seen.append(figure) or path)
    assert figures.risk_coverage_curves(one, WHOLE, tmp_path / "x.png") == tmp_path / "x.png"
    lines = {line.get_label().split(":")[0]: line for line in seen[0].axes[0].get_lines()}
    assert set(lines) == {"base", "ipr"}
    for system, line in lines.items():
        ends = []
        for run in one.systems[system]:
            read = run.predictions(WHOLE)
            rows = [i for i in range(144) if read["consensus"][i] >= 0]
            rows.sort(key=lambda i: -max(read["probabilities"][i]))
            wrong = [np.argmax(read["probabilities"][i]) != read["consensus"][i] for i in rows]
            risk = [np.mean(wrong[:n]) for n in range(1, len(rows) + 1)]
            ends.append([np.interp(c / 100, np.arange(1, len(rows) + 1) / len(rows), risk) for c in (10, 50, 100)])
        drawn = [line.get_ydata()[c - 1] for c in (10, 50, 100)]
        assert drawn == pytest.approx(100 * np.mean(ends, axis=0))
    nobody = {**made_clips(), "consensus": np.full(48, -1)}
    made_cell(tmp_path / "none", clips={"d3": nobody})
    assert figures.risk_coverage_curves(only_group(tmp_path / "none"), "d3", tmp_path / "y.png") is None
