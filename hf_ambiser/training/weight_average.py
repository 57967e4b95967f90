"""An average of the weights over the steps of a run, which is scored and saved in place of the last ones.

The weights of neighbouring steps differ by the noise of their batches, and so do the figures of neighbouring
evaluations. Their exponential moving average (Polyak and Juditsky 1992; Tarvainen and Valpola 2017) moves less.
Learning itself does not see it: a run with an average learns what the same run without it learns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hf_ambiser.training.resuming import ResumingTrainer
from hf_ambiser.training.trained_state import trained_state


_OWN = "own."
_STEPS = "averaged_steps"


class WeightAverage:
    """A moving average of what training changes in a model: trainable parameters and buffers.

    After step n = 0, 1, ... the average A becomes d A + (1 - d) W with d = min(decay, (1 + n) / (10 + n)), so that the
    first weights, which are random, are soon forgotten. A buffer of whole numbers is copied.

    The model has its own weights or, where they are *shown*, the average's. The tensors here hold the other ones.

    Args:
        model: The model, without the wrappers of accelerate.
        decay: In (0, 1). It remembers about 1 / (1 - decay) steps.

    Raises:
        ValueError: If a parameter is in half precision, in which small steps of an average are lost.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.begin()

    def begin(self) -> None:
        """Begin again at the weights that the model has now."""
        own = trained_state(self.model)
        for name, tensor in own.items():
            if tensor.is_floating_point() and tensor.dtype in (torch.float16, torch.bfloat16):
                raise ValueError(
                    f"average_weights={self.decay} needs parameters in float32, and {name} is in {tensor.dtype}. Load"
                    " the model with dtype=torch.float32; bf16=True then computes in bfloat16 all the same."
                )
        self.other = {name: tensor.detach().clone() for name, tensor in own.items()}
        self.steps, self.is_shown = 0, False

    @torch.no_grad()
    def step(self) -> None:
        """Take in the weights of the step that was made just now."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        own = trained_state(self.model)
        floats = [name for name, tensor in own.items() if tensor.is_floating_point()]
        get_ema_multi_avg_fn(decay)([self.other[n] for n in floats], [own[n] for n in floats], None)
        for name in own.keys() - set(floats):
            self.other[name].copy_(own[name])
        self.steps += 1

    def show(self) -> None:
        """Give the model the average's weights, and keep its own here; if that is so, do nothing."""
        if not self.is_shown:
            self._exchange()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the average for a while."""
        was_shown = self.is_shown
        self.show()
        try:
            yield
        finally:
            if not was_shown:
                self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, tensor in trained_state(self.model).items():
            kept = tensor.clone()
            tensor.copy_(self.other[name])
            self.other[name].copy_(kept)
        self.is_shown = not self.is_shown

    # ---- checkpoints -------------------------------------------------------------------------------------------

    def own_weights(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps beside the average, which is its model."""
        own = {_OWN + name: tensor for name, tensor in trained_state(self.model).items()}
        return {**own, _STEPS: torch.tensor(self.steps)}

    @torch.no_grad()
    def go_on(self, saved: Mapping[str, Tensor]) -> None:
        """Go on with a model that was loaded from a checkpoint, and with the `own_weights` that it keeps.

        Raises:
            ValueError: If it keeps none.
        """
        if _STEPS not in saved:
            raise ValueError(
                f"the checkpoint was saved without average_weights, and the run now has average_weights={self.decay}."
                " Resume with the arguments that it was begun with, or start a new run folder."
            )
        self.begin()
        self.steps = int(saved[_STEPS])
        for name, tensor in trained_state(self.model).items():
            tensor.copy_(saved[_OWN + name])


class AveragingTrainer(ResumingTrainer):
    """With `average_weights`, scores and saves the average of the weights, and leaves it in the model at the end."""

    average: WeightAverage | None = None

    def before_training(self, checkpoint: Path | None) -> None:
        """Begin an average, if there is to be one.

        Raises:
            ValueError: Under FSDP or DeepSpeed, which divide the weights among the ranks.
        """
        super().before_training(checkpoint)
        if self.args.average_weights and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise ValueError(
                f"average_weights={self.args.average_weights}: FSDP and DeepSpeed divide the weights among the"
                " processes, and no average of them is kept. Use DDP (train_scripts/accelerate/ddp.yaml), or leave the"
                " argument out."
            )
        self.begin_average()

    def begin_average(self) -> None:
        """Begin the average anew, because training begins or the network begins again."""
        decay = self.args.average_weights
        self.average = WeightAverage(self.accelerator.unwrap_model(self.model), decay) if decay else None

    def average_step(self) -> None:
        """Take the weights of an optimiser step in. A step that was skipped, or had no gradient, changed none."""
        if self.average is None or self.accelerator.optimizer_step_was_skipped:
            return
        if any(p.grad is not None for p in self.average.model.parameters()):
            self.average.step()

    def own_weights(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps beside its model, which is the average; without an average, nothing."""
        return {} if self.average is None else self.average.own_weights()

    def take_own_weights(self, saved: Mapping[str, Tensor]) -> None:
        """Go on with what `own_weights` returned, after the model of a checkpoint was loaded."""
        if self.average is not None:
            self.average.go_on(saved)

    def _averaged(self) -> Any:
        return self.average.shown() if self.average is not None else nullcontext()

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as the other trainers do; while training runs, the average is what is evaluated."""
        with self._averaged():
            return super().evaluation_loop(*args, **kwargs)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """Save the model; while training runs, the average is what is saved, also in checkpoints."""
        with self._averaged():
            super().save_model(*args, **kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        if self.average is not None:
            self.average.show()  # the best checkpoint, if it is loaded next, holds an average, too
        output = super()._finalize_training(*args, **kwargs)
        self.average = None
        return output
