"""Who holds a cell: taking it, losing it, races, holders that are dead."""

import dataclasses
import json
import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from hf_ambiser.run_folder import attempts as attempts_module
from hf_ambiser.run_folder.attempts import FAILED, FINISHED, Attempts, file_clock
from hf_ambiser.run_folder.processes import UNKNOWN, birth, this_host


FORK = multiprocessing.get_context("fork")


@pytest.fixture
def cell(tmp_path):
    return Attempts(tmp_path / "cell", stale=0.5)


def a_dead_holder(attempts: Attempts) -> None:
    """The cell is taken by a process that is killed."""
    process = FORK.Process(target=lambda: attempts.take() and os.kill(os.getpid(), signal.SIGKILL))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and attempts.last().outcome is None


def from_elsewhere(attempts: Attempts) -> None:
    """The last attempt's holder becomes one on another machine, whose process ids say nothing here."""
    (path,) = attempts.folder.glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere"}))


def test_a_cell_is_held_until_its_attempt_ends(cell):
    assert cell.last() is None and not cell.is_held(None)
    mine = cell.take()
    assert mine.number == 1 and cell.is_held(cell.last()) and cell.take() is None
    cell.end(mine, FAILED, "why")
    last = cell.last()
    assert (last.outcome, last.error, last.pid) == (FAILED, "why", os.getpid()) and not cell.is_held(last)
    again = cell.take()
    cell.end(again, FINISHED)
    assert [a.outcome for a in cell.all()] == [FAILED, FINISHED]
    assert not list(cell.folder.glob("*.part"))


def test_a_holder_that_was_killed_is_seen_at_once_on_the_same_machine(cell):
    a_dead_holder(cell)
    assert not cell.is_held(cell.last()) and cell.take().number == 2


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(cell):
    a_dead_holder(cell)
    (path,) = cell.folder.glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": os.getpid()}))
    assert not cell.is_held(cell.last())


def test_a_holder_elsewhere_is_dead_when_it_gives_no_sign_of_life(cell):
    a_dead_holder(cell)
    from_elsewhere(cell)
    path = cell.folder / "00001.json"
    assert cell.is_held(cell.last()) and cell.take() is None
    # By the file system's clock: this machine's own may be hours off.
    os.utime(path, (file_clock(cell.folder) - 0.4,) * 2)
    assert cell.is_held(cell.last())
    os.utime(path, (file_clock(cell.folder) - 0.6,) * 2)
    assert not cell.is_held(cell.last()) and cell.take().number == 2


def test_a_holder_killed_between_making_and_writing_its_file_holds_the_cell_for_a_while_only(cell):
    cell.folder.mkdir()
    (cell.folder / "00001.json").touch()
    assert cell.is_held(cell.last())
    os.utime(cell.folder / "00001.json", (file_clock(cell.folder) - 0.6,) * 2)
    assert cell.take().number == 2


def racer(attempts: Attempts, start, tried, won) -> None:
    start.wait()
    if attempts.take() is not None:
        won.put(os.getpid())
    tried.wait()  # a winner that had gone would be dead, and the cell free again


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_racers_one_gets_the_cell(tmp_path, stale):
    for trial in range(4):
        attempts = Attempts(tmp_path / str(trial))
        if stale:
            a_dead_holder(attempts)
        start, tried, won = FORK.Barrier(6), FORK.Barrier(6), FORK.SimpleQueue()
        racers = [FORK.Process(target=racer, args=(attempts, start, tried, won)) for _ in range(6)]
        for process in racers:
            process.start()
        for process in racers:
            process.join()
        winners = []
        while not won.empty():
            winners.append(won.get())
        assert len(winners) == 1 and attempts.last().pid == winners[0], trial
        assert attempts.last().number == 1 + stale


def test_who_looked_before_another_took_over_and_ended_cannot_take_a_cell_that_is_held_again(cell, monkeypatch):
    # The race that deleted or renamed locks lose: A finds the lock stale; B takes it over, finishes and releases; C
    # takes the cell; only now A acts on what it saw.
    a_dead_holder(cell)
    seen = cell.last()
    b = cell.take()
    cell.end(b, FAILED, "x")
    c = cell.take()
    late = Attempts(cell.folder)
    monkeypatch.setattr(late, "last", lambda: seen)
    assert late.take() is None and cell.last().number == c.number


def worker(attempts: Attempts, orphaned) -> None:
    with attempts.alive(attempts.take(), beat=0.05, orphaned=orphaned.is_set):
        time.sleep(60)


@pytest.mark.parametrize("why", ["taken", "orphaned"])
def test_a_worker_gives_signs_of_life_and_ends_itself_when_it_lost_its_cell_or_its_runner(cell, why):
    orphaned = FORK.Event()
    process = FORK.Process(target=worker, args=(cell, orphaned))
    process.start()
    touched = set()
    while len(touched) < 3:  # 0: not taken yet
        touched.add(last.touched if (last := cell.last()) else 0.0)
        time.sleep(0.02)
    assert process.is_alive() and cell.take() is None
    if why == "taken":
        (cell.folder / "00002.json").touch()
    else:
        orphaned.set()
    process.join(timeout=30)
    assert process.exitcode == 1


