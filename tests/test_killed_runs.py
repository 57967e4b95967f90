"""Every method, killed at moments planted and drawn, goes on each time and ends bit-equal to a run without a kill.

The default run has one method of each kind (`suite_methods.ONE_OF_A_KIND`). The method with the most state of its own
is killed at every moment, the others at those between which their own state is written.
"""

from __future__ import annotations

import json

import pytest
from helpers.suite_checks import assert_same_finished_run, assert_same_run_folder
from helpers.suite_kill import SCENARIOS, parts_of, read_attempts
from helpers.suite_methods import METHODS, ONE_OF_A_KIND, VARIANTS, cannot, killed_runs, needs

from hf_ambiser.methods import load_method
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.training import checkpoints


MOST_STATE = "meta"
KILLED = [case if case == MOST_STATE else f"{case}@briefly" for case in ONE_OF_A_KIND]
# Those that ship with patience, and the method with the most kinds of utterances.
SOME = ["slc@stops_early", "meta@stops_early", "ipr@by_epoch", "ipr@scored"]
# A whole run has a tiny model of the family "prototype".
EVERY = [
    f"{method}@{name}"
    for name, scenario in SCENARIOS.items()
    for method in METHODS
    if name and (not scenario.whole_run or load_method(method).model_family == "prototype")
]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Two processes in which a method of each kind is trained, killed many times, and finished."""
    cases = [case for case in [*KILLED, *SOME] if not cannot(parts_of(case)[0], "resume")]
    return killed_runs(tmp_path_factory.mktemp("killed"), *cases, kills=2)


def check_killed(case, folder):
    attempts = read_attempts(folder / case)
    *killed, last = attempts["planted"]
    assert all(attempt["killed"] for attempt in killed) and last["status"] == 0, attempts["planted"]
    same = assert_same_finished_run if parts_of(case)[1].whole_run else assert_same_run_folder
    assert any(attempt["killed"] for attempt in attempts["random"])
    for name in sorted({attempt["folder"] for attempt in attempts["planted"] + attempts["random"]}):
        of_folder = [attempt for kind in attempts.values() for attempt in kind if attempt["folder"] == name]
        left = [attempt["last"] for attempt in of_folder]
        assert left == sorted(left), f"a whole checkpoint was lost: {left}"
        same(folder / case / name, folder / case / "whole")
    return attempts


@pytest.mark.parametrize("case", KILLED)
def test_killed_at_any_moment_and_resumed_is_bit_equal(case, killed):
    needs(parts_of(case)[0], "resume")
    check_killed(case, killed)


@pytest.mark.parametrize("case", SOME)
def test_killed_where_it_stops_early_evaluates_scores_or_writes_the_card(case, killed):
    needs(parts_of(case)[0], "resume")
    check_killed(case, killed)
    if case.endswith(("stops_early", "scored")):
        state = json.loads((checkpoints.last_complete(killed / case / "whole") / "trainer_state.json").read_text())
        assert state["global_step"] < state["max_steps"], "this run did not stop early, so it shows nothing"


def test_seconds_and_legs_of_a_killed_run_are_those_of_all_its_legs(killed):
    """The planted run is killed after training, twice before its results, so it goes on from its last checkpoint."""
    results = RunFolder(killed / "ipr@scored" / "planted").read_results()
    legs = results["training"]["legs"]
    assert len(legs) > 1 and legs[0]["from_step"] == 0 and legs[1]["from_step"] > 0
    assert results["training"]["train_runtime"] == pytest.approx(sum(leg["seconds"] for leg in legs), abs=1e-3)
    card = RunFolder(killed / "ipr@scored" / "planted").card.read_text()
    assert f" s in {len(legs)} parts (the run was stopped and went on) on " in card
    assert "legs" not in RunFolder(killed / "ipr@scored" / "whole").read_results()["training"]


@pytest.mark.slow
@pytest.mark.parametrize("case", VARIANTS)
def test_variants_killed_and_resumed(case, tmp_path):
    needs(case, "resume")
    check_killed(case, killed_runs(tmp_path, case))


@pytest.mark.slow
@pytest.mark.parametrize("case", [*METHODS, *EVERY])
def test_killed_at_twenty_random_moments(case, tmp_path):
    needs(parts_of(case)[0], "resume")
    attempts = check_killed(case, killed_runs(tmp_path, case, kills=20))
    assert sum(attempt["killed"] for attempt in attempts["random"]) == 20
