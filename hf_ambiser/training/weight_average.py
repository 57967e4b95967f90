"""An average of the weights over the steps of a run, which is scored and saved in place of the last ones.

The weights of neighbouring steps differ by the noise of their batches, and so do the figures of neighbouring
evaluations. Their exponential moving average (Polyak and Juditsky 1992; Tarvainen and Valpola 2017) moves less.
Learning itself does not see it: a run with an average learns what the same run without it learns, apart from what
validation decides (early stopping, a rate that follows its figures).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers.training_args import OptimizerNames

from hf_ambiser.training.resuming import ResumingTrainer


_OWN = "own."
_STEPS, _DECAY = "averaged_steps", "averaged_decay"


def learning_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what of a model learns, by name; one that has two names is there once.

    These are the parameters with a gradient, and the moving averages of batch norms that learn: those of the own
    weights would not fit the averaged ones.
    """
    learning: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for place, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine and module.weight.requires_grad:
            found = ((name, getattr(module, name)) for name in ("running_mean", "running_var"))
            learning |= {f"{place}.{name}".lstrip("."): values for name, values in found if values is not None}
    return learning


class WeightAverage:
    """A moving average of what of a model learns (`learning_tensors`). Other buffers are its own at all times.

    With the n-th step, n = 0, 1, ..., the average A becomes d A + (1 - d) W with d = min(decay, (1 + n) / (10 + n)).
    So it remembers a ninth of the steps that were made, and 1 / (1 - decay) of them at most.

    The model has its own weights or, where they are *shown*, the average's. The tensors here hold the other ones.

    Args:
        model: The model, without the wrappers of accelerate.
        decay: In (0, 1).

    Raises:
        ValueError: If a parameter that learns is in half precision, in which small steps of an average are lost.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        check_precision(model, decay)  # again: the model may have been cast since the trainer was made
        self.model, self.decay = model, decay
        self.other = {name: p.detach().clone() for name, p in learning_tensors(model).items()}
        self.steps, self.is_shown = 0, False

    @torch.no_grad()
    def step(self) -> None:
        """Take in the weights of the step that was made just now."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        own = learning_tensors(self.model)
        get_ema_multi_avg_fn(decay)([self.other[name] for name in own], list(own.values()), None)
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
        for name, parameter in learning_tensors(self.model).items():
            kept = parameter.clone()
            parameter.copy_(self.other[name])
            self.other[name].copy_(kept)
        self.is_shown = not self.is_shown

    # ---- checkpoints -------------------------------------------------------------------------------------------

    def own_weights(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps beside the average, which is its model."""
        own = {_OWN + name: p.detach() for name, p in learning_tensors(self.model).items()}
        return {**own, _STEPS: torch.tensor(self.steps), _DECAY: torch.tensor(self.decay, dtype=torch.float64)}

    @torch.no_grad()
    def go_on(self, saved: Mapping[str, Tensor]) -> None:
        """Go on with a model that was loaded from a checkpoint, and with the `own_weights` that it keeps."""
        self.steps = int(saved[_STEPS])
        for name, parameter in learning_tensors(self.model).items():
            self.other[name].copy_(parameter)
            parameter.copy_(saved[_OWN + name])


def check_precision(model: nn.Module, decay: float) -> None:
    """Check that the parameters of a model can be averaged; see `WeightAverage`."""
    for name, parameter in learning_tensors(model).items():
        if parameter.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                f"average_weights={decay} needs parameters in float32, and {name} is in {parameter.dtype}. Load the"
                " model with dtype=torch.float32; bf16=True then computes in bfloat16 all the same."
            )


class AveragingTrainer(ResumingTrainer):
    """With `average_weights`, scores and saves the average of the weights, and leaves it in the model at the end."""

    average: WeightAverage | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.average_weights and self.train_dataset is not None:
            self.check_average()

    def check_average(self) -> None:
        """Check that the weights of this run can be averaged.

        Raises:
            ValueError: If they are divided among processes, in half precision, averaged already or not there yet.
        """
        decay = self.args.average_weights
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                f"average_weights={decay}: FSDP and DeepSpeed divide the weights among the processes, and no average"
                " of them is kept. Use DDP (train_scripts/accelerate/ddp.yaml), or leave the argument out."
            )
        own_eval = callable(getattr(self.optimizer, "eval", None))
        if own_eval or OptimizerNames(self.args.optim).value.startswith("schedule_free"):
            raise ValueError(
                f"average_weights={decay}: a schedule-free optimiser averages the weights itself. Choose another, for"
                " example optim='adamw_torch', or leave the argument out."
            )
        if self.model_init is not None:
            raise ValueError(
                f"average_weights={decay}: model_init makes a new model when training begins, and no average of it is"
                " kept. Give the model itself, or leave the argument out."
            )
        check_precision(self.bare_model(), decay)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as the other trainers do; afterwards what is in the model is what is scored and saved."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self.average = None

    def before_training(self, checkpoint: Path | None) -> None:
        """Begin an average, if there is to be one."""
        super().before_training(checkpoint)
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
        """Go on with what `own_weights` returned, after the model of a checkpoint was loaded.

        Raises:
            ValueError: If it was saved with another decay, or with an average and there is none now, or the reverse.
        """
        was, now = float(saved.get(_DECAY, 0.0)), self.args.average_weights
        if was != now:
            raise ValueError(
                f"the checkpoint was saved with average_weights={was:g}, and the run now has average_weights={now:g}."
                " Resume with the arguments that it was begun with, or start a new run folder."
            )
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
        return super()._finalize_training(*args, **kwargs)