def test_a_worker_whose_file_system_stays_away_ends_itself_when_others_take_it_for_dead(cell):
    process = FORK.Process(target=worker, args=(cell, FORK.Event()))
    process.start()
    while cell.last() is None or not cell.last().pid:
        time.sleep(0.02)
    cell.folder.rename(cell.folder.with_name("away"))
    begun = time.monotonic()
    process.join(timeout=30)
    assert process.exitcode == 1 and time.monotonic() - begun >= 0.4  # stale is 0.5 s here


def test_processes_that_see_each_other_have_the_same_host():
    told = FORK.SimpleQueue()
    process = FORK.Process(target=lambda: told.put(this_host()))
    process.start()
    process.join()
    assert told.get() == this_host()


# ---- clocks, versions, other processes with the same number ---------------------------------------------------------


def from_the_future(attempts: Attempts, days: float = 2) -> Path:
    path = attempts.folder / "00001.json"
    os.utime(path, (file_clock(attempts.folder) + days * 86400,) * 2)
    return path


def test_a_touch_from_the_future_is_said_and_holds_the_cell_only_while_it_changes(cell, caplog):
    a_dead_holder(cell)
    from_elsewhere(cell)
    path = from_the_future(cell)
    with caplog.at_level(logging.WARNING):
        assert cell.is_held(cell.last())
        begun = time.monotonic()
        while cell.is_held(cell.last()):
            assert time.monotonic() - begun < 10, "waited for ever"
            time.sleep(0.02)
    assert 0.3 < time.monotonic() - begun
    (said,) = [record.getMessage() for record in caplog.records]  # once, however often it is judged
    assert str(path) in said and "seconds in the future" in said and "counts as dead" in said
    # A new touch, also one from the future, is a sign of life.
    from_the_future(cell, days=3)
    assert cell.is_held(cell.last())


def test_who_has_watched_a_holder_die_hands_that_on_to_the_process_that_takes_the_cell(cell):
    a_dead_holder(cell)
    from_elsewhere(cell)
    from_the_future(cell)
    dead = cell.last()
    fresh = Attempts(cell.folder, cell.stale)
    assert fresh.take() is None  # it has just seen this touch for the first time
    assert fresh.take(dataclasses.replace(dead, touched=dead.touched - 1)) is None  # it was touched since
    assert fresh.take(dead).number == 2


@pytest.mark.parametrize(
    "change,words",
    [
        (
            {"version": 2, "gpu": "x"},
            ["version 2 of these files, this one reads version 1", "['gpu']"],
        ),
        ({"gpu": "x"}, ["version not told", "unknown fields: ['gpu']"]),
        ({"version": 2}, ["version 2"]),
    ],
)
def test_an_attempt_of_a_later_version_is_named_with_its_version_and_file(cell, change, words):
    cell.end(cell.take(), FINISHED)
    path = cell.folder / "00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    for read in (cell.last, cell.all, cell.take):
        with pytest.raises(ValueError, match="was written by a later version of hf_ambiser") as error:
            read()
        assert all(word in str(error.value) for word in [str(path), *words])


@pytest.mark.parametrize("name,value", [("pid", "x"), ("pid", None), ("host", 5), ("started", "x"), ("number", "x")])
def test_an_attempt_with_another_kind_of_value_is_named(cell, name, value):
    cell.end(cell.take(), FINISHED)
    path = cell.folder / "00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ValueError, match=f"00001.json must hold .* under '{name}'"):
        cell.take()


def test_a_process_number_that_no_system_has_is_of_nobody():
    assert birth(10**30) == ""


def test_other_files_in_the_folder_are_no_attempts(cell):
    mine = cell.take()
    (cell.folder / "notes.json").write_text("mine")
    assert cell.last().number == mine.number == 1 and len(cell.all()) == 1


def test_a_process_is_known_by_host_number_and_birth(cell):
    mine, born = cell.take(), birth(os.getpid())
    assert mine.is_of(os.getpid(), born) and not mine.is_of(os.getpid(), "17") and not mine.is_of(1, born)
    assert not dataclasses.replace(mine, host="elsewhere").is_of(os.getpid(), born)
    assert mine.is_of(os.getpid(), UNKNOWN)  # a system that does not tell


def test_where_births_are_not_known_signs_of_life_decide(cell, monkeypatch):
    cell.take()
    monkeypatch.setattr(attempts_module, "birth", lambda pid: UNKNOWN)
    assert cell.is_held(cell.last())
    os.utime(cell.folder / "00001.json", (file_clock(cell.folder) - 0.6,) * 2)
    assert not cell.is_held(cell.last())


def test_the_birth_of_a_process():
    process = FORK.Process(target=time.sleep, args=(60,))
    process.start()
    assert birth(process.pid).isdecimal() and int(birth(process.pid)) >= int(birth(os.getpid()))
    process.kill()
    process.join()
    assert birth(process.pid) == ""


def test_an_attempt_that_could_not_be_written_leaves_nothing_to_wait_for(cell, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        cell.take()
    assert cell.last() is None
