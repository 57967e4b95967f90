"""Whole checkpoints count, others do not, and none is deleted too early."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from hf_ambiser.training import checkpoints
from hf_ambiser.training.checkpoints import (
    MARKER,
    all_checkpoints,
    best_of,
    changed_files,
    choose,
    drop_incomplete,
    drop_newer,
    is_complete,
    last_complete,
    mark_complete,
    rotate,
)


def write(folder: Path, step: int, whole: bool = True, best: int | None = None) -> Path:
    """What the Trainer leaves: files, also in folders below (DeepSpeed, FSDP), an empty one among them."""
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "global_step").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"m" * 100)
    best = None if best is None else f"elsewhere/checkpoint-{best}"
    (checkpoint / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best}))
    (checkpoint / "global_step" / "optimizer.pt").write_bytes(b"o" * 50)
    (checkpoint / "empty").touch()
    if whole:
        mark_complete(checkpoint)
    return checkpoint


def steps(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in all_checkpoints(folder)]


def test_a_marked_checkpoint_is_whole_and_the_marker_lists_its_files(tmp_path):
    checkpoint = write(tmp_path, 5)
    assert is_complete(checkpoint)
    listed = json.loads((checkpoint / MARKER).read_text())
    assert set(listed) == {"empty", "global_step/optimizer.pt", "model.safetensors", "trainer_state.json"}
    assert listed["model.safetensors"] == {"size": 100, "sha256": hashlib.sha256(b"m" * 100).hexdigest()}
    mark_complete(checkpoint)  # again: the marker does not list itself
    assert json.loads((checkpoint / MARKER).read_text()) == listed and is_complete(checkpoint)


def interrupt_without_marker(c: Path) -> None:
    (c / MARKER).unlink()


def interrupt_half_written_marker(c: Path) -> None:
    (c / MARKER).rename(c / (MARKER + ".part"))


def damage_broken_marker(c: Path) -> None:
    (c / MARKER).write_text((c / MARKER).read_text()[:20])


def damage_truncated_file(c: Path) -> None:
    (c / "model.safetensors").write_bytes(b"m" * 99)


def damage_missing_file(c: Path) -> None:
    (c / "global_step" / "optimizer.pt").unlink()


def damage_file_is_folder(c: Path) -> None:
    (c / "empty").unlink()
    (c / "empty").mkdir()


def damage_marker_of_another_kind(c: Path) -> None:
    (c / MARKER).write_text("[1, 2]")


def damage_marker_without_sizes(c: Path) -> None:
    (c / MARKER).write_text('{"model.safetensors": "x"}')


def damage_marker_that_names_nothing(c: Path) -> None:
    (c / MARKER).write_text("{}")


def damage_marker_of_many_brackets(c: Path) -> None:
    (c / MARKER).write_text("[" * 100_000)


def damage_marker_with_a_path(c: Path) -> None:
    (c / MARKER).write_text('{"../checkpoint-8/model.safetensors": 100}')


def damage_one_bit(c: Path) -> None:
    (c / "model.safetensors").write_bytes(b"m" * 99 + b"l")


def damage_zeros(c: Path) -> None:
    (c / "global_step" / "optimizer.pt").write_bytes(b"\0" * 50)


def kinds(prefix: str) -> list[pytest.param]:
    return [
        pytest.param(value, id=name.removeprefix(prefix))
        for name, value in sorted(globals().items())
        if name.startswith(prefix)
    ]


@pytest.mark.parametrize("interrupt", kinds("interrupt_"))
def test_a_checkpoint_whose_saving_was_cut_short_does_not_count_and_is_removed(tmp_path, interrupt, caplog):
    good, bad = write(tmp_path, 9), write(tmp_path, 10)
    interrupt(bad)
    assert not is_complete(bad) and is_complete(good)
    assert last_complete(tmp_path) == good
    assert drop_incomplete(tmp_path) == [bad]
    assert "checkpoint-10" in caplog.text and "the checkpoint is incomplete" in caplog.text
    assert steps(tmp_path) == [9] and is_complete(good)
    assert drop_incomplete(tmp_path) == []
    interrupt(good)
    assert choose(tmp_path) == checkpoints.Choice(None, {})  # no checkpoint was ever saved, so the run begins


@pytest.mark.parametrize("damage", kinds("damage_"))
def test_a_spoilt_checkpoint_is_named_and_the_newest_whole_one_is_chosen(tmp_path, damage):
    whole = [write(tmp_path, step) for step in (8, 9, 10, 11)]
    damage(whole[3])
    damage(whole[2])
    wrong = changed_files(whole[3])
    assert len(wrong) == 1 and any(name in wrong[0] for name in (MARKER, "model.", "optimizer.pt", "empty"))
    assert choose(tmp_path) == checkpoints.Choice(whole[1], {"checkpoint-11": wrong, "checkpoint-10": wrong})
    assert drop_incomplete(tmp_path) == [] and steps(tmp_path) == [8, 9, 10, 11]  # nothing is deleted unasked
    drop_newer(whole[1])
    assert steps(tmp_path) == [8, 9] and choose(tmp_path) == checkpoints.Choice(whole[1], {})
    for checkpoint in whole[:2]:
        damage(checkpoint)
    with pytest.raises(ValueError, match=r"no checkpoint that is as it was saved: checkpoint-9: .*; checkpoint-8: "):
        choose(tmp_path)
    assert steps(tmp_path) == [8, 9]


def test_a_checkpoint_on_a_bad_sector_is_spoilt(tmp_path, monkeypatch):
    good, bad = write(tmp_path, 9), write(tmp_path, 10)
    real = checkpoints.file_digest

    def digest(path):
        if path == bad / "model.safetensors":
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(checkpoints, "file_digest", digest)
    wrong = ["model.safetensors cannot be read (Input/output error)"]
    assert choose(tmp_path) == checkpoints.Choice(good, {"checkpoint-10": wrong})


def test_a_marker_with_sizes_only_is_of_an_earlier_version_and_counts(tmp_path):
    old, new = write(tmp_path, 1), write(tmp_path, 2)
    listed = json.loads((old / MARKER).read_text())
    (old / MARKER).write_text(json.dumps({name: facts["size"] for name, facts in listed.items()}))
    assert is_complete(old) and changed_files(old) == []
    damage_one_bit(old)
    damage_one_bit(new)
    assert choose(tmp_path).checkpoint == old
    damage_truncated_file(old)
    assert not is_complete(old) and changed_files(old) == ["model.safetensors has 99 bytes instead of 100"]


def test_a_run_that_loads_its_best_checkpoint_needs_that_one_whole_too(tmp_path):
    for step, best in ((2, None), (4, 4), (6, 4), (8, 4)):
        write(tmp_path, step, best=best)
    assert best_of(tmp_path / "checkpoint-8") == "checkpoint-4" and best_of(tmp_path / "checkpoint-2") is None
    damage_one_bit(tmp_path / "checkpoint-4")
    assert choose(tmp_path, with_best=False).checkpoint.name == "checkpoint-8"
    choice = choose(tmp_path, with_best=True)
    assert choice.checkpoint.name == "checkpoint-2" and list(choice.spoilt) == ["checkpoint-4"]
    # A best one that is gone was replaced by a better one.
    shutil.rmtree(tmp_path / "checkpoint-4")
    assert choose(tmp_path, with_best=True).checkpoint.name == "checkpoint-8"


def test_the_newest_is_by_number_not_by_name(tmp_path):
    for step in (9, 100, 20):
        write(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-200").write_text("a file")
    (tmp_path / "old-checkpoint-300").mkdir()
    assert steps(tmp_path) == [9, 20, 100]
    assert last_complete(tmp_path).name == "checkpoint-100"
    assert (tmp_path / "checkpoint-best").is_dir() and drop_incomplete(tmp_path) == []


def test_a_folder_that_is_not_there_has_no_checkpoint(tmp_path):
    assert all_checkpoints(tmp_path / "none") == [] and last_complete(tmp_path / "none") is None
    assert drop_incomplete(tmp_path / "none") == [] and rotate(tmp_path / "none", 1) is None
    assert last_complete(tmp_path) is None


@pytest.mark.parametrize(
    "limit,best,left",
    [
        (None, None, [1, 2, 3, 10]),
        (0, None, [1, 2, 3, 10]),
        (1, None, [10]),
        (2, None, [3, 10]),
        (9, None, [1, 2, 3, 10]),
        (2, 1, [1, 10]),
        (3, 1, [1, 3, 10]),
        (1, 2, [2, 10]),  # the newest is needed to go on, the best to be loaded: two are kept
        (1, 10, [10]),
        (2, 10, [3, 10]),
    ],
)
def test_rotation_keeps_the_newest_and_the_best(tmp_path, limit, best, left):
    for step in (1, 2, 3, 10):
        write(tmp_path, step)
    rotate(tmp_path, limit, keep=None if best is None else str(tmp_path / f"checkpoint-{best}"))
    assert steps(tmp_path) == left
    assert all(is_complete(path) for path in all_checkpoints(tmp_path))


def test_the_best_is_known_by_a_relative_path_too(tmp_path, monkeypatch):
    # `best_model_checkpoint` is as `output_dir` was given, and stays so in a run that goes on from elsewhere.
    for step in (1, 2, 3):
        write(tmp_path / "run", step)
    monkeypatch.chdir(tmp_path)
    rotate(tmp_path / "run", 2, keep="run/checkpoint-1")
    assert steps(tmp_path / "run") == [1, 3]


def test_a_half_written_newest_does_not_push_a_whole_one_out(tmp_path):
    for step in (1, 2):
        write(tmp_path, step)
    write(tmp_path, 3, whole=False)
    rotate(tmp_path, 1)
    assert steps(tmp_path) == [2, 3] and last_complete(tmp_path).name == "checkpoint-2"


def test_a_deletion_cut_short_leaves_a_folder_that_does_not_count(tmp_path, monkeypatch):
    for step in (1, 2, 3):
        write(tmp_path, step)

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        rotate(tmp_path, 1)
    monkeypatch.undo()
    assert shutil.rmtree is checkpoints.shutil.rmtree
    assert [path.name for path in all_checkpoints(tmp_path) if is_complete(path)] == ["checkpoint-2", "checkpoint-3"]
    assert last_complete(tmp_path).name == "checkpoint-3"
    assert [path.name for path in drop_incomplete(tmp_path)] == ["checkpoint-1"]
    rotate(tmp_path, 1)
    assert steps(tmp_path) == [3]


def test_the_marker_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    checkpoint = write(tmp_path, 1, whole=False)

    def killed(file):
        assert (checkpoint / (MARKER + ".part")).stat().st_size  # something of it was written
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        mark_complete(checkpoint)
    assert not is_complete(checkpoint) and not (checkpoint / MARKER).exists()
    monkeypatch.undo()
    mark_complete(checkpoint)
    assert is_complete(checkpoint) and not (checkpoint / (MARKER + ".part")).exists()
