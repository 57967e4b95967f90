"""Ties a method's hooks to the Trainer's loop."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback


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
