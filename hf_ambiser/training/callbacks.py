"""What the Trainer's loop calls: the hooks of a method, and one progress bar per run."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ProgressCallback

from hf_ambiser.metrics.display import SCORES, stored


# Logged figure -> its name on the bar.
_ON_THE_BAR = {"loss": "loss", "eval_ua": f"validation {SCORES['ua'].name}"}
_ON_THE_BAR |= {f"eval_{name}": SCORES[name].name for name in ("wa", "js")}


class StateCallback(TrainerCallback):
    """Calls an `AmbiSERTrainer` back when a step was taken and when an epoch begins and ends."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Finish an epoch whose end a killed run did not reach.

        A checkpoint taken by step count on an epoch's boundary was saved before that epoch's end was reached. Not at
        the next epoch's begin: after the last one there is none.
        """
        self.trainer.finish_epochs(self.trainer.epoch)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the epoch's order is asked for."""
        self.trainer.begin_epoch()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the optimiser's step."""
        self.trainer.step_taken()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An epoch cut short (max_steps, early stop) has a fractional count and is not finished."""
        self.trainer.finish_epochs(self.trainer.epoch)


class OneBar(TrainerCallback):
    """One bar a run, in place of the Trainer's: optimiser steps, the last loss, validation figures."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, at the step a resumed run is at."""
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move to the step that was taken."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Show the last loss and what validation said."""
        self.shown |= {_ON_THE_BAR[name]: stored(value) for name, value in (logs or {}).items() if name in _ON_THE_BAR}
        if self.bar is not None:
            self.bar.set_postfix(self.shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


def use_one_bar(trainer: Trainer) -> None:
    """Put `OneBar` in the place of the Trainer's own bar; does nothing where bars are switched off."""
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(OneBar())
