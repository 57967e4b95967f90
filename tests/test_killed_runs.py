"""Every method, killed at moments planted and drawn, goes on each time and ends bit-equal to a run without a kill."""

from __future__ import annotations

import pytest
from helpers.suite_checks import assert_same_run_folder
from helpers.suite_kill import read_attempts
from helpers.suite_methods import METHODS, VARIANTS, cannot, killed_runs, needs


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Two processes in which every method is trained, killed many times, and finished."""
    return killed_runs(tmp_path_factory.mktemp("killed"), *(case for case in METHODS if not cannot(case, "resume")))


def check_killed(case, folder):
    attempts = read_attempts(folder / case)
    *killed, last = attempts["planted"]
    assert all(attempt["killed"] for attempt in killed) and last["status"] == 0, attempts["planted"]
    for kind in ("planted", "random"):
        left = [attempt["last"] for attempt in attempts[kind]]
        assert left == sorted(left), f"a whole checkpoint was lost: {left}"
        assert any(attempt["killed"] for attempt in attempts[kind])
        assert_same_run_folder(folder / case / kind, folder / case / "whole")


@pytest.mark.parametrize("case", METHODS)
def test_killed_at_any_moment_and_resumed_is_bit_equal(case, killed):
    needs(case, "resume")
    check_killed(case, killed)


@pytest.mark.slow
@pytest.mark.parametrize("case", VARIANTS)
def test_variants_killed_and_resumed(case, tmp_path):
    needs(case, "resume")
    check_killed(case, killed_runs(tmp_path, case))
