"""Parameter groups of the optimiser: at which rates the head and the layers of the encoder learn, and from when on.

A pretrained encoder is mostly fine-tuned at a lower rate than the new head, its lower layers at lower rates than its
upper ones, and not before the head has learnt something. `encoder_learning_rate`, `layer_decay` and
`head_warmup_epochs` are these three. Without them the groups are those of the Trainer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hf_ambiser.training.split_trainer import SplitTrainer


if TYPE_CHECKING:
    from hf_ambiser.training.arguments import AmbiSERTrainingArguments

logger = logging.getLogger(__name__)
# The depth of what is not in the encoder.
HEAD = -1


def asked_for(args: AmbiSERTrainingArguments) -> list[str]:
    """Return which of the arguments about the encoder's rate are given, as `name=value`."""
    defaults = {"encoder_learning_rate": None, "layer_decay": 1.0, "head_warmup_epochs": 0}
    return [f"{name}={getattr(args, name)}" for name, none in defaults.items() if getattr(args, name) != none]


def encoder_depths(model: Any, by_layer: bool) -> dict[int, int]:
    """Return how deep each parameter of a model's encoder lies, by the parameter's `id`.

    The topmost layer and what stands above it have depth 0, the layer below has 1, and so on. What stands below all n
    layers has depth n. The parameters of a LoRA adapter lie where the module is that they adapt.

    Args:
        model: A model of `hf_ambiser.models`, without wrappers.
        by_layer: Whether layers count. False: the whole encoder has depth 0.
    """
    depth = {id(p): 0 for p in model.encoder.parameters()}
    if by_layer:
        adapter = model.encoder_adapter
        for above, layer in enumerate(reversed(adapter.layers)):
            depth |= {id(p): above for p in layer.parameters()}
        for part in adapter.below_layers:
            inside = part.parameters() if isinstance(part, nn.Module) else [part]
            depth |= {id(p): len(adapter.layers) for p in inside}
    return depth


def learning_rate(depth: int, args: AmbiSERTrainingArguments) -> float:
    """Return the rate at a depth, before the schedule: `encoder_learning_rate * layer_decay ** depth`."""
    if depth == HEAD:
        return args.learning_rate
    rate = args.learning_rate if args.encoder_learning_rate is None else args.encoder_learning_rate
    return rate * args.layer_decay**depth


def divide(
    groups: list[dict[str, Any]], depth: dict[int, int], args: AmbiSERTrainingArguments
) -> list[dict[str, Any]]:
    """Divide the Trainer's groups (with and without weight decay) by depth, the head first.

    Each new group keeps what its old one says, and has its own `lr` and its `depth`. The first one is the head's,
    because the Trainer logs the rate of the first group.
    """
    found = sorted({depth.get(id(p), HEAD) for group in groups for p in group["params"]})
    divided = []
    for place in found:
        for group in groups:
            params = [p for p in group["params"] if depth.get(id(p), HEAD) == place]
            if params:
                divided.append({**group, "params": params, "lr": learning_rate(place, args), "depth": place})
    return divided


def in_words(groups: list[dict[str, Any]], args: AmbiSERTrainingArguments) -> str:
    """Return one line that says at which rates the head and the encoder learn."""
    head = [group["lr"] for group in groups if group["depth"] == HEAD]
    rates = [group["lr"] for group in groups if group["depth"] != HEAD]
    parts = [f"head {head[0]:.3g}"] if head else []
    if min(rates) == max(rates):
        parts.append(f"encoder {rates[0]:.3g}")
    else:
        parts.append(f"encoder layers {max(rates):.3g} (topmost) to {min(rates):.3g} (lowest that learns)")
    warmup = f"; until epoch {args.head_warmup_epochs:g} only the head learns"
    return f"learning rates: {', '.join(parts)}{warmup if args.head_warmup_epochs else ''}."


