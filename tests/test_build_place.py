"""Where a data set is built: links, mount points, folders that cannot be written, and kills while one is replaced."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_ambiser.data import place as module
from hf_ambiser.data.build_cli import main
from hf_ambiser.data.corpora import simulated
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.data.place import BUILDING, NAMES, READY, REPORT, Place, is_mount, old_of
from hf_ambiser.untrusted.names import NotAName


FORK = multiprocessing.get_context("fork")
KINDS = ("renamed", "moved up")
EDIT = "A sentence of a human."


@pytest.fixture
def kind(request, monkeypatch):
    if request.param == "moved up":
        monkeypatch.setattr(module, "is_mount", lambda folder: True)
    return request.param


def write(folder: Path, version: str, names: list[str]) -> None:
    """A data set of a few files, whose card keeps what a human wrote."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(version)
    (folder / REPORT).write_text(json.dumps({"version": version}))
    (folder / "README.md").write_text(f"{version}\n{EDIT}\n")


OLD = ["listed.csv", "ipr-strict/d1.parquet", "gone/d1.parquet", "speakers.csv"]
NEW = ["listed.csv", "ipr-strict/d1.parquet", "slc-strict/clear.parquet"]


def state(out: Path) -> dict[str, str]:
    return {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()}


def killed_at(step: int, work) -> bool:
    """Whether a process that does `work` died at its n-th rename or deletion; it dies as by SIGKILL."""

    def body() -> None:
        left = [step]
        for name in ("rename", "unlink", "rmdir"):
            real = getattr(os, name)

            def counted(*args, _real=real, **more):
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return _real(*args, **more)

            setattr(os, name, counted)
        work()

    process = FORK.Process(target=body)
    process.start()
    process.join()
    assert process.exitcode in (0, 9)
    return process.exitcode == 9


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_a_kill_at_any_step_of_a_replacement_loses_nothing(tmp_path, kind):
    step, ended = 0, []
    while True:
        out = tmp_path / f"{step}" / "data"
        out.mkdir(parents=True)
        write(out, "old", OLD)
        old = state(out)
        place = Place(out)
        place.check(overwrite=True)
        write(place.begin(), "new", NEW)
        new = state(place.partial)
        died = killed_at(step, place.finish)
        if died:
            place = Place(out)
            place.check(overwrite=True)  # what the next command does first
            found = {name: text for name, text in state(out).items() if not name.startswith(BUILDING)}
            assert found in (old, new), (step, sorted(found))
            assert EDIT in found["README.md"]
            ended.append(found == new)
            write(place.begin(), "new", NEW)
            place.finish()
        assert state(out) == new and [path.name for path in out.parent.iterdir()] == ["data"]
        if not died:
            break
        step += 1
    # There are kills of which the old data set comes out, and kills of which the new one does.
    assert step > 3 and set(ended) == {True, False} and ended == sorted(ended)


@pytest.mark.parametrize("name", ["../victim", "/victim", "", "listed.csv/../../victim", 7])
def test_a_name_in_the_list_of_what_was_built_is_no_path(tmp_path, name):
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("of somebody")
    write(out, "old", OLD)
    write(out / READY, "new", NEW)
    (out / READY / NAMES).write_text(json.dumps({"names": ["listed.csv", name]}))
    before = state(out)
    with pytest.raises(NotAName, match=f"{NAMES}: the file "):
        Place(out).check(overwrite=True)
    assert state(out) == before and victim.read_text() == "of somebody"


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_a_command_that_is_killed_while_it_recovers_is_finished_by_the_next(tmp_path, kind):
    for first in range(0, 12, 2):
        for second in range(4):
            out = tmp_path / f"{first}-{second}" / "data"
            out.mkdir(parents=True)
            write(out, "old", OLD)
            old = state(out)
            place = Place(out)
            write(place.begin(), "new", NEW)
            new = state(place.partial)
            if killed_at(first, place.finish):
                killed_at(second, lambda out=out: Place(out).check(overwrite=True))
            Place(out).check(overwrite=True)
            found = {name: text for name, text in state(out).items() if not name.startswith(BUILDING)}
            assert found in (old, new), (first, second, sorted(found))


def test_a_reader_of_a_data_set_that_is_half_replaced_says_what_to_do(tmp_path):
    write(old_of(tmp_path / "data"), "old", OLD)
    with pytest.raises(FileNotFoundError, match="a build that replaced it was stopped. Nothing is lost"):
        read_dataset_info(tmp_path / "data")
    (tmp_path / "other" / READY).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="a build that replaced it was stopped"):
        read_dataset_info(tmp_path / "other")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "release"
    simulated.generate(root, n_utterances=60, n_speakers=10, seed=0)
    return root


def arguments(corpus: Path, out: Path, *more: str) -> list[str]:
    fixed = ["--configs", "ipr-strict", "--min-per-class", "1", "--d1-quota", "per_class", "--no-progress"]
    return ["--root", str(corpus), "--out", str(out), *fixed, *more]


def built(corpus: Path, out: Path, *more: str) -> int:
    return main("simulated", arguments(corpus, out, *more), "build")


