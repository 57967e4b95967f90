"""How many raters a system is worth: a report's table and figure, and the line that `hf-ambiser evaluate` prints."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.made_report import CLASSES, made_cell, made_clips, made_study

import hf_ambiser
from hf_ambiser.metrics import UndefinedMetric, rater_equivalence
from hf_ambiser.report import figures
from hf_ambiser.report.groups import Group, find, group
from hf_ambiser.report.rater_equivalence import (
    on_the_same_utterances,
    rater_equivalence_table,
    worth_of_systems,
)
from hf_ambiser.report.write import write_report
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_scores.held_out import SCORED
from hf_ambiser.runs import evaluate_cli, scoring
from hf_ambiser.training.validation import softmax


SKILLS = {"ipr": 0.4, "soft_vote": 1.0, "hard_vote": 0.2}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Three systems, three folds and three seeds: one system is worth some raters, one more, one fewer than one."""
    return made_study(tmp_path_factory.mktemp("study"), SKILLS, seeds=3)


def only_group(folder: Path) -> Group:
    return group(find(folder)[0])[0]


def of_seed(one: Group, system: str, seed: int, **options):
    """The function itself, on the predictions of all folds of one seed, in the order of ids."""
    read = [run.predictions("d3") for run in one.systems[system] if run.seed == seed]
    rows = {name: np.concatenate([table[name] for table in read]) for name in read[0]}
    order = np.argsort(rows["id"].astype(str))
    return rater_equivalence(rows["probabilities"][order], rows["votes"][order], rows["speaker"][order], **options)


def number_line(count) -> float:
    return {"=": count.value, "<": -np.inf, ">": np.inf}[count.bound]


def test_the_table_has_the_median_seed_of_the_pooled_predictions(study):
    one = only_group(study)
    table = rater_equivalence_table(one, "d3", worth_of_systems(one, "d3"))
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["system"] for row in rows] == list(one.systems) and len(rows) == 3
    bounds = set()
    for row, entries in zip(rows, table.entries, strict=True):
        assert (row["utterances"], row["largest n"]) == ("144", "4")
        for column, score, title in ((3, "cross_entropy", "cross-entropy"), (4, "brier", "Brier")):
            seeds = [of_seed(one, row["system"], seed, score=score) for seed in range(3)]
            median = sorted(seeds, key=lambda found: number_line(found.worth))[1]
            assert f"{entries[column].text} {entries[column].below}" == str(median)
            for part, count in ((title, median.worth), (f"{title}: low", median.low), (f"{title}: high", median.high)):
                bound = f"raters by {part} bound" if ":" in part else f"raters by {part}: bound"
                assert float(row[f"raters by {part}"]) == pytest.approx(count.value)
                assert row[bound] == count.bound
            bounds.add(median.worth.bound)
            if score == "cross_entropy":
                assert row["each seed, cross-entropy"] == "; ".join(str(found.worth) for found in seeds)
    assert bounds == {"<", "=", ">"}  # the made systems show all three kinds
    assert "by smoothed shares of the raters' votes" in table.note and "`-`" not in table.note


def test_of_two_seeds_the_lower_one_is_shown(study, tmp_path):
    shutil.copytree(study, tmp_path / "two")
    for folder in (tmp_path / "two").rglob("seed-2"):
        shutil.rmtree(folder)
    one = only_group(tmp_path / "two")
    shown = worth_of_systems(one, "d3")["ipr"].median("cross_entropy")
    assert shown is not None
    both = [of_seed(one, "ipr", seed) for seed in range(2)]
    assert both[0].worth != both[1].worth
    assert number_line(shown.worth) == pytest.approx(min(number_line(found.worth) for found in both))


def test_a_seed_that_lacks_folds_is_left_out_and_named(study, tmp_path):
    shutil.copytree(study, tmp_path / "lacking")
    shutil.rmtree(next((tmp_path / "lacking").glob("cells/ipr/*-1/seed-1")))
    one = only_group(tmp_path / "lacking")
    table = rater_equivalence_table(one, "d3", worth_of_systems(one, "d3"))
    (row,) = [entries for entries in table.entries if entries[0].text == "ipr"]
    assert row[5].text == "; ".join(str(of_seed(one, "ipr", seed).worth) for seed in (0, 2))
    assert "ipr: seed 1 is left out, because it lacks folds that another seed has." in table.note


