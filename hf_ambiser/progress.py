"""One progress bar per run, in place of the Trainer's bar, nested bars and printed dictionaries."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ProgressCallback


class OneBar(TrainerCallback):
    """Optimiser steps of the whole run, with the last loss and the validation figure after each epoch."""

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
        names = {"loss": "loss", "eval_ua": "validation UA", "eval_wa": "WA", "eval_js": "JS"}
        self.shown |= {names[name]: f"{value:.3f}" for name, value in (logs or {}).items() if name in names}
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
