"""Had the systems converged? The rule on made curves, its table by literal computation, and what comparisons say."""

import csv
import io
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from helpers.made_report import made_cell, made_log, made_study

from hf_ambiser.data.noise_record import LABEL_NOISE
from hf_ambiser.report.convergence import (
    CHANGE_LIMIT,
    CONVERGED,
    LATE,
    LEAST_EVALUATIONS,
    MOVES,
    SWING_LIMIT,
    UNKNOWN,
    both_converged,
    cell_convergence,
    convergence,
    convergence_line,
    convergence_table,
    read_curve,
)
from hf_ambiser.report.figures import validation_curves
from hf_ambiser.report.groups import find, group
from hf_ambiser.report.label_noise import gain_table
from hf_ambiser.report.protocols import pairs, protocols_table
from hf_ambiser.report.results import comparison_table
from hf_ambiser.report.validation_scores import validation_table
from hf_ambiser.report.write import write_report
from hf_ambiser.run_folder.finished import FinishedRun


N = 20
TIME = np.arange(N)
FLAT = {"js": np.full(N, 0.2), "loss": np.ones(N), "wa": np.full(N, 0.6), "ua": np.full(N, 0.5)}
FALLING = {**FLAT, "js": 0.4 * 0.95**TIME}
SWINGING = {**FLAT, "wa": 0.5 + 0.1 * (-1.0) ** TIME}
SHORT = {name: values[: LEAST_EVALUATIONS - 1] for name, values in FLAT.items()}


def curve_of(folder, figures, **more):
    made_log(made_cell(folder), **more, **figures)
    return read_curve(FinishedRun.read(folder))


def one_group(folder):
    (one,) = group(find(folder)[0])
    return one


def by_hand(rows, chosen=None):
    """The rule once more, slowly, on the rows of a log: changes, swings, whether the cell moves."""
    n = len(rows)
    if n < 10:
        return None
    fifth = n // 5
    numbers = {}
    for name in ("js", "loss"):
        last = [row["eval_" + name] for row in rows[n - fifth :]]
        before = [row["eval_" + name] for row in rows[n - 2 * fifth : n - fifth]]
        numbers[name] = (sum(last) / fifth - sum(before) / fifth) / (sum(before) / fifth)
    first = n - fifth if chosen is None else min(chosen, n - fifth)
    for name in ("wa", "ua"):
        numbers[name] = statistics.stdev(row["eval_" + name] for row in rows[first : first + fifth])
    counts = chosen is None or chosen in (n - 2, n - 1)
    drifts = counts and (abs(numbers["js"]) > 0.02 or abs(numbers["loss"]) > 0.02)
    numbers["moves"] = drifts or numbers["wa"] > 0.02 or numbers["ua"] > 0.02
    return numbers


