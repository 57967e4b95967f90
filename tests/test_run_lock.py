"""Two processes in one run folder: the second is refused while the first lives, and goes on when it is dead."""

import json
import multiprocessing
import os
import signal
import time

import pytest
import yaml
from helpers.made_run import built, fields

from hf_ambiser import train
from hf_ambiser.run_folder.attempts import Attempts
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.run_lock import held
from hf_ambiser.runs import run as module


pytestmark = pytest.mark.usefixtures("blank_figures")
FORK = multiprocessing.get_context("fork")


def short(data, out) -> dict:
    return fields(data, out, method="hard_vote", warmup_epochs=..., num_train_epochs=1)


def holder(run, ready) -> None:
    with held(run):
        ready.set()
        time.sleep(60)


@pytest.fixture
def living(tmp_path):
    """A process that holds a run folder."""
    ready = FORK.Event()
    process = FORK.Process(target=holder, args=(tmp_path / "run", ready))
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def last(run):
    return Attempts(RunFolder(run).attempts).last()


def test_a_second_process_is_refused_at_once_and_goes_on_when_the_first_is_killed(tmp_path, living):
    begun = time.monotonic()
    with pytest.raises(ValueError, match=f"process {living.pid} on .* works in .*run since .* Wait until it") as error:
        with held(tmp_path / "run"):
            pass
    assert time.monotonic() - begun < 5 and "\n" not in str(error.value)
    os.kill(living.pid, signal.SIGKILL)
    living.join()
    with held(tmp_path / "run"):
        assert last(tmp_path / "run").pid == os.getpid()
    assert last(tmp_path / "run").outcome == "finished"


@pytest.mark.parametrize("reason", [ValueError("no\nluck"), KeyboardInterrupt()])
def test_a_process_that_fails_or_is_stopped_lets_go(tmp_path, reason):
    with pytest.raises(type(reason)), held(tmp_path):
        raise reason
    assert last(tmp_path).outcome == ("failed" if isinstance(reason, ValueError) else "interrupted")
    with held(tmp_path):
        pass


def touch_for_ever(path) -> None:
    while True:
        os.utime(path)
        time.sleep(0.05)


@pytest.mark.parametrize("alive", [False, True])
@pytest.mark.parametrize("ahead", [0, 86400])
def test_a_holder_on_another_machine_is_watched_and_not_waited_for_for_ever(tmp_path, alive, ahead):
    attempts = Attempts(RunFolder(tmp_path).attempts)
    attempts.take()
    path = RunFolder(tmp_path).attempts / "00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere 1 2"}))
    os.utime(path, (time.time() + ahead,) * 2)
    process = FORK.Process(target=touch_for_ever, args=(path,))
    if alive:
        process.start()
    try:
        if alive:
            with pytest.raises(ValueError, match="on elsewhere works in"), held(tmp_path, stale=1.0):
                pass
        else:
            with held(tmp_path, stale=1.0):
                assert last(tmp_path).number == 2
    finally:
        if alive:
            process.kill()
            process.join()


def test_train_is_refused_in_a_folder_where_another_train_lives(tmp_path, living, capsys):
    data = built(tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(short(data, tmp_path / "run")))
    before = sorted(path for path in (tmp_path / "run").rglob("*"))
    assert train.main(["--config", str(tmp_path / "run.yaml")]) == 2
    said = capsys.readouterr().err
    assert f"process {living.pid} on" in said and "Traceback" not in said
    assert sorted(path for path in (tmp_path / "run").rglob("*")) == before


def test_a_finished_run_is_read_without_holding_its_folder(tmp_path, monkeypatch):
    data = built(tmp_path)
    arguments = module.RunArguments.from_mapping(short(data, tmp_path / "run"))
    results = module.run(arguments)
    n = last(tmp_path / "run").number
    monkeypatch.setattr(module, "held", None)  # an archive may be read-only
    assert module.run(arguments)["scores"].keys() == results["scores"].keys() and last(tmp_path / "run").number == n
