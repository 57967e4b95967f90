"""Shared code of methods that label ambiguous utterances: a warm-up without them, then a growing weight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.ipr_recipe import IPRRecipeArguments
from hf_ambiser.training.schedules import exponential_ramp
from hf_ambiser.training.trainer import AmbiSERTrainer


@dataclass
class PseudoLabelArguments(IPRRecipeArguments):
    """Schedule of Sun et al. (2024), section 3.2 and Eq. 7."""

    warmup_epochs: int = field(default=10, metadata={"help": "Epochs on labelled utterances only; IPR, section 3.2."})
    beta_max: float = field(default=0.5, metadata={"help": "w_m, cap of the ambiguous weight, Eq. 7; section 3.2."})
    ramp_base: float = field(default=10.0, metadata={"help": "r of Eq. 7; the paper gives none."})
    distribution_alignment: bool = field(
        default=False,
        metadata={
            "help": "Multiply the soft label of an ambiguous utterance by the labelled utterances' class shares,"
            " divided by the running mean of such soft labels, before a pseudo label is taken from it (ReMixMatch,"
            " section 3.1). Not in the paper."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta_max < 0:
            raise ValueError(
                f"beta_max={self.beta_max} is the largest weight of an ambiguous utterance; it must be 0 or more."
            )
        if self.ramp_base <= 0:
            raise ValueError(f"ramp_base={self.ramp_base} must be above 0; 1 is a straight line.")
        if self.warmup_epochs < 0:
            raise ValueError(f"warmup_epochs={self.warmup_epochs} must be 0 or more.")
        if self.max_steps <= 0 and self.warmup_epochs >= self.num_train_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} leaves no epoch of num_train_epochs={self.num_train_epochs:g}, so"
                " no ambiguous utterance would ever be used. Make the warm-up shorter (the paper's is a fifth of the"
                " training) or the training longer."
            )


# The running mean of soft labels forgets with this factor an optimiser step; ReMixMatch averages over 128 batches.
_MEAN_DECAY = 0.99


class PseudoLabelTrainer(AmbiSERTrainer):
    """Draws ambiguous utterances after the warm-up, weights them by `beta`, and may align their pseudo labels."""

    arguments_class = PseudoLabelArguments
    needs_ambiguous = True

    args: PseudoLabelArguments

    def set_up(self) -> None:
        """Begin the running mean of soft labels at the class shares, with which alignment changes nothing."""
        if self.args.distribution_alignment:
            counts = self.table.observed[: self.data.n_labelled].sum(dim=0)
            self._class_shares = counts / counts.sum()
            self.method_state["mean_soft_label"] = self._class_shares.clone()

    def takes_ambiguous(self, epoch: int) -> bool:
        """Whether this epoch draws ambiguous utterances: yes, after the warm-up."""
        return epoch >= self.args.warmup_epochs

    @property
    def counted_after(self) -> float:
        """The warm-up has no pseudo label."""
        return self.args.warmup_epochs

    @property
    def beta(self) -> float:
        """Weight of ambiguous cross-entropy in the running epoch, Eq. 7."""
        return exponential_ramp(self.epoch, self.planned_epochs, self.args.beta_max, self.args.ramp_base)

    # ---- distribution alignment --------------------------------------------------------------------------------

    def soft_label(self, outputs: Any) -> Tensor:
        """Return the soft label `(B, K)` that the model gives each row, before alignment. A method overrides it."""
        raise NotImplementedError

    def aligned(self, soft_label: Tensor) -> Tensor:
        """Return `Normalize(q p / mean(q))` of soft labels q `(B, K)`, p being class shares; q without alignment."""
        if not self.args.distribution_alignment:
            return soft_label
        scaled = soft_label.float() * (self._class_shares / self.method_state["mean_soft_label"].clamp(min=1e-6))
        return scaled / scaled.sum(dim=1, keepdim=True).clamp(min=1e-12)

    def observe(self, outputs: Any, batch: BatchRows, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """With alignment, add the soft labels before alignment to the rows of the base class."""
        rows = super().observe(outputs, batch, targets, weights)
        if self.args.distribution_alignment:
            rows["unaligned"] = self.soft_label(outputs).float()
        return rows

    def update_state(self, rows: dict[str, Tensor]) -> None:
        """With alignment, move the running mean by the ambiguous utterances of this step."""
        super().update_state(rows)
        if not self.args.distribution_alignment:
            return
        given = rows["unaligned"][BatchRows(rows["index"], rows["role"]).ambiguous]
        if len(given):
            mean = self.method_state["mean_soft_label"]
            mean.copy_(torch.lerp(given.mean(dim=0), mean, _MEAN_DECAY))