def check(model: Any, args: AmbiSERTrainingArguments, sharded: bool) -> None:
    """Check that every argument about the encoder's rate can act on this model.

    Args:
        model: The model, without wrappers.
        args: The run's arguments.
        sharded: Whether FSDP or DeepSpeed trains the model.

    Raises:
        ValueError: If one of them cannot act; the message says why, and what to do.
    """
    given = asked_for(args)
    if not given:
        return
    what, leave = ", ".join(given), "Leave the argument out."
    if sharded:
        raise ValueError(
            f"{what}: FSDP and DeepSpeed make groups of their own, in which an encoder cannot have its own rate. Use"
            " DDP (train_scripts/accelerate/ddp.yaml), or leave the argument out."
        )
    if getattr(model, "encoder", None) is None:
        raise ValueError(f"{what} needs a model with an encoder; this {type(model).__name__} has none. {leave}")
    depth = encoder_depths(model, args.layer_decay != 1)
    places = {depth.get(id(p), HEAD) for p in model.parameters() if p.requires_grad}
    if not places - {HEAD}:
        raise ValueError(f"{what}: the whole encoder is frozen, so it has no rate. Leave the argument or freeze out.")
    if HEAD not in places and (args.encoder_learning_rate is not None or args.head_warmup_epochs):
        raise ValueError(
            f"{what} makes a difference between encoder and head, and all parameters that learn are in the encoder."
            " Set learning_rate alone, or let the head learn."
        )
    if args.layer_decay != 1 and places <= {HEAD, 0}:
        raise ValueError(
            f"layer_decay={args.layer_decay}: of the encoder only its topmost layer learns, which has the encoder's"
            f" own rate. {leave}"
        )
    if args.lr_scheduler_type == "greedy":
        raise ValueError(
            f"{what}: lr_scheduler_type='greedy' keeps all rates above one bound (min_lr), so lower ones would not"
            " follow it. Choose another schedule, for example 'cosine' or 'reduce_lr_on_plateau'."
        )


class ParameterGroupTrainer(SplitTrainer):
    """Gives the head and each layer of the encoder the rate that the arguments ask for, in the optimiser's groups.

    Schedules multiply all rates by the same factor, so their ratios stay. (`reduce_lr_on_plateau` ends where its
    `min_lr` says, for each rate.) Weight decay is that of the Trainer: none for biases and norms.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.train_dataset is not None:
            check(self.bare_model(), self.args, self.is_fsdp_enabled or self.is_deepspeed_enabled)
            if self.optimizer is not None and asked_for(self.args):
                raise ValueError(
                    f"{', '.join(asked_for(self.args))}: `optimizers` was given, too, and that optimiser has its rates"
                    " already. Set the rates of its groups, or leave `optimizers` out."
                )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the Trainer's optimiser; its groups are divided if the encoder has rates of its own.

        Raises:
            ValueError: If an argument cannot act on the model, or the optimiser has no rate for each group.
        """
        fresh = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if not (fresh and asked_for(self.args)):
            return optimizer
        bare = self.bare_model()
        check(bare, self.args, sharded=False)  # again: parts may have been frozen since the trainer was made
        held = {id(p) for group in optimizer.param_groups if "lr" in group for p in group["params"]}
        if not held.issuperset(id(p) for p in bare.parameters() if p.requires_grad):
            raise ValueError(
                f"{', '.join(asked_for(self.args))}: the optimiser optim={str(self.args.optim)!r} has no rate for each"
                " group of parameters. Choose another, for example optim='adamw_torch'."
            )
        depth = encoder_depths(bare, self.args.layer_decay != 1)
        optimizer.param_groups = divide(optimizer.param_groups, depth, self.args)
        if self.is_world_process_zero():
            logger.info(in_words(optimizer.param_groups, self.args))
        return optimizer

    # ---- warm-up of the head -----------------------------------------------------------------------------------

    @property
    def network_epochs(self) -> float:
        """Epochs, with their fraction, since the network began; a method in which it begins again overrides this."""
        return float(self.state.epoch or 0)

    def hold_encoder(self) -> None:
        """During the warm-up of the head, drop the encoder's gradients, also those of LoRA adapters inside it.

        An optimiser leaves a parameter without gradient as it is: it does not decay it and does not begin its moments.
        (At a rate of 0 the moments would fill with gradients that a random head sent.) Nothing else changes, so DDP,
        accumulation, checkpointing and gradient scaling work as ever, and an epoch costs what it always costs.
        """
        if self.network_epochs < self.args.head_warmup_epochs:
            optimizer: Any = self.optimizer
            for group in optimizer.param_groups:
                for parameter in group["params"] if group["depth"] != HEAD else ():
                    parameter.grad = None

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        self.hold_encoder()  # what is dropped must not make the head's step shorter
        return super()._clip_grad_norm(model)