def no_scan(monkeypatch) -> None:
    def scan(*args, **more):
        raise AssertionError("the release was read")

    monkeypatch.setattr(simulated, "scan", scan)
    monkeypatch.setattr(simulated, "generate", scan)


def test_a_link_is_followed_and_stays(corpus, tmp_path):
    disk, link = tmp_path / "big" / "disk", tmp_path / "data"
    link.symlink_to(disk, target_is_directory=True)
    disk.parent.mkdir()
    assert built(corpus, link) == 0 and link.is_symlink() and (disk / REPORT).is_file()
    card = disk / "README.md"
    card.write_text(card.read_text() + f"\n{EDIT}\n")
    assert built(corpus, link, "--overwrite") == 0
    assert link.is_symlink() and EDIT in card.read_text() and [p.name for p in disk.parent.iterdir()] == ["disk"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big", "data"]


def test_a_mount_point_is_built_into_and_overwritten(corpus, tmp_path, monkeypatch):
    out, plain = tmp_path / "out", tmp_path / "plain"
    (out / "lost+found").mkdir(parents=True)
    assert built(corpus, plain) == 0
    monkeypatch.setattr(module, "is_mount", lambda folder: folder == out)
    inode = out.stat().st_ino
    assert built(corpus, out) == 0
    (out / "README.md").write_text((out / "README.md").read_text() + f"\n{EDIT}\n")
    assert built(corpus, out) == 2  # it holds a data set now
    assert built(corpus, out, "--overwrite") == 0
    assert out.stat().st_ino == inode and (out / "lost+found").is_dir() and EDIT in (out / "README.md").read_text()
    assert {p.name for p in out.iterdir()} == {"lost+found", *(p.name for p in plain.iterdir())}
    assert (out / REPORT).read_bytes() == (plain / REPORT).read_bytes()
    assert len(load_split(out, "ipr-strict", "d1", cache_dir=tmp_path / "cache")) > 0


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_a_second_build_into_a_folder_is_refused_while_the_first_one_writes(tmp_path, kind):
    out = tmp_path / "data"
    write(out, "old", OLD)
    first, second = Place(out), Place(out)
    write(first.begin(), "new", NEW)
    with pytest.raises(FileExistsError, match="another build writes into"):
        second.begin()
    first.finish()
    assert set(state(out)) == {*NEW, REPORT, "README.md"} and EDIT in (out / "README.md").read_text()
    second.begin()  # the first one has let go, and one that fails does so, too
    del second
    Place(out).begin()


def test_the_working_folder_stays_the_one_that_the_shell_is_in(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for more in ((), ("--overwrite",)):
        assert built(corpus, Path("."), *more) == 0
        assert os.stat(".").st_ino == tmp_path.stat().st_ino and Path(REPORT).is_file()


@pytest.mark.parametrize("what", ["file", "loop", "full"])
def test_what_cannot_be_built_into_is_said_before_the_release_is_read(corpus, tmp_path, monkeypatch, capsys, what):
    no_scan(monkeypatch)
    out = tmp_path / "out"
    if what == "file":
        out.write_text("")
    elif what == "loop":
        out.symlink_to(out)
    else:

        def full(*args, **more):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module.os, "fsync", full)
    assert built(corpus, out) == 2
    said = capsys.readouterr().err
    assert str(tmp_path) in said and "hoose another --out" in said and said.count("\n") == 1


def in_a_container(tmp_path: Path, mount: str, corpus: Path, out: Path) -> subprocess.CompletedProcess:
    """Build into a real mount point, in a name space of its own."""
    words = [sys.executable, "-m", "hf_ambiser.cli", "build", "simulated", *arguments(corpus, out)]
    script = f'{mount} && shift 1 && "$@" && ls -A "{out}"'
    return subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", "-", *words], capture_output=True, text=True)


def can_mount() -> bool:
    try:
        done = subprocess.run(["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(not can_mount(), reason="this machine does not let a test mount anything")
@pytest.mark.parametrize("kind", ["empty", "part of the same disk", "read-only", "full"])
def test_a_real_mount_point(corpus, tmp_path, kind):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "beside").mkdir()
    mount = {
        "empty": f"mount -t tmpfs none {out}",
        "part of the same disk": f"mount --bind {tmp_path}/beside {out}",
        "read-only": f"mount -t tmpfs -o ro none {out}",
        "full": f"mount -t tmpfs -o size=16k none {out}",
    }[kind]
    done = in_a_container(tmp_path, mount, corpus, out)
    if kind in ("read-only", "full"):
        assert done.returncode == 2 and str(out) in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert "nothing can be written in" in done.stderr and done.stderr.count("\n") == 1
    else:
        assert done.returncode == 0, done.stderr
        there = set(done.stdout.split())
        assert {REPORT, "README.md", "listed.csv", "ipr-strict"} <= there and not {READY, BUILDING} & there


def test_a_mount_point_is_known_by_the_kernel_s_list():
    assert is_mount(Path("/")) and is_mount(Path("/proc")) and not is_mount(Path(__file__).parent)