@pytest.mark.parametrize(
    "figures,moves",
    [
        (FLAT, False),
        (FALLING, True),
        ({**FLAT, "js": FALLING["js"][::-1]}, True),  # overfitted: what rises is no end, either
        ({**FLAT, "loss": 1.0 + 0.02 * TIME}, True),
        ({**FLAT, "loss": 1.0 + 0.002 * TIME}, False),
        (SWINGING, True),
        ({**FLAT, "ua": SWINGING["wa"]}, True),
        ({**FLAT, "wa": np.where(TIME < N // 2, SWINGING["wa"], 0.6)}, False),  # it settled down
    ],
)
def test_a_last_epoch_is_judged_by_the_end_of_its_curve(tmp_path, figures, moves):
    found = cell_convergence(curve_of(tmp_path, figures))
    assert found.moves is moves and found.reason == ""


@pytest.mark.parametrize(
    "figures,best,moves",
    [
        (FLAT, 5, False),
        ({**FLAT, "js": FALLING["js"][::-1]}, 5, False),  # what came after the chosen epoch is not scored
        (FALLING, N - 1, True),  # it was still getting better when training ended
        (FALLING, N - LATE, True),
        (FALLING, N - LATE - 1, False),
        (FLAT, N - 1, False),  # the last one by chance, on a flat curve
        (SWINGING, 5, True),  # chosen among epochs that differ by chance
        ({**FLAT, "wa": np.where(TIME < 5, SWINGING["wa"], 0.6)}, 5, False),
        ({**FLAT, "wa": np.where(TIME < 12, SWINGING["wa"], 0.6)}, 5, True),  # at its epoch, not at the end
    ],
)
def test_a_chosen_epoch_is_judged_where_it_is(tmp_path, figures, best, moves):
    assert cell_convergence(curve_of(tmp_path, figures, best=best)).moves is moves


@pytest.mark.parametrize(
    "figures,reason",
    [
        ({}, "no validation"),
        (SHORT, "fewer than 10 evaluations"),
        ({"wa": FLAT["wa"], "ua": FLAT["ua"]}, "validation figures without a value"),
        ({**FLAT, "wa": np.full(N, np.nan), "ua": np.full(N, np.nan)}, "validation figures without a value"),
    ],
)
def test_what_cannot_be_told_says_why(tmp_path, figures, reason):
    found = cell_convergence(curve_of(tmp_path, figures))
    assert found.moves is None and found.reason == reason


def test_a_run_without_a_log_and_one_whose_log_lacks_the_chosen_epoch_cannot_be_told(tmp_path):
    old = cell_convergence(read_curve(FinishedRun.read(made_cell(tmp_path / "old"))))
    assert old.moves is None and old.reason == "no validation"
    found = cell_convergence(curve_of(tmp_path / "odd", FLAT, best=40))
    assert found.moves is None and found.reason == "the log lacks the chosen epoch"


@pytest.mark.parametrize("family", ["blstm", "fusion", "prototype"])
def test_the_log_of_a_recorded_run_is_read_as_by_hand(family):
    run = FinishedRun.read(Path(__file__).parent.parent / "model_cards" / family / "run")
    found = cell_convergence(read_curve(run))
    expected = by_hand([entry for entry in run.results["log"] if "eval_js" in entry])
    assert {**found.change, **found.swing, "moves": found.moves} == pytest.approx(expected)


def test_a_best_checkpoint_that_was_not_loaded_is_not_what_is_scored(tmp_path):
    made_log(made_cell(tmp_path), **FLAT)
    results = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({**results, "best_checkpoint": "checkpoint-30"}))
    curve = read_curve(FinishedRun.read(tmp_path))
    assert not curve.chosen and curve.scored == N - 1


def made_curves(folder, systems, seeds=3, **more):
    """A study of one fold; each system's cells have its curves with a little noise of their own."""
    rng = np.random.default_rng(0)
    for system, (figures, best) in systems.items():
        for seed in range(seeds):
            run = made_cell(folder / system / str(seed), system, seed, **more)
            noisy = {name: values * (1 + 0.004 * rng.normal(size=len(values))) for name, values in figures.items()}
            made_log(run, best, **noisy)
    return folder


@pytest.fixture
def study(tmp_path):
    made_curves(
        tmp_path,
        {"flat": (FLAT, None), "ipr": (FALLING, None), "late": (FALLING, N - 1), "swing": (SWINGING, 6)},
    )
    for seed in range(3):
        made_cell(tmp_path / "old" / str(seed), "old", seed)
    return one_group(tmp_path)


def test_the_table_is_what_its_note_says(study):
    rows = {r["system"]: r for r in csv.DictReader(io.StringIO(convergence_table(study, convergence(study)).csv()))}
    verdicts = {"flat": CONVERGED, "ipr": MOVES, "late": MOVES, "swing": MOVES, "old": f"{UNKNOWN} (no validation)"}
    assert {system: row["verdict"] for system, row in rows.items()} == verdicts
    for system, chosen in (("flat", None), ("ipr", None), ("late", N - 1), ("swing", 6)):
        row, cells = rows[system], []
        for run in study.systems[system]:
            evaluated = [entry for entry in run.results["log"] if "eval_js" in entry]
            cells.append((by_hand(evaluated, chosen), [entry["eval_loss"] for entry in evaluated]))
        for title, name in (("JS", "js"), ("loss", "loss")):
            changes = [numbers[name] for numbers, _ in cells]
            assert float(row[f"change of {title} %"]) == pytest.approx(100 * np.median(np.abs(changes)))
            assert int(row[f"change of {title} %: falls"]) == sum(change < 0 for change in changes)
        for title, name in (("WA", "wa"), ("UA", "ua")):
            expected = 100 * np.median([numbers[name] for numbers, _ in cells])
            assert float(row[f"swing of {title}, points"]) == pytest.approx(expected)
        assert int(row["cells that move"]) == sum(numbers["moves"] for numbers, _ in cells)
        best = [int(np.argmin(losses)) if chosen is None else chosen for _, losses in cells]
        assert int(row["best at the end"]) == sum(place >= N - 2 for place in best)
        assert (row["cells"], row["evaluations: least"], row["rate at the end %"]) == ("3", str(N), "100.0")
        assert row["scored"] == ("last" if chosen is None else "chosen by validation")
    text = convergence_table(study, convergence(study)).markdown()
    assert "| old | 3 | 0 | last | - | - | - | - | - | - | - | cannot be told (no validation) |" in text
    assert f"more than {100 * CHANGE_LIMIT:g} %" in text and f"more than {100 * SWING_LIMIT:g} points" in text


@pytest.mark.parametrize(
    "moving,silent,verdict", [(0, 0, CONVERGED), (1, 0, CONVERGED), (2, 0, MOVES), (1, 2, UNKNOWN), (1, 1, CONVERGED)]
)
def test_a_system_moves_if_half_of_its_cells_do(tmp_path, moving, silent, verdict):
    for seed in range(4):
        run = made_cell(tmp_path / str(seed), "ipr", seed)
        if seed < 4 - silent:
            made_log(run, **(FALLING if seed < moving else FLAT))
    found = convergence(one_group(tmp_path))
    assert found["ipr"].verdict == verdict


def test_no_difference_is_found_to_a_system_that_moves(study):
    found = convergence(study)
    assert both_converged(found, "flat", "flat") == "yes"
    table = comparison_table(study, "d3", "ua", "flat")
    answers = {row[0].text: row[-1].text for row in table.entries}
    assert answers == {
        "ipr": "no: ipr still moves",
        "late": "no: late still moves",
        "swing": "no: swing still moves",
        "old": "not known: old",
    }
    assert "Whatever p says, no difference to it is found." in table.note and "Not known: " in table.note
    assert table.columns[-1] == "both converged?"
    answers = [row[-1].text for row in comparison_table(study, "d3", "ua", "ipr").entries]
    assert answers[:2] == ["no: ipr still moves", "no: ipr and late still move"]
    line = convergence_line(found)
    assert line.startswith("Not converged: ipr, late, swing. Whatever p says") and "converged: old." in line


def test_a_study_that_converged_has_no_warning(tmp_path):
    one = one_group(made_curves(tmp_path, {"ipr": (FLAT, None), "base": (FLAT, 4)}))
    table = comparison_table(one, "d3", "js", "ipr")
    assert [row[-1].text for row in table.entries] == ["yes"] and "no difference" not in table.note
    assert convergence_line(convergence(one)) == "Every system had converged."


def test_gaps_of_protocols_and_gains_on_label_noise_name_what_moves(tmp_path):
    for protocol in ("paper", "strict"):
        systems = {"ipr": (FALLING if protocol == "paper" else FLAT, None), "base": (FLAT, None)}
        made_curves(tmp_path / protocol, systems, family=f"ipr-{protocol}")
    ((paper, strict),) = pairs(group(find(tmp_path)[0]))
    assert "Not converged: ipr under paper. Whatever p says" in protocols_table(paper, strict, ["d3"]).note
    assert "Not converged" not in protocols_table(strict, strict, ["d3"]).note
    noise = {"how": "confusion", "share": 0.2, "seed": 0, "config": "x", "source_content": "y"}
    folder = made_curves(tmp_path / "noise", {"a": (FLAT, None), "b": (SWINGING, None)}, **{LABEL_NOISE: noise})
    assert "Not converged: b on confusion 20 %." in gain_table([one_group(folder)], "d3", "a").note


def test_curves_are_drawn_and_a_group_without_any_has_no_figure(study, tmp_path):
    assert validation_curves(study, tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    made_cell(tmp_path / "alone" / "0")
    assert validation_curves(one_group(tmp_path / "alone"), tmp_path / "none.png") is None


@pytest.mark.usefixtures("blank_figures")
def test_a_report_shows_it_before_any_comparison(study, tmp_path):
    text = write_report(tmp_path, splits=["d3"], progress=False)
    assert text.index("### Had the systems converged?") < text.index("### d3")
    assert "figures/made__ipr-strict_validation.png" in text and "| no: ipr still moves |" in text
    assert (tmp_path / "report" / "made__ipr-strict_convergence.csv").is_file()
    assert "Had the systems converged?" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.usefixtures("blank_figures")
def test_runs_made_before_get_a_report(tmp_path):
    text = write_report(made_study(tmp_path, {"ipr": 1.0, "base": 0.3}), splits=["d3"], html=False, progress=False)
    assert "Not known whether they had converged: base, ipr." in text and "| not known: ipr and base |" in text
    assert "_validation.png" not in text


def test_the_table_of_validation_has_the_figures_of_the_evaluation_that_is_scored(study):
    table = validation_table(study)
    rows = {row["system"]: row for row in csv.DictReader(io.StringIO(table.csv()))}
    for system, chosen in (("flat", N - 1), ("ipr", N - 1), ("late", N - 1), ("swing", 6)):
        for title, name, factor in (("WA %", "wa", 100), ("UA %", "ua", 100), ("JS (bit)", "js", 1)):
            logs = [[e for e in run.results["log"] if "eval_js" in e] for run in study.systems[system]]
            expected = [factor * log[chosen][f"eval_{name}"] for log in logs]
            assert float(rows[system][f"{title}: mean"]) == pytest.approx(statistics.mean(expected))
            assert float(rows[system][f"{title}: sd"]) == pytest.approx(statistics.stdev(expected))
        assert (rows[system]["runs"], rows[system]["epoch: median"]) == ("3", str(chosen + 1.0))
    text = table.markdown()
    assert rows["old"]["runs"] == "0" and "| old | 0 | - | undefined | undefined |" in text
    assert "| swing | 3 | 7 | " in text
    assert "macro-F1 %" not in table.columns and "validation utterances" in table.note  # the made logs have none


def test_the_epochs_that_were_chosen_are_said_with_their_range(tmp_path):
    for seed, best in enumerate((2, 9, 5)):
        made_log(made_cell(tmp_path / str(seed), "ipr", seed), best, **FLAT)
    (row,) = validation_table(one_group(tmp_path)).entries
    assert (row[2].text, row[2].below) == ("6", "(3 to 10)")
    assert row[2].parts == {"median": 6.0, "least": 3.0, "most": 10.0}


def test_a_group_without_validation_has_no_table_of_it_and_a_number_that_is_none_is_left_out(tmp_path):
    made_cell(tmp_path / "silent" / "0", "silent", 0)
    assert validation_table(one_group(tmp_path / "silent")) is None
    made_curves(tmp_path / "odd", {"ipr": ({**FLAT, "ua": np.full(N, np.nan)}, None)}, seeds=1)
    assert "UA %" not in validation_table(one_group(tmp_path / "odd")).columns
    # The chosen epoch is not in the log, so nothing is known of the model that is scored.
    made_curves(tmp_path / "gone", {"ipr": (FLAT, 40)}, seeds=1)
    assert validation_table(one_group(tmp_path / "gone")) is None
