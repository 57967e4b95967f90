"""A method of each kind on two ranks: resumed exactly, and broken by the faults that only ranks show.

Two ranks equal one process where there is no dropout and no masking: with them, each rank draws its own numbers.
"""

from __future__ import annotations

import pytest
from helpers.suite_checks import assert_same_run_folder, check_ranks
from helpers.suite_methods import ONE_OF_A_KIND, OTHERS, VARIANTS, cannot, needs, two_rank_runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A method of each kind, and IPR with planted faults, trained by two processes; the folder of their traces."""
    return two_rank_runs(tmp_path_factory.mktemp("two_ranks"), *ONE_OF_A_KIND, "faults")


@pytest.mark.parametrize("case", ONE_OF_A_KIND)
def test_two_ranks_equal_one_process(case, trained, tmp_path):
    needs(case, "ranks")
    check_ranks(case, tmp_path, trained)


@pytest.mark.parametrize("case", ONE_OF_A_KIND)
def test_two_ranks_resume_exactly(case, trained):
    needs(case, "resume")
    folder = trained / "resumed" / case
    assert_same_run_folder(folder / "stopped", folder / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("case", [*OTHERS, *VARIANTS])
def test_variants_on_two_ranks(case, tmp_path):
    two_rank_runs(tmp_path, case)
    if not cannot(case, "ranks"):
        check_ranks(case, tmp_path / "one", tmp_path)
    if not cannot(case, "resume"):
        folder = tmp_path / "resumed" / case
        assert_same_run_folder(folder / "stopped", folder / "whole")


@pytest.mark.parametrize(
    ("fault", "words"),
    [("gather", "not bit-equal"), ("gradient_gather", "differs|instead of"), ("local_mean", "differs|instead of")],
)
def test_ranks_that_do_not_share(fault, words, trained, tmp_path):
    with pytest.raises(AssertionError, match=words):
        check_ranks("ipr", tmp_path, trained, fault)