def test_the_report_shows_table_and_figure_of_every_split(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    text = write_report(tmp_path / "study", html=False, progress=False)
    assert text.count("| raters by cross-entropy | raters by Brier |") == 3
    for split in ("d3", "test_clear", SCORED):
        name = f"made__ipr-strict-kfold3_{split.replace(' ', '_')}_rater_equivalence"
        assert (tmp_path / "study" / "report" / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"![Rater equivalence, {split}: " in text
        for ending in ("csv", "tex"):
            assert (tmp_path / "study" / "report" / f"{name}.{ending}").is_file()
    assert "Not drawn" not in text


def drawn_lines(monkeypatch, one: Group, out: Path, reference: str | None = None) -> dict[str, tuple[list, list]]:
    """The lines of the figure: name in the legend -> x and y."""
    seen = []
    monkeypatch.setattr(figures, "save", lambda figure, path: seen.append(figure) or path)
    assert figures.rater_curve(one, worth_of_systems(one, "d3"), out, reference) == out
    (axis,) = seen[0].axes
    return {
        line.get_label(): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axis.get_lines()
    }


def test_the_figure_draws_the_raters_and_each_system_over_the_same_utterances(study, tmp_path, monkeypatch):
    one = only_group(study)
    lines = drawn_lines(monkeypatch, one, tmp_path / "x.png")
    worths = {system: worth.median("cross_entropy") for system, worth in worth_of_systems(one, "d3").items()}
    assert list(lines) == [*(f"{system}: {found}" for system, found in worths.items()), "n raters"]
    for system, found in worths.items():
        seed = next(s for s in range(3) if of_seed(one, system, s) == found)
        curve = of_seed(one, system, seed).curve
        assert lines[f"{system}: {found}"] == ([1, 2, 3, 4], [point.model for point in curve])
        assert lines["n raters"] == ([1, 2, 3, 4], [point.raters for point in curve])


@pytest.mark.usefixtures("blank_figures")
def test_a_system_on_other_utterances_is_not_drawn_and_the_caption_says_so(study, tmp_path, monkeypatch):
    shutil.copytree(study, tmp_path / "study")
    for folder in (tmp_path / "study").glob("cells/soft_vote/*-2"):
        shutil.rmtree(folder)
    one = only_group(tmp_path / "study")
    assert set(on_the_same_utterances(worth_of_systems(one, "d3"))) == {"ipr", "hard_vote"}
    lines = drawn_lines(monkeypatch, one, tmp_path / "x.png")
    assert [name.split(":")[0] for name in lines] == ["hard_vote", "ipr", "n raters"]
    monkeypatch.undo()
    text = write_report(tmp_path / "study", html=False, progress=False)
    assert text.count("Not drawn, with other utterances or no worth: soft_vote") == 3


def test_of_many_systems_the_reference_is_drawn(tmp_path, monkeypatch):
    names = [f"s{i}" for i in range(figures.MOST_LINES + 2)]
    made_study(tmp_path / "many", dict.fromkeys(names, 0.4), folds=1, seeds=1)
    lines = drawn_lines(monkeypatch, only_group(tmp_path / "many"), tmp_path / "x.png", names[-1])
    assert len(lines) == figures.MOST_LINES + 1 and any(name.startswith(f"{names[-1]}:") for name in lines)


def one_vote(clips: dict) -> dict:
    return {**clips, "votes": np.eye(len(CLASSES))[np.maximum(clips["consensus"], 0)]}


@pytest.mark.usefixtures("blank_figures")
def test_an_undefined_worth_is_a_dash_with_its_reason(tmp_path):
    made_cell(tmp_path / "run", clips={"d3": one_vote(made_clips())})
    one = only_group(tmp_path)
    worths = worth_of_systems(one, "d3")
    table = rater_equivalence_table(one, "d3", worths)
    assert [entry.text for entry in table.entries[0]] == ["ipr", "-", "-", "-", "-", "-"]
    with pytest.raises(UndefinedMetric) as reason:
        of_seed(one, "ipr", 0)
    assert str(reason.value) == "no utterance has two votes"
    assert table.note.endswith(f"ipr: the worth is undefined (`-`): {reason.value}.")
    assert figures.rater_curve(one, worths, tmp_path / "x.png") is None and not (tmp_path / "x.png").exists()
    text = write_report(tmp_path, html=True, progress=False)
    assert "| ipr | - | - | - | - | - |" in text and "Rater equivalence" not in text


def test_utterances_with_too_few_votes_are_counted(tmp_path):
    clips = made_clips(n=60)
    clips["votes"][:7] = one_vote(clips)["votes"][:7]
    made_cell(tmp_path / "run", clips={"d3": clips})
    one = only_group(tmp_path)
    table = rater_equivalence_table(one, "d3", worth_of_systems(one, "d3"))
    assert table.entries[0][1].text == "53"
    assert "ipr: 7 utterances with fewer than two votes are left out." in table.note


def test_a_run_of_before_gets_it_from_its_predictions():
    """The recorded run knows nothing of raters' worth; its table comes from its predictions alone."""
    folder = Path(__file__).parent.parent / "model_cards" / "blstm" / "run"
    assert "rater_equivalence" not in (folder / "results.json").read_text()
    one = only_group(folder)
    answers = FinishedRun.read(folder).predictions("test")
    direct = rater_equivalence(answers["probabilities"], answers["votes"], answers["speaker"])
    (row,) = rater_equivalence_table(one, "test", worth_of_systems(one, "test")).entries
    assert f"{row[3].text} {row[3].below}" == str(direct) and row[2].text == str(len(direct.curve))


# ---- hf-ambiser evaluate -------------------------------------------------------------------------------------------


def evaluated(monkeypatch, capsys, tmp_path: Path, clips: dict) -> tuple[list[str], dict, np.ndarray]:
    """What the command prints and writes for a model whose answers are made: lines, JSON, logits."""
    logits = 0.4 * clips["votes"] + np.random.default_rng(4).normal(size=clips["votes"].shape)
    agreement = clips["votes"].max(axis=1) / clips["votes"].sum(axis=1)
    data = SimpleNamespace(
        votes=clips["votes"], consensus=clips["consensus"], agreement=agreement, speakers=clips["speaker"], n_cut=0
    )
    info = {"classes": CLASSES, "corpus": "made", "configs": {"ipr-strict": {"protocol": "strict"}}}
    monkeypatch.setattr(scoring, "load_for_scoring", lambda *_: (None, None, data, info))
    monkeypatch.setattr(scoring, "predict_logits", lambda *_: logits)
    words = [
        "--model",
        "m",
        "--dataset",
        "d",
        "--config",
        "ipr-strict",
        "--split",
        "d3",
        "--out",
        str(tmp_path / "scores.json"),
    ]
    assert evaluate_cli.main(words) == 0
    return capsys.readouterr().out.splitlines(), json.loads((tmp_path / "scores.json").read_text()), logits


def test_evaluate_prints_the_worth_after_its_tables(monkeypatch, capsys, tmp_path):
    clips = made_clips(n=90)
    lines, scores, logits = evaluated(monkeypatch, capsys, tmp_path, clips)
    direct = rater_equivalence(softmax(logits), clips["votes"], clips["speaker"])
    assert direct.worth.bound == "="
    assert lines[-1] == f"worth in raters (cross-entropy): {direct.worth} [{direct.low}, {direct.high}]"
    assert scores.pop("rater_equivalence") == json.loads(json.dumps(direct.to_dict()))
    assert set(scores) == {"all", "consensus", "clear", "ambiguous"}


def test_evaluate_says_why_there_is_no_worth(monkeypatch, capsys, tmp_path):
    lines, scores, _ = evaluated(monkeypatch, capsys, tmp_path, made_clips(n=20))
    reason = "20 utterances have two votes, and 30 are needed"
    assert lines[-1] == f"worth in raters (cross-entropy): undefined ({reason})"
    assert scores["rater_equivalence"] == {"undefined": reason}


def test_the_function_is_a_public_name():
    assert hf_ambiser.rater_equivalence is rater_equivalence and "rater_equivalence" in hf_ambiser.__all__
