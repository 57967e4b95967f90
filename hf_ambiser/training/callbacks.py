"""Callbacks of the Trainer's loop: they call the hooks of a method and draw one progress bar per run."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ProgressCallback

from hf_ambiser.metrics.display import SCORES, stored
from hf_ambiser.training.loop_state import EPOCH, STEP


# Logged figure -> its name on the bar.
_ON_THE_BAR = {"loss": "loss", "eval_ua": f"validation {SCORES['ua'].name}"}
_ON_THE_BAR |= {f"eval_{name}": SCORES[name].name for name in ("wa", "js")}


class StateCallback(TrainerCallback):
    """Tells an `AmbiSERTrainer` when a step was taken and when an epoch begins and ends."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Do what a run that was stopped had not done yet, for example the end of an epoch.

        This cannot wait for the next epoch to begin: after the last epoch there is none.
        """
        self.trainer.go_on()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the epoch before its order is read."""
        self.trainer.begin_epoch()
        self.trainer.stands_after = STEP

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the encoder as it is during the warm-up of the head."""
        self.trainer.hold_encoder()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let the method and the average of the weights see the step."""
        self.trainer.step_taken()
        self.trainer.average_step()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Finish the epoch, unless it was cut short (max_steps, early stop): then its count is a fraction."""
        self.trainer.stands_after = EPOCH
        self.trainer.finish_epochs(self.trainer.epoch)


class OneBar(TrainerCallback):
    """One progress bar for the whole run: optimiser steps, the last loss, validation figures."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar; a resumed run begins at the step of its checkpoint."""
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the bar to the current step."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Show the last loss and the last validation figures."""
        self.shown |= {_ON_THE_BAR[name]: stored(value) for name, value in (logs or {}).items() if name in _ON_THE_BAR}
        if self.bar is not None:
            self.bar.set_postfix(self.shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


def use_one_bar(trainer: Trainer) -> None:
    """Replace the Trainer's own bar with `OneBar`; do nothing if bars are switched off."""
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(OneBar())
