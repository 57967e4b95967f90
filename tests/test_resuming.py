"""Resuming from checkpoints that are spoilt, lost, moved or from an earlier version, and what is said of it."""

import json
import logging
import shutil

import pytest
from helpers.suite_checks import (
    DROPOUT,
    INTERRUPTED,
    Stopped,
    _StopAt,
    assert_equal_tensors,
    assert_same_run_folder,
    check_resume,
)
from helpers.suite_methods import make_trainer, settings, state_of, trace_of

from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.trajectory import trajectory_epochs
from hf_ambiser.training import checkpoints, loop_state
from hf_ambiser.training.loop_state import FILE, LoopState


pytestmark = pytest.mark.usefixtures("blank_figures")


def trainer_of(folder, **changes):
    chosen = settings("hard_vote", "resume", **INTERRUPTED) | {"save_total_limit": None} | changes
    return make_trainer("hard_vote", folder, dropout=DROPOUT, **chosen)


def stopped(folder, step=7, **changes):
    """A run that ends before a step; it has checkpoints 2, 4 and 6."""
    trainer = trainer_of(folder, **changes)
    trainer.add_callback(_StopAt(step))
    with pytest.raises(Stopped):
        trainer.train()


def whole(folder, **changes):
    trainer = trainer_of(folder, **changes)
    trainer.train()
    trace_of(trainer).save(folder / "final")
    return trainer


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_named_and_the_run_ends_as_if_there_had_been_none(tmp_path, caplog):
    expected = whole(tmp_path / "whole")
    assert expected.legs == [{"from_step": 0, "seconds": expected.training_metrics["train_runtime"]}]
    stopped(tmp_path / "run")
    flip(tmp_path / "run" / "checkpoint-6" / "model.safetensors")
    flip(tmp_path / "run" / "checkpoint-4" / "optimizer.pt")
    trainer = trainer_of(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        trainer.train(resume_from_checkpoint=True)
    assert "checkpoint-6: model.safetensors has other bytes than were saved; checkpoint-4: optimizer.pt" in caplog.text
    assert "goes on from the older checkpoint-2" in caplog.text
    trace_of(trainer).save(tmp_path / "run" / "final")
    assert_same_run_folder(tmp_path / "run", tmp_path / "whole")
    first, second = trainer.legs
    assert first["from_step"] == 0 and first["seconds"] > 0 and "spoilt" not in first
    assert second["from_step"] == 2 and set(second["spoilt"]) == {"checkpoint-6", "checkpoint-4"}
    assert trainer.training_metrics["train_runtime"] == pytest.approx(first["seconds"] + second["seconds"], abs=1e-3)


def test_the_note_about_a_spoilt_checkpoint_outlives_another_kill(tmp_path):
    stopped(tmp_path)
    flip(tmp_path / "checkpoint-6" / "model.safetensors")
    again = trainer_of(tmp_path)
    again.add_callback(_StopAt(4))
    with pytest.raises(Stopped):
        again.train(resume_from_checkpoint=True)
    assert not (tmp_path / "checkpoint-6").exists()
    trainer = trainer_of(tmp_path)
    trainer.train(resume_from_checkpoint=True)
    assert [list(leg.get("spoilt", [])) for leg in trainer.legs] == [[], ["checkpoint-6"], []]
    assert RunFolder(tmp_path).read_legs()[1]["spoilt"] == trainer.legs[1]["spoilt"]


def test_where_no_checkpoint_is_whole_nothing_is_deleted_and_the_error_names_them(tmp_path):
    stopped(tmp_path)
    for step in (2, 4, 6):
        flip(tmp_path / f"checkpoint-{step}" / "rng_state.pth")
    with pytest.raises(ValueError, match=r"checkpoint-6: rng_state.pth has other bytes .* to begin the run again"):
        trainer_of(tmp_path).train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match=r"is not as it was saved: rng_state.pth .* Give an older checkpoint"):
        trainer_of(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert len(checkpoints.all_checkpoints(tmp_path)) == 3
    for path in checkpoints.all_checkpoints(tmp_path):
        shutil.rmtree(path)
    trainer_of(tmp_path).train(resume_from_checkpoint=True)  # the cure


# A validation loss that must rise does not, so the first checkpoint stays the best one.
BEST = {"load_best_model_at_end": True, "greater_is_better": True}


def test_a_best_checkpoint_that_was_spoilt_or_lost_is_not_published(tmp_path):
    expected = whole(tmp_path / "whole", **BEST)
    assert expected.state.best_global_step == 2, "the best one must be an early one, or this shows nothing"
    stopped(tmp_path / "run", **BEST)
    shutil.copytree(tmp_path / "run", tmp_path / "lost")
    moved = shutil.copytree(tmp_path / "run", tmp_path / "moved")
    trainer = trainer_of(tmp_path / "run", **BEST)
    trainer.add_callback(_StopAt(8))
    with pytest.raises(Stopped):
        trainer.train(resume_from_checkpoint=True)
    trainer = trainer_of(tmp_path / "run", **BEST)
    save = trainer.go_on
    trainer.go_on = lambda: (save(), flip(tmp_path / "run" / "checkpoint-2" / "model.safetensors"))
    with pytest.raises(ValueError, match=r"best checkpoint .*checkpoint-2 is not as it was saved: model.safetensors"):
        trainer.train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match="no checkpoint that is as it was saved: checkpoint-2"):
        trainer_of(tmp_path / "run", **BEST).train(resume_from_checkpoint=True)

    shutil.rmtree(tmp_path / "lost" / "checkpoint-2")
    with pytest.raises(ValueError, match=r"checkpoint-2, does not exist any more"):
        trainer_of(tmp_path / "lost", **BEST).train(resume_from_checkpoint=True)

    # In a run folder that was moved the best one is found by its name.
    shutil.rmtree(tmp_path / "run")
    trainer = trainer_of(moved, **BEST)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.best_model_checkpoint == str(moved / "checkpoint-2")
    assert_equal_tensors(state_of(trainer), state_of(expected))


