"""Shared code of methods that label an ambiguous utterance by a confident answer, which its augmented copy learns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.ipr_recipe import IPRRecipeArguments
from hf_ambiser.training.trainer import AmbiSERTrainer, Outputs


@dataclass
class ConfidentLabelArguments(IPRRecipeArguments):
    """Weight of the copies.

    Raises:
        ValueError: If a value is not allowed.
    """

    ambiguous_weight: float = field(
        default=1.0,
        metadata={
            "help": "lambda_u, weight of the copies' cross-entropy beside that of labelled utterances; above 0."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ambiguous_weight <= 0:
            raise ValueError(f"ambiguous_weight={self.ambiguous_weight} must be above 0; hard_vote learns without.")


class ConfidentLabelTrainer(AmbiSERTrainer):
    """Takes the class that the model gives an utterance as its label, if the model is confident enough.

    The utterance itself (the weak view) gives the label, and only its augmented copy (the strong view) learns it. The
    mean is over all copies of the effective batch, so unsure ones count as 0. In the label table an ambiguous
    utterance has the label as `target`, and as `weight` the weight of its copy: 0 if the model was unsure.
    """

    arguments_class = ConfidentLabelArguments
    needs_ambiguous = True
    needs_augmented = True
    averaged_over = ("labelled", "augmented")

    args: ConfidentLabelArguments

    def thresholds(self) -> Tensor:
        """Return the probability `(K,)` from which on the model's answer is a label, for each class."""
        raise NotImplementedError

    def groups(self, batch: BatchRows) -> dict[str, Tensor]:
        """Add the copies, over which their cross-entropy is averaged."""
        return {**super().groups(batch), "augmented": batch.augmented}

    def confident(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Return the model's class and whether it is confident, `(A,)` each, of the A clean ambiguous rows."""
        probability = torch.softmax(outputs.logits.detach().float()[batch.ambiguous], dim=-1)
        largest, label = probability.max(dim=-1)
        return label, largest >= self.thresholds()[label]

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Keep labelled rows; give clean and augmented rows the model's class, with weight 0 where it is unsure."""
        targets, weights = super().correct(outputs, batch)
        targets, weights = targets.clone(), weights.clone()
        label, confident = self.confident(outputs, batch)
        for rows in (batch.ambiguous, batch.augmented):  # copies have the order of their utterances
            targets[rows] = F.one_hot(label, targets.shape[-1]).to(targets.dtype)
            weights[rows] = self.args.ambiguous_weight * confident.to(weights.dtype)
        self.record(share_confident=self.effective_mean(confident, "ambiguous"))
        return targets, weights
