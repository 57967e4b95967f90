"""Resuming: a run that goes on from a checkpoint does next what the run that was not stopped did next.

The Trainer's loop is left in the middle, wherever a checkpoint is saved. `ResumingTrainer.go_on` is the one place that
decides what was still to be done from there: end the epoch, evaluate, stop, or take the next step. It is called for
every checkpoint, so no setting of when to save, evaluate and stop needs a case of its own.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers.trainer_callback import EarlyStoppingCallback
from transformers.trainer_utils import SaveStrategy

from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.trajectory import drop_trajectory
from hf_ambiser.training import checkpoints
from hf_ambiser.training.loop_state import EPOCH, STEP, LoopState
from hf_ambiser.training.parameter_groups import ParameterGroupTrainer


logger = logging.getLogger(__name__)


class ResumingTrainer(ParameterGroupTrainer):
    """Goes on from whole checkpoints only, exactly, and adds up the seconds and the loss of a run over its legs.

    A leg is the part of a run between two stops. Its seconds are those up to its last checkpoint; what a killed leg
    trained after that is trained again by the next one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.legs: list[dict[str, Any]] = []  # of the run, on the first rank; see `RunFolder.write_legs`
        self.unlogged: dict[str, list[Tensor | float]] = {}  # what `record` was given since the last entry of the log
        self.stands_after = STEP
        self.goes_on = False  # the caller asked to resume, whether or not there is a checkpoint
        self.last_norm: Any = None
        self.last_rate: float | None = None
        self._checkpoint: Path | None = None
        self._spoilt: dict[str, list[str]] = {}
        self._lost_best: Path | None = None

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(str(self.args.output_dir))

    # ---- which checkpoint --------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does; `resume_from_checkpoint=True` goes on from the newest whole checkpoint, if any.

        Raises:
            ValueError: If the folder holds a finished run, whose label trajectory and checkpoints would be lost, or
                the checkpoints of an earlier training that it should not go on from, if no checkpoint is as it was
                saved, if its steps were divided in another way, or if it is too short (`check_epochs`).
        """
        self.check_not_finished()
        self.goes_on = bool(resume_from_checkpoint)
        self._checkpoint = self._find(resume_from_checkpoint)
        self.check_arguments(begins=self._checkpoint is None)
        if not self.goes_on:
            self._check_no_earlier()
        if self._checkpoint is None:
            self.check_length()
        elif (saved := LoopState.read(self._checkpoint)) is not None:
            saved.check_division(self.args, self._checkpoint)
        self.before_training(self._checkpoint)
        # The Trainer would evaluate again at each resume, and patience would count that.
        at_start, self.args.eval_on_start = self.args.eval_on_start, self.args.eval_on_start and not self._checkpoint
        try:
            return super().train(self._checkpoint and str(self._checkpoint), *args, **kwargs)
        finally:
            self.args.eval_on_start = at_start

    def _check_no_earlier(self) -> None:
        """Refuse to begin among the checkpoints of an earlier training: they would be taken for this one's newest."""
        if found := [path.name for path in checkpoints.all_checkpoints(self._folder.path)]:
            raise ValueError(
                f"{self._folder.path} holds {', '.join(found)} of an earlier training. Give"
                " train(resume_from_checkpoint=True) to go on from the newest, or another output_dir, or delete them"
                " to begin anew."
            )

    def before_training(self, checkpoint: Path | None) -> None:
        """Called once before training, with the checkpoint that it goes on from, or None."""

    def _find(self, asked: str | bool | None) -> Path | None:
        self._spoilt = {}
        if not asked:
            return None
        if asked is not True:
            found = Path(asked)
            if (found / checkpoints.MARKER).is_file() and (changed := checkpoints.changed_files(found)):
                raise ValueError(
                    f"resume_from_checkpoint={asked!r} is not as it was saved: {', '.join(changed)}. Give an older"
                    " checkpoint, or True for the newest whole one."
                )
            return found
        choice = checkpoints.choose(self._folder.path, bool(self.args.load_best_model_at_end))
        if choice.checkpoint is not None:
            logger.info("resuming from %s.", choice.checkpoint)
        if choice.checkpoint is not None and choice.spoilt:
            self._spoilt = choice.spoilt
            logger.warning(
                "%s: checkpoints are spoilt (%s). The run goes on from the older %s; newer ones are deleted.",
                self._folder.path,
                checkpoints.in_words(choice.spoilt),
                choice.checkpoint.name,
            )
        return choice.checkpoint

    def _begin_leg(self) -> None:
        """Write down that a leg begins, and only then delete spoilt checkpoints, so that nothing is lost unsaid."""
        self._leg_began = time.time()
        self.accelerator.wait_for_everyone()  # every rank has chosen its checkpoint
        if not self.is_world_process_zero():
            return
        if self._checkpoint is None:
            self.legs = []
            self._folder.legs.unlink(missing_ok=True)  # of a run that was begun here before
            drop_trajectory(self._folder.path)
        else:
            # An earlier version, which wrote no legs, may have trained up to here.
            self.legs = self._folder.read_legs() or [{"from_step": 0, "seconds": None}]
        leg: dict[str, Any] = {"from_step": self.state.global_step, "seconds": 0.0}
        self.legs.append(leg | ({"spoilt": self._spoilt} if self._spoilt else {}))
        if self._checkpoint is not None:
            self._folder.write_legs(self.legs)
            if self._spoilt:
                checkpoints.drop_newer(self._checkpoint)

    def keep_leg(self) -> None:
        """Write down how long this leg has trained, after a checkpoint was saved."""
        if self.is_world_process_zero():
            self.legs[-1]["seconds"] = round(time.time() - self._leg_began, 4)
            self._folder.write_legs(self.legs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Make the seconds and rates at the end of training those of the whole run."""
        if "train_runtime" in logs and self.legs:
            leg = self.legs[-1]["seconds"] = logs["train_runtime"]
            known = [one["seconds"] for one in self.legs if one["seconds"] is not None]
            logs["train_runtime"] = round(sum(known), 4)
            for name in ("train_samples_per_second", "train_steps_per_second"):
                if name in logs and len(known) == len(self.legs):
                    logs[name] = round(logs[name] * leg / sum(known), 3)
        super().log(logs, start_time)

    # ---- what comes next ---------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Do what the run that was not stopped did between saving this checkpoint and its next step.

        Called when all state has been restored, before the loop begins.
        """
        self._check_that_one_is_made()
        self._begin_leg()
        self.stands_after, self._lost_best = STEP, None
        if self._checkpoint is None:
            return
        saved = LoopState.read(self._checkpoint)
        if saved is not None:
            saved.restore(self)
        self._find_best()
        # These were restored as they were during the save; after it they were off.
        self.control.should_save = self.control.should_evaluate = False
        over = self._is_over()
        self.control.should_training_stop = over
        self.stands_after = saved.saved_after if saved else self._saves_after()
        if self.stands_after == STEP and (over or float(self.state.epoch or 0).is_integer()):
            self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
            self._maybe_log_save_evaluate(
                self._tr_loss, self.last_norm, self.model_wrapped, None, self.state.epoch, None, self._leg_began,
                learning_rate=self.last_rate,
            )  # fmt: skip

    def _is_over(self) -> bool:
        """Whether the loop had come to its end: by its number of steps, or because patience had run out.

        The Trainer's own flag is not asked, because a signal or a time limit sets it, too, to go on later.
        """
        stopping = [cb for cb in self.callback_handler.callbacks if isinstance(cb, EarlyStoppingCallback)]
        impatient = any(cb.early_stopping_patience_counter >= cb.early_stopping_patience for cb in stopping)
        return impatient or self.state.global_step >= self.state.max_steps

    def _saves_after(self) -> str:
        """Where a checkpoint of an earlier version, which does not say it, was saved by these arguments."""
        best = self.args.save_strategy == SaveStrategy.BEST
        return EPOCH if (self.args.eval_strategy if best else self.args.save_strategy) == EPOCH else STEP

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # The Trainer asks whether to stop only after a step, and a run that is over must take none.
        if not self.control.should_training_stop:
            super()._run_epoch(*args, **kwargs)

    def _maybe_log_save_evaluate(self, tr_loss: Tensor, grad_norm: Any, *args: Any, **kwargs: Any) -> None:
        # A checkpoint that is saved in here keeps them.
        self.last_norm, self.last_rate = grad_norm, kwargs.get("learning_rate")
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    # ---- which evaluations count ----------------------------------------------------------------------------------

    @property
    def counted_after(self) -> float:
        """Epochs before which a method does not yet do what it is for: a warm-up, a first step.

        Evaluations up to there are made and logged, but neither early stopping nor the best model counts them.
        """
        return 0.0

    @property
    def planned_epochs(self) -> float:
        """Epochs of the whole training, known once it has begun; with `max_steps` the last one, begun, is counted."""
        return self.args.num_train_epochs if self.args.max_steps <= 0 else self.state.num_train_epochs

    def check_length(self) -> None:
        """Check the length of a training that has not begun, before anything of it is written; see `check_epochs`."""
        epochs = self.args.num_train_epochs
        if self.args.max_steps > 0:
            epochs, *_ = self.set_initial_training_values(self.args, self.get_train_dataloader())
        self.check_epochs(epochs)

    def check_epochs(self, epochs: float) -> None:
        """Refuse a training that is too short for what was asked; a method whose parts take turns adds its own rule.

        The arguments refuse what they can see when they are made; with `max_steps` that is not known before here. A
        last epoch that is only begun counts as one.

        Raises:
            ValueError: If the method would not come to what it is for, or the encoder would never learn.
        """
        longer = "Train for more (num_train_epochs, max_steps), or make that part shorter."
        if self.counted_after >= epochs:
            raise ValueError(
                f"the first {self.counted_after:g} epochs of {type(self).__name__} prepare it, and the run has"
                f" {epochs:g}: it would never do what it is for, and no evaluation would count. {longer}"
            )
        warmup, learns = self.args.head_warmup_epochs, self.epochs_of_the_network(epochs)
        if warmup and warmup >= learns:
            raise ValueError(
                f"head_warmup_epochs={warmup:g}: the network that is saved learns for {learns:g} epochs, so its"
                f" encoder would never learn. {longer}"
            )

    def epochs_of_the_network(self, epochs: float) -> float:
        """How many epochs the saved network has trained when a run of so many ends.

        They are fewer where it begins again on the way, or where the last epoch does not train it.
        """
        return epochs

    def _check_that_one_is_made(self) -> None:
        """Refuse to choose the best of the evaluations if none is made: nothing would be chosen, without a word."""
        steps = self.args.eval_strategy == "steps"
        length, unit = (self.state.max_steps, "steps") if steps else (self.planned_epochs, "epochs")
        if self.args.load_best_model_at_end and self.args.eval_delay > length:
            raise ValueError(
                f"load_best_model_at_end=True, eval_delay={self.args.eval_delay:g}: the run has {length:g} {unit}, so"
                " there is no evaluation to choose the best model by. Set eval_delay to less, or"
                " load_best_model_at_end to False."
            )

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        # Early stopping, too, has nothing to compare with until a best metric is known.
        if self.counted_after and float(self.state.epoch or 0) <= self.counted_after:
            return False
        return super()._determine_best_metric(metrics, trial)

    # ---- the best checkpoint -----------------------------------------------------------------------------------

    def _find_best(self) -> None:
        """Find the best checkpoint by its name: in a run folder that was moved or copied, its path is wrong."""
        best = checkpoints.best_of(self._checkpoint) if self._checkpoint is not None else None
        if self._checkpoint is None or best is None:
            return
        path = self._checkpoint.parent / best
        self.state.best_model_checkpoint = str(path) if path.is_dir() else None
        self._lost_best = None if path.is_dir() else path

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        if changed := checkpoints.changed_files(best):
            raise ValueError(
                f"the best checkpoint {best} is not as it was saved: {', '.join(changed)}. Start the same command"
                " again: it goes on from an older checkpoint, or says that there is none."
            )
        super()._load_best_model()

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        if self.args.load_best_model_at_end and self._lost_best and self.state.best_model_checkpoint is None:
            raise ValueError(
                f"the best checkpoint of the run, {self._lost_best}, does not exist any more. Put it back from a copy,"
                f" or delete {self._lost_best.parent}/checkpoint-* to begin the run again."
            )
        return super()._finalize_training(*args, **kwargs)
