"""Running cells: beside others, through failures, kills and going on. The cells train nothing (made_study)."""

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from helpers import made_study
from helpers.made_study import made_cells, pretend, times

from hf_ambiser.run_folder.attempts import Attempts
from hf_ambiser.studies import dispatch
from hf_ambiser.studies.cells import Cell, share
from hf_ambiser.studies.dispatch import Dispatcher
from hf_ambiser.studies.plan import PlanError
from hf_ambiser.studies.threads import threads_of_a_cell


FORK = multiprocessing.get_context("fork")
NAMES = [f"s{i}" for i in range(6)]


@pytest.fixture(scope="module", autouse=True)
def another_version_in_the_current_folder(tmp_path_factory):
    """Where a command is given may hold another copy of the package; cells run the runner's own."""
    folder, before = tmp_path_factory.mktemp("here"), Path.cwd()
    (folder / "hf_ambiser").mkdir()
    (folder / "hf_ambiser" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    os.chdir(folder)
    yield
    os.chdir(before)


def run(cells, jobs: int = 2, stale: float = 5.0):
    return Dispatcher(cells, pretend, jobs, preload=[made_study.__name__], beat=0.1, stale=stale).run()


def runner(cells, jobs: int, told) -> None:
    """A runner as a process of its own, in a session of its own."""
    os.setsid()
    # Its cells are forked from itself: a server of its own would import everything anew.
    dispatch._start_server = lambda: None
    multiprocessing.get_context = lambda method: FORK
    FORK.set_forkserver_preload = lambda modules: None
    outcome = run(cells, jobs)
    told.send((len(outcome.finished), outcome.failed, [cell.key for cell in outcome.elsewhere]))


def started(cells, jobs: int = 2):
    receives, sends = FORK.Pipe(duplex=False)
    process = FORK.Process(target=runner, args=(cells, jobs, sends))
    # A suite that a shell has started in the background ignores Ctrl-C, and so would the process.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process.start()
    signal.signal(signal.SIGINT, before)
    return process, receives


def ended(process, receives) -> tuple:
    assert receives.poll(60)
    told = receives.recv()
    process.join()
    return told


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def pids(cells, what: str) -> Counter:
    return Counter(line.split()[0] for c in cells if (c.folder / what).exists() for line in (c.folder / what).open())


@pytest.mark.parametrize(
    ("cores", "jobs", "given", "threads"),
    [
        (8, 2, None, 4),
        (8, 3, None, 2),
        (2, 5, None, 1),
        (8, 2, "1", 1),
        (8, 2, "6", 4),
        (8, 2, "0", 4),
        (8, 2, "x", 4),
    ],
)
def test_cells_share_the_cores_that_they_may_use_and_keep_to_what_the_environment_says(
    cores, jobs, given, threads, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads_of_a_cell(jobs) == threads


def test_each_cell_is_done_once_in_a_process_of_its_own_with_its_share_of_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cells = made_cells(tmp_path, NAMES)
    outcome = run(cells)
    assert sorted(cell.key for cell in outcome.finished) == [cell.key for cell in cells]
    assert not outcome.failed and not outcome.elsewhere
    assert set(pids(cells, "ended").values()) == {1} and len(pids(cells, "ended")) == 6
    cores = {line.split()[1] for cell in cells for line in (cell.folder / "begun").open()}
    assert cores == {"3"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert len(run(cells).finished) == 6  # a finished cell is only counted
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before


def test_failed_cells_are_listed_do_not_stop_the_others_and_are_tried_again_by_the_next_call(tmp_path):
    cells = made_cells(tmp_path, ["good"]) + made_cells(tmp_path, ["bad"], failures=1)
    cells += made_cells(tmp_path, ["crash"], dies=True)
    outcome = run(cells)
    assert [cell.system for cell in outcome.finished] == ["good"]
    assert outcome.failed["bad/fold/seed-0"] == "failure number 1"
    assert "ended by SIGABRT" in outcome.failed["crash/fold/seed-0"]
    assert "ValueError: failure" in (cells[1].folder / "train.log").read_text()
    outcome = run(cells[:2])
    assert len(outcome.finished) == 2 and not outcome.failed and times(cells[1], "begun") == 2
    assert [a.outcome for a in Attempts(cells[1].attempts).all()] == ["failed", "finished"]


def test_a_cell_whose_process_cannot_even_begin_is_a_failure_not_a_loop(tmp_path):
    cells = made_cells(tmp_path, ["a"])
    (tmp_path / "cells" / "a" / "fold" / "seed-0" / "train.log").mkdir(parents=True)  # cannot be written to
    outcome = run(cells)
    assert list(outcome.failed) == ["a/fold/seed-0"] and not cells[0].finished


def test_two_runners_split_the_cells_and_none_is_done_twice(tmp_path):
    cells = made_cells(tmp_path, [f"s{i}" for i in range(10)], seconds=0.3)
    both = [started(cells) for _ in range(2)]
    told = [ended(*one) for one in both]
    assert all(times(cell, "begun") == times(cell, "ended") == 1 for cell in cells)
    assert not list(tmp_path.rglob("overlap"))
    for finished, failed, elsewhere in told:
        assert not failed and finished + len(elsewhere) == 10
    assert max(finished for finished, _, _ in told) == 10
    # Each did some: the cells' processes are children of either.
    assert len({line for cell in cells for line in (cell.folder / "parent").read_text().split()}) == 2


def test_a_runner_that_is_killed_takes_its_cells_processes_with_it_and_another_goes_on_at_once(tmp_path):
    cells = made_cells(tmp_path, NAMES[:3], seconds=0.3) + made_cells(tmp_path, ["long"], seconds=600)
    process, _ = started(cells)
    until(lambda: times(cells[3], "begun") == 1)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(pids(cells[3:], "begun")) == 1
    # A short cell may have been at work, too; while its process ends, the cell is still somebody's.
    for working in pids(cells, "begun"):
        until(lambda pid=working: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
    last = Attempts(cells[3].attempts).last()
    assert last.outcome is None and not Attempts(cells[3].attempts).is_held(last)
    done = {cell.key for cell in cells if cell.finished}
    again = made_cells(tmp_path, [*NAMES[:3], "long"], killed=True)
    assert len(run(again).finished) == 4 and times(again[3], "ended") == 1
    # A short cell may have been killed between its end and its results; then it is run once more.
    assert all(times(cell, "ended") == 1 if cell.key in done else times(cell, "ended") >= 1 for cell in again)
    assert all(times(cell, "begun") == 1 for cell in again if cell.key in done)


def test_cells_processes_that_are_killed_are_failures_of_that_call_only(tmp_path):
    cells = made_cells(tmp_path, ["a"], seconds=600) + made_cells(tmp_path, ["b"])
    process, told = started(cells)
    until(lambda: times(cells[0], "begun") == 1)
    os.kill(int(*pids(cells[:1], "begun")), signal.SIGKILL)
    finished, failed, elsewhere = ended(process, told)
    assert finished == 1 and not elsewhere and "SIGKILL (out of memory?)" in failed["a/fold/seed-0"]
    assert len(run(made_cells(tmp_path, ["a", "b"], killed=True)).finished) == 2


def test_ctrl_c_ends_the_cells_and_frees_them(tmp_path):
    cells = made_cells(tmp_path, ["a", "b"], seconds=600)
    process, _ = started(cells)
    until(lambda: all(times(cell, "begun") for cell in cells))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    process.join()
    assert process.exitcode != 0
    assert [Attempts(cell.attempts).last().outcome for cell in cells] == ["interrupted"] * 2
    assert not list(tmp_path.rglob("*.error")) and not any(cell.finished for cell in cells)


def test_a_cell_that_another_machine_works_on_is_left_to_it_or_taken_over_when_it_is_silent(tmp_path):
    cells = made_cells(tmp_path, ["a", "b"])
    for cell in cells:
        attempts = Attempts(cell.attempts)
        attempts.take()
        path = cell.attempts / "00001.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere"}))
    living = FORK.Process(target=touch_for_ever, args=(cells[1].attempts / "00001.json",))
    living.start()
    try:
        outcome = run(cells, stale=1.5)
    finally:
        living.kill()
        living.join()
    assert [cell.system for cell in outcome.finished] == ["a"] and [c.system for c in outcome.elsewhere] == ["b"]
    assert times(cells[1], "begun") == 0


def touch_for_ever(path: Path) -> None:
    while True:
        os.utime(path)
        time.sleep(0.1)


def chained(folder: Path, **first) -> list[Cell]:
    """`second` begins with what `first` leaves, and stands before it."""
    source = made_cells(folder, ["first"], **first)
    second = made_cells(folder, ["second"])
    return [
        dataclasses.replace(
            second[0], after=(("network", source[0].key),), fields={**second[0].fields, "network": "first"}
        ),
        *source,
    ]


def test_a_cell_begins_after_the_one_whose_network_it_needs(tmp_path):
    cells = chained(tmp_path)
    assert len(run(cells).finished) == 2
    second, first = (
        (cell.folder / name).stat().st_mtime_ns for cell, name in zip(cells, ("begun", "ended"), strict=True)
    )
    assert second > first


def test_a_cell_whose_source_failed_or_is_in_another_part_is_a_failure_that_says_so(tmp_path):
    failed = run(chained(tmp_path / "failed", failures=1)).failed
    assert failed["second/fold/seed-0"] == ("network='first': its starting cell first/fold/seed-0 failed")
    second, first = chained(tmp_path / "parts")
    assert "is not finished; run it first" in run([second]).failed[second.key]
    assert len(run([first]).finished) == len(run([second]).finished) == 1


def test_a_cell_waits_for_a_source_that_another_runner_works_on(tmp_path):
    second, first = chained(tmp_path, seconds=2.0)
    process, receives = started([first], jobs=1)
    until(lambda: (first.folder / "begun").exists())
    assert [cell.key for cell in run([second]).finished] == [second.key]
    assert ended(process, receives)[0] == 1


def test_parts_of_a_job_array_hold_every_cell_once(tmp_path):
    cells = made_cells(tmp_path, [f"s{i}" for i in range(7)])
    for n in (1, 2, 3, 7, 9):
        parts = [share(cells, f"{i}/{n}") for i in range(1, n + 1)]
        assert Counter(cell.key for part in parts for cell in part) == Counter(cell.key for cell in cells)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0"):
        with pytest.raises(PlanError, match=f"--cells {wrong} must be i/n"):
            share(cells, wrong)


def test_no_jobs_at_all_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--jobs 0"):
        run(made_cells(tmp_path, ["a"]), jobs=0)


def test_a_woken_runner_does_not_end_the_attempt_of_another_container_that_has_the_same_process_number(tmp_path):
    (cell,) = made_cells(tmp_path, ["a"])
    one = Dispatcher([cell], pretend, preload=[made_study.__name__])
    process = FORK.Process(target=os._exit, args=(1,))
    process.start()
    one._born[process] = "1234567"
    process.join()
    attempts = Attempts(cell.attempts)
    theirs = attempts.take()
    path = cell.attempts / "00001.json"
    for changed in ({"host": "another container", "pid": process.pid}, {"pid": process.pid}):
        content = {**dataclasses.asdict(theirs), **changed}
        del content["touched"]
        path.write_text(json.dumps(content))
        one._end(cell, process, "failed", "its process ended")
        assert attempts.last().outcome is None and attempts.last().number == 1, changed
    one._born[process] = theirs.born  # now the file is of this runner's own process
    one._end(cell, process, "failed", "its process ended")
    assert attempts.last().outcome == "failed"


@pytest.mark.parametrize("alive", [False, True])
def test_a_holder_whose_touches_are_dated_in_the_future_is_taken_over_or_left_alone(tmp_path, alive):
    (cell,) = made_cells(tmp_path, ["a"])
    attempts = Attempts(cell.attempts)
    attempts.take()
    path = cell.attempts / "00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere"}))
    os.utime(path, (time.time() + 86400,) * 2)
    living = FORK.Process(target=touch_ahead_for_ever, args=(path,))
    if alive:
        living.start()
    try:
        outcome = run([cell], stale=1.5)
    finally:
        if alive:
            living.kill()
            living.join()
    assert (len(outcome.finished), len(outcome.elsewhere)) == ((0, 1) if alive else (1, 0))


def touch_ahead_for_ever(path: Path) -> None:
    while True:
        os.utime(path, (time.time() + 86400,) * 2)
        time.sleep(0.1)


def test_a_failure_from_before_that_is_dated_in_the_future_is_tried_again(tmp_path):
    (cell,) = made_cells(tmp_path, ["a"])
    attempts = Attempts(cell.attempts)
    attempts.end(attempts.take(), "failed", "long ago")
    os.utime(cell.attempts / "00001.json", (time.time() + 86400,) * 2)
    assert len(run([cell]).finished) == 1