def made_before(folder):
    """Checkpoints as an earlier version left them: sizes only, and nothing of the loop or of legs."""
    RunFolder(folder).legs.unlink()
    for checkpoint in checkpoints.all_checkpoints(folder):
        (checkpoint / FILE).unlink()
        checkpoints.mark_complete(checkpoint)
        marker = checkpoint / checkpoints.MARKER
        sizes = {name: facts["size"] for name, facts in json.loads(marker.read_text()).items()}
        marker.write_text(json.dumps(sizes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"save_steps": 3, "eval_strategy": "epoch"},
        {"save_strategy": "epoch", "eval_strategy": "epoch", "early_stopping_patience": 1, **BEST},
    ],
    ids=["by steps", "by epoch", "stopped early"],
)
def test_a_run_from_before_goes_on_to_the_same_model_and_says_what_is_known_of_its_seconds(tmp_path, changes):
    expected = whole(tmp_path / "whole", **changes)
    if changes.get("early_stopping_patience"):
        assert expected.state.global_step == 6 < expected.state.max_steps
        trainer = whole(tmp_path / "run", **changes)  # killed after its last checkpoint
    else:
        stopped(tmp_path / "run", **changes)
    made_before(tmp_path / "run")
    trainer = trainer_of(tmp_path / "run", **changes)
    trainer.train(resume_from_checkpoint=True)
    assert_equal_tensors(state_of(trainer), state_of(expected))
    assert [entry["step"] for entry in trainer.training_log] == [entry["step"] for entry in expected.training_log]
    assert trainer.legs[0] == {"from_step": 0, "seconds": None} and trainer.legs[1]["from_step"] == 6
    assert trainer.training_metrics["train_runtime"] == pytest.approx(trainer.legs[1]["seconds"])


