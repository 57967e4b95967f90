"""The `hf-ambiser report` command: what it prints and writes, and what it says where it cannot."""

import csv
import json
import shutil

import pytest
import yaml
from helpers.made_report import ENVIRONMENT, made_cell, made_study

from hf_ambiser import cli
from hf_ambiser.report.write import write_report


pytestmark = pytest.mark.usefixtures("blank_figures", "few_resamples")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_study(tmp_path_factory.mktemp("study"), {"ipr": 1.0, "base": 0.3})


@pytest.fixture
def study(made, tmp_path):
    return shutil.copytree(made, tmp_path / "study")


def test_the_report_is_printed_and_written(study, capsys):
    assert cli.main(["report", str(study), "--splits", "d3", "--no-html"]) == 0
    said = capsys.readouterr()
    out = study / "report"
    assert said.out.strip() == (out / "report.md").read_text().strip() and str(out / "report.md") in said.err
    for words in (
        "12 finished runs.", "## made, ipr-strict-kfold3", "### d3", "protocol **strict**", "`ab12`", "`c0ffee`",
        "always the majority class", "one rater against the others", "| WA % of ipr minus |", "| UA % of ipr minus |",
        "| JS (bit) of ipr minus |", "| precision / recall / F1 % |", "## Made with", "3 folds (splits `split0` ...)",
    ):  # fmt: skip
        assert words in said.out, words
    assert "test_clear" not in said.out and not (out / "report.html").exists()
    with (out / "made__ipr-strict-kfold3_d3_figures.csv").open() as file:
        assert [row["system"] for row in csv.DictReader(file)] == ["base", "ipr"]
    assert r"\toprule" in (out / "made__ipr-strict-kfold3_d3_wa_of_ipr.tex").read_text()
    with (out / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 12 * 3 and {row["commit"] for row in runs} == {"0123456789abcdef"}
    assert runs[0]["folder"] == "cells/base/ipr-strict-kfold3-0/seed-0"
    for name in ("confusion", "reliability", "entropy"):
        assert (out / "figures" / f"made__ipr-strict-kfold3_d3_{name}.png").is_file()
    assert not list(study.rglob("*.part"))


def test_a_second_report_leaves_nothing_of_the_first_behind_and_nothing_of_the_users_is_touched(study):
    write_report(study, progress=False, html=False)
    out = study / "report"
    mine = out / "notes.txt"
    mine.write_text("mine")
    first = {path.name for path in out.rglob("*") if path.is_file()}
    write_report(study, reference="base", splits=["d3"], progress=False, html=False)
    second = {path.name for path in out.rglob("*") if path.is_file()}
    assert mine.read_text() == "mine" and not [name for name in second if "test_clear" in name or "of_ipr" in name]
    assert "made__ipr-strict-kfold3_d3_ua_of_base.csv" in second - first


def test_the_same_runs_give_the_same_report(study):
    first = write_report(study, splits=["d3"], progress=False)
    page = (study / "report" / "report.html").read_text()
    assert (
        write_report(study, splits=["d3"], progress=False) == first
        and (study / "report" / "report.html").read_text() == page
    )


@pytest.mark.parametrize(
    "argv,words",
    [
        (["--reference", "mine"], "there is no system 'mine' among these runs; there are ['base', 'ipr']"),
        (["--splits", "d8"], "no run was scored on d8"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(study, capsys, argv, words):
    assert cli.main(["report", str(study), *argv]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("hf-ambiser: ") and said.err.count("\n") == 1 and words in said.err
    assert not (study / "report").exists()


def test_a_folder_without_runs_and_a_cell_from_another_fingerprint_are_one_line(study, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["report", str(tmp_path / "empty")]) == 2
    assert "holds no finished run" in capsys.readouterr().err
    made_cell(study / "odd", "ipr", 9, "1", "ipr-strict-kfold3", content="dead")
    assert cli.main(["report", str(study)]) == 2
    said = capsys.readouterr().err
    assert str(study / "odd") in said and "never averaged" in said and said.count("\n") == 1


def test_what_is_missing_is_counted_and_listed(study):
    shutil.rmtree(study / "cells" / "base" / "ipr-strict-kfold3-2" / "seed-1")
    begun = study / "cells" / "ipr" / "ipr-strict-kfold3-2" / "seed-1"
    (begun / "results.json").unlink()
    plan = {
        "datasets": [{"dataset": "data/made", "configs": ["ipr-strict-kfold3"], "folds": "all"}],
        "seeds": [0, 1],
        "systems": {"ipr": {}, "base": {}},
        "not_there_yet": {"slc": "method slc is not there yet"},
        "paper": {"reference": "Table 3", "numbers": [{"system": "ipr", "figure": "wa", "value": 70.75}]},
    }
    (study / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    text = write_report(study, splits=["d3"], progress=False, html=False)
    assert "10 of 12 cells of the plan are finished." in text and "**Not there yet (1):** slc: method slc" in text
    assert "**Missing (2):**" in text and "base, ipr-strict-kfold3-2, seed 1" in text
    assert "**Begun and not finished (1):** cells/ipr/ipr-strict-kfold3-2/seed-1." in text
    plan["seeds"] = list(range(20))
    (study / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    assert "... (all of them in `missing.txt`)." in write_report(study, splits=["d3"], progress=False, html=False)
    listed = (study / "report" / "missing.txt").read_text().splitlines()
    assert len(set(listed)) == len(listed) == 2 * 3 * 20 - 10
    assert text.index("| ipr | 3 | 2 | 5 |") < text.index("| base | 3 | 2 | 5 |")  # the plan's order
    assert "## The paper's numbers beside ours" in text and "| ipr | WA % | 70.75 |" in text


def test_both_protocols_and_other_data_stand_apart(study):
    made_study(study, {"ipr": 1.2}, family="ipr-paper-kfold3")
    made_cell(
        study / "other", "ipr", 0, "0", "ipr-strict-kfold3", policy_fingerprint="cd34", arguments={"dataset": "b"}
    )
    text = write_report(study, splits=["d3"], progress=False, html=False)
    assert "## Paper and strict protocol" in text and "WA % gap" in text and "**Kept apart.**" in text
    for name in ("ipr-paper-kfold3", "ipr-strict-kfold3, made-4, ab12", "ipr-strict-kfold3, made-4, cd34"):
        assert f"## made, {name}" in text


def test_other_commits_and_versions_and_uncommitted_code_are_warned_of(tmp_path):
    made_cell(tmp_path / "a", "ipr", 0)
    assert "Warning" not in write_report(tmp_path, splits=["d3"], progress=False, html=False)
    changed = {**ENVIRONMENT, "commit": "fedcba", "dirty": True, "versions": {"torch": "2.13.0"}}
    made_cell(tmp_path / "b", "ipr", 1, environment=changed)
    text = write_report(tmp_path, splits=["d3"], progress=False, html=False)
    assert "2 different commits" in text and "2 different versions of packages" in text
    assert "1 of 2 runs were made with code that was not committed" in text
    assert "| 1 | fedcba | changed | python 3.11.7, torch 2.13.0 | x86_64, 1 threads, no accelerator |" in text


def test_a_default_system_to_compare_with(tmp_path):
    for system in ("b", "a"):
        made_cell(tmp_path / system, system)
    assert "WA % of a minus" in write_report(tmp_path, splits=["d3"], progress=False, html=False)
    assert "WA % of b minus" in write_report(tmp_path, reference="b", splits=["d3"], progress=False, html=False)


def test_runs_of_another_folder_stand_in_the_same_tables(study, tmp_path, capsys):
    whole = write_report(study, splits=["d3"], progress=False, html=False)
    shutil.move(study / "cells" / "base", tmp_path / "other" / "base")
    assert cli.main(["report", str(study), "--beside", str(tmp_path / "other"), "--splits", "d3"]) == 0
    text = capsys.readouterr().out
    said = f"The tables hold runs of other folders, too: {tmp_path / 'other'}."
    assert said in text and text.replace(f"\n{said}\n", "", 1).strip() == whole.strip()
    assert "12 finished runs below study/ and other/." in (study / "report" / "report.html").read_text()
    assert not (tmp_path / "other" / "report").exists()


@pytest.mark.parametrize("beside", [["."], ["cells/base"], [".."], ["../other", "../other/base"]])
def test_no_run_counts_twice(study, tmp_path, beside):
    shutil.copytree(study / "cells" / "base", tmp_path / "other" / "base")
    with pytest.raises(ValueError, match="cannot stand beside .* one holds the other"):
        write_report(study, progress=False, html=False, beside=[study / path for path in beside])
    assert not (study / "report").exists()


def test_what_is_the_same_cell_in_two_folders_is_refused(made, study):
    with pytest.raises(ValueError, match="are the same cell"):
        write_report(study, progress=False, html=False, beside=[made])
    assert not (study / "report").exists()


def test_runs_of_one_system_with_different_arguments_are_said(tmp_path):
    """As after a plan was changed between them. Runs differ in seed and place, and old ones lack a later argument."""
    for seed, given in enumerate(
        ({"mu": 0.2, "warmup": 5}, {"mu": 0.2, "warmup": 5.0, "run_name": "a"}, {"mu": 0.5, "warmup": 5})
    ):
        folder = made_cell(tmp_path / str(seed), system="mixed", seed=seed, arguments=given)
        made_cell(tmp_path / f"same{seed}", system="same", seed=seed, arguments={"pretrained": f"runs/{seed}"})
    for seed, method in enumerate(("hard_vote", "soft_vote")):
        made_cell(tmp_path / method, system="two", seed=seed, arguments={"method": method})
    results = json.loads((folder / "results.json").read_text()) | {"defaults": {"mu": 0.1, "later": 1}}
    (folder / "results.json").write_text(json.dumps(results))
    text = write_report(tmp_path, splits=["d3"], progress=False, html=False)
    assert text.count("**Warning.** The 3 runs of ") == 1
    assert "The 3 runs of mixed (made, ipr-strict) have different arguments" in text
    assert "so their mean is of several systems: mu 0.2 and 0.5." in text
    assert text.count("**Warning.** The 2 runs of two ") == 1
    assert 'so their mean is of several systems: method "hard_vote" and "soft_vote".' in text
