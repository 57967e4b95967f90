"""Companions: networks that only training has, such as a second network, a domain discriminator, a layer per rater.

A companion is trained beside the model by the same optimiser. Checkpoints save it, and it is no part of the model that
is scored and published.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from hf_ambiser.training.distributed import world_size
from hf_ambiser.training.parameter_groups import HEAD
from hf_ambiser.training.trainer import AmbiSERTrainer


# The offset is large, so that no companion of this run begins as the model of another run does.
SEED_OFFSET = 1_000_003


@dataclass(frozen=True)
class Companion:
    """A companion, and how it learns: see `CompanionTrainer.add_companion`."""

    module: nn.Module
    rate: float
    twin: bool


class CompanionTrainer(AmbiSERTrainer):
    """Trains companions beside the model.

    A method makes them in `set_up` by `add_companion`, calls them in `extra_loss` (`in_float32`), and adds their loss
    to the one of the model. For each companion:

    - its parameters are in the optimiser's groups, so it shares learning rate, schedule, weight decay, gradient
      scaling and skipped steps with the model;
    - its gradients are averaged over the ranks, as DDP does for the model, clipped by `max_grad_norm` on its own, and
      reset after each step;
    - its parameters and buffers are method state (views, named `<name>.<parameter>`): checkpoints save them, and a
      resume restores them bit for bit.

    This class stands before other trainers in a list of bases: `class X(CompanionTrainer, PseudoLabelTrainer)`. A
    companion has no layer that compares the rows of a batch, such as batch norm: what it computes would depend on how
    a step is divided.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.companions: dict[str, Companion] = {}  # `set_up`, which the base class calls, fills it
        super().__init__(*args, **kwargs)

    def add_companion(
        self,
        name: str,
        make: Callable[[], nn.Module],
        what: str = "",
        rate: float = 1.0,
        twin: bool = False,
    ) -> Any:
        """Make a companion and return it; call this in `set_up`.

        Args:
            name: The name of its tensors in a checkpoint. It also decides, with the run's seed, its random numbers.
            make: Makes it. Random numbers that it draws are the same on all ranks, and no others change by them.
            what: What it is called in errors, for example "second network"; the default is its name.
            rate: Its learning rate, as a multiple of `learning_rate` (the head's). Biases and norms have no weight
                decay, as in the Trainer; the others have the run's.
            twin: It is a copy of the model with the same names of parameters. Each parameter then stands beside the
                model's own in the optimiser, with its rate and weight decay, and `rate` must stay 1.

        Raises:
            ValueError: Under FSDP or DeepSpeed, or if the name is taken.
        """
        what = what or name.replace("_", " ")
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                f"{self.name} cannot run under FSDP or DeepSpeed, because they do not shard its {what}. Use"
                " DDP: train_scripts/accelerate/ddp.yaml."
            )
        if name in self.companions:
            raise ValueError(f"{self.name} has a companion {name!r} already; give each one its own name.")
        if twin and rate != 1:
            raise ValueError(f"rate={rate}: a twin learns at the rates of the model; leave rate at 1.")
        with torch.random.fork_rng():
            torch.manual_seed(self.args.seed + SEED_OFFSET + zlib.crc32(name.encode()))
            module = make().to(self.args.device).train()
        self.companions[name] = Companion(module, rate, twin)
        # These tensors are views of the companion: a checkpoint saves it, and a resume restores it.
        self.method_state |= {f"{name}.{key}": tensor for key, tensor in trained_state(module).items()}
        return module

    @torch.no_grad()
    def embedding_size(self) -> int:
        """Return D of the model's embeddings `(B, D)`; families do not say it, so one utterance is answered."""
        model = self.bare_model()
        training = model.training
        inputs = self._prepare_inputs(self.collate([[self.data.row(0)]]))
        size = int(model.eval()(**inputs_of(inputs)).embedding.shape[1])
        model.train(training)
        return size

    # ---- its step ----------------------------------------------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the Trainer's optimiser, which also holds the parameters of the companions.

        Raises:
            ValueError: If the optimiser has no rate for each group of parameters, or if a schedule was given with it.
        """
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        for name, companion in self.companions.items():
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            if any(id(p) in held for p in companion.module.parameters() if p.requires_grad):
                continue  # the Trainer asks again if `train` is called twice
            if companion.twin:
                self._stand_beside(optimizer, companion.module)
            else:
                self._own_groups(optimizer, name, companion)
        return optimizer

    def _stand_beside(self, optimizer: torch.optim.Optimizer, twin: nn.Module) -> None:
        first: Any = self.model
        name_of = {id(p): name for name, p in first.named_parameters()}
        twins = dict(twin.named_parameters())
        for group in optimizer.param_groups:
            own = [name_of[id(p)] for p in group["params"] if id(p) in name_of]
            group["params"] = [*group["params"], *(twins[name] for name in own)]

    def _own_groups(self, optimizer: torch.optim.Optimizer, name: str, companion: Companion) -> None:
        if self.lr_scheduler is not None or any("lr" not in group for group in optimizer.param_groups):
            raise ValueError(
                f"{self.name} trains a {name.replace('_', ' ')} beside the model, which needs groups of its own in the"
                f" optimiser: give no schedule by `optimizers`, and an optimiser with a rate for each group, for"
                f" example optim='adamw_torch' (optim={str(self.args.optim)!r})."
            )
        decayed = set(self.get_decay_parameter_names(companion.module))
        divided = any("depth" in group for group in optimizer.param_groups)
        for decay in (True, False):
            named = companion.module.named_parameters()
            params = [p for key, p in named if p.requires_grad and (key in decayed) == decay]
            if params:
                group = {
                    "params": params,
                    "lr": self.args.learning_rate * companion.rate,
                    "weight_decay": self.args.weight_decay if decay else 0.0,
                }
                optimizer.add_param_group({**group, **({"depth": HEAD} if divided else {})})

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Train as the Trainer does; before an optimiser step, average the companions' gradients over the ranks."""
        loss: Tensor = super().training_step(*args, **kwargs)
        # Average now: next the gradient scaler looks for overflow, and all ranks must find the same.
        if self.accelerator.sync_gradients:
            for companion in self.companions.values():
                average_gradients(companion.module)
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        for companion in self.companions.values():
            nn.utils.clip_grad_norm_(companion.module.parameters(), self.args.max_grad_norm)
        return norm

    def step_taken(self) -> None:
        """Also reset the companions' gradients; the Trainer resets only those of its own model."""
        super().step_taken()
        for companion in self.companions.values():
            companion.module.zero_grad()


def inputs_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a model takes of a batch as the collator makes it; the rest is for the trainer."""
    return {name: tensor for name, tensor in batch.items() if name not in ("index", "role")}


def in_float32(module: nn.Module, *inputs: Tensor) -> Any:
    """Return what a module says to inputs `(B, ...)`, computed in float32 also under autocast."""
    with torch.autocast(device_type=inputs[0].device.type, enabled=False):
        return module(*(tensor.float() for tensor in inputs))


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes in a model, as views: its trainable parameters and its buffers."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def average_gradients(model: nn.Module) -> None:
    """Average every gradient over the ranks, as DDP does for the model.

    A parameter that has no gradient on any rank keeps none, as in a run of one process: an optimiser leaves it alone.
    """
    if world_size() == 1:
        return
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    total = parameters_to_vector(gradients)
    has_one = total.new_tensor([float(p.grad is not None) for p in trained])
    both = torch.cat([total, has_one])
    dist.all_reduce(both)
    vector_to_parameters(both[: len(total)] / world_size(), gradients)
    for parameter, gradient, ranks in zip(trained, gradients, both[len(total) :].tolist(), strict=True):
        parameter.grad = gradient if ranks else None