@pytest.mark.parametrize("changes", [{"logging_steps": 4}, {"logging_strategy": "epoch"}, {"max_steps": 5}], ids=str)
def test_log_and_training_loss_of_a_resumed_run_are_those_of_the_whole_run(tmp_path, changes):
    check_resume("ipr", tmp_path, stops=(3, 4), arguments=changes)
    logs = [json.loads((tmp_path / name / "final.json").read_text()) for name in ("stopped", "whole")]
    assert logs[0][-1]["train_loss"] == logs[1][-1]["train_loss"] > 0


def test_more_epochs_in_python_train_on(tmp_path):
    whole(tmp_path, num_train_epochs=2)
    trainer = trainer_of(tmp_path, num_train_epochs=3)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 9


@pytest.mark.parametrize("change,words", [({"later": 1}, "a later version"), ({"total_loss": "x"}, "'total_loss'")])
def test_a_state_of_the_loop_that_cannot_be_used_is_named(tmp_path, change, words):
    LoopState("step", None, 0.1, 4, 2.0, []).write(tmp_path)
    path = tmp_path / FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=f"{FILE} .*{words}"):
        LoopState.read(tmp_path)


@pytest.mark.parametrize("leg", [{}, {"from_step": 0, "seconds": "x"}])
def test_legs_that_cannot_be_used_are_named_before_training(tmp_path, leg):
    stopped(tmp_path)
    RunFolder(tmp_path).legs.write_text(json.dumps([leg]))
    with pytest.raises(ValueError, match="legs.json "):
        trainer_of(tmp_path).train(resume_from_checkpoint=True)


def of_an_earlier_version(folder):
    """Let checkpoints say nothing of how their steps were divided."""
    for path in folder.glob(f"checkpoint-*/{FILE}"):
        state = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in state.items() if name != "divided"}))
        checkpoints.mark_complete(path.parent)


@pytest.mark.parametrize(
    "change,words",
    [
        ({"per_device_train_batch_size": 4}, r"per_device_train_batch_size 8 \(now 4\)"),
        (
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
            r"gradient_accumulation_steps 1 \(now 2\), per_device_train_batch_size 8 \(now 4\)",
        ),
    ],
)
def test_steps_that_are_divided_in_another_way_are_refused(tmp_path, change, words):
    stopped(tmp_path)
    with pytest.raises(ValueError, match=rf"checkpoint-6 was trained with {words}.* as another training"):
        trainer_of(tmp_path, **change).train(resume_from_checkpoint=True)
    trainer_of(tmp_path).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("earlier", [False, True])
def test_another_number_of_processes_is_refused(tmp_path, earlier, monkeypatch):
    stopped(tmp_path)
    if earlier:
        of_an_earlier_version(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(loop_state, "world_size", lambda: 2)
        with pytest.raises(ValueError, match=r"processes 1 \(now 2\).*torchrun --nproc_per_node 1"):
            trainer_of(tmp_path).train(resume_from_checkpoint=True)
    trainer_of(tmp_path).train(resume_from_checkpoint=True)


def test_a_training_does_not_begin_among_the_checkpoints_of_another(tmp_path, caplog):
    """They would be taken for its newest, and a resume would go on from the other training's weights."""
    stopped(tmp_path)
    with pytest.raises(ValueError, match="holds checkpoint-2, checkpoint-4, checkpoint-6 of an earlier training"):
        trainer_of(tmp_path, learning_rate=0.5).train()
    assert [path.name for path in checkpoints.all_checkpoints(tmp_path)] == [f"checkpoint-{i}" for i in (2, 4, 6)]
    trainer_of(tmp_path).train(resume_from_checkpoint=True)
    shutil.rmtree(tmp_path)
    whole(tmp_path, save_strategy="no", num_train_epochs=3)
    assert trajectory_epochs(tmp_path) == [1, 2, 3] and not caplog.text
    whole(tmp_path, save_strategy="no", num_train_epochs=2)
    assert trajectory_epochs(tmp_path) == [1, 2] and "is of an earlier training and is deleted" in caplog.text
