"""Shared code of methods that put another loss in the place of cross-entropy and keep no state of their own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.trainer import AmbiSERTrainer, Outputs


class ObjectiveTrainer(AmbiSERTrainer):
    """Learns with the loss that `objective` computes; all else is the base class.

    A class weight multiplies an utterance's loss by the expected weight under its target (form `utterance` of
    `class_weights`). The form `class` is defined for cross-entropy only, and it is refused.
    """

    def __init__(self, model: Any, args: Any, *arguments: Any, **keywords: Any) -> None:
        if args.class_weights != "none" and args.class_weight_form != "utterance":
            raise ValueError(
                f"class_weight_form={args.class_weight_form!r} weights the terms of cross-entropy, and method"
                f" {self.name!r} has another loss. Set class_weight_form to 'utterance', or class_weights to 'none'."
            )
        super().__init__(model, args, *arguments, **keywords)

    def objective(self, logits: Tensor, targets: Tensor, batch: BatchRows) -> Tensor:
        """Return the loss `(B,)`, float32, of logits `(B, K)` against targets `(B, K)`; a method overrides it.

        A target of zeros is a row without a target: its loss is finite, and weight 0 removes it.
        """
        raise NotImplementedError

    def row_loss(self, outputs: Outputs, batch: BatchRows, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the objective of each row `(B,)`, weighted and balanced by class."""
        balanced = self.balanced_rows(batch)
        logits = self.balance.logits(outputs.logits, balanced).float()
        return weights * self.balance.utterance_weight(targets, balanced) * self.objective(logits, targets, batch)
