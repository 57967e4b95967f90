"""Shared code of methods for two domains: clear utterances with labels, and ambiguous ones without.

Such a method has a loss on what the model makes of ambiguous utterances, beside the cross-entropy of labelled ones. It
gives no utterance a label.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from torch import Tensor

from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.ipr_recipe import IPRRecipeArguments
from hf_ambiser.training.schedules import sigmoid_growth
from hf_ambiser.training.trainer import AmbiSERTrainer, Outputs


logger = logging.getLogger(__name__)
SCHEDULES = ("constant", "growing")


@dataclass
class DomainArguments(IPRRecipeArguments):
    """Weight of the loss of two domains.

    Raises:
        ValueError: If a value is not allowed.
    """

    domain_weight: float = field(
        default=1.0, metadata={"help": "Weight of the loss that brings the two domains together, 0 or more."}
    )
    domain_schedule: str = field(
        default="constant",
        metadata={
            "help": "The weight is `constant`, or it is `growing` from 0 as 2 / (1 + exp(-gamma p)) - 1, p being the"
            " share of the training that is done (Ganin et al., section 5.2.2)."
        },
    )
    domain_steepness: float = field(default=10.0, metadata={"help": "gamma of the growing weight, above 0."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices({"domain_schedule": SCHEDULES})
        if self.domain_weight < 0:
            raise ValueError(f"domain_weight={self.domain_weight} must be 0 or more.")
        if self.domain_steepness <= 0:
            raise ValueError(f"domain_steepness={self.domain_steepness} must be above 0; the paper has 10.")
        self.refuse_idle("domain_schedule", "growing", "domain_steepness")


class DomainTrainer(AmbiSERTrainer):
    """Learns from labels as they are, and adds `domain_loss` in each step that holds ambiguous utterances."""

    arguments_class = DomainArguments
    needs_ambiguous = True
    averaged_over = ("labelled",)

    args: DomainArguments

    def check_arguments(self, begins: bool) -> None:
        """Refuse what cannot act, and say what a weight of 0 leaves."""
        super().check_arguments(begins)
        if self.args.domain_weight == 0:
            logger.warning(
                "domain_weight=0: the ambiguous utterances of %s add no loss to that of the labelled ones. Give a"
                " weight above 0, unless this is what you compare with.",
                self.name,
            )

    @property
    def domain_weight(self) -> float:
        """Return the weight of the domains' loss in this optimiser step."""
        if self.args.domain_schedule == "constant":
            return self.args.domain_weight
        progress = self.state.global_step / max(self.state.max_steps, 1)
        return self.args.domain_weight * sigmoid_growth(progress, self.args.domain_steepness)

    def domain_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor:
        """Return the loss of a micro-batch, weighted, scaled as `effective_mean` scales it. A method overrides it."""
        raise NotImplementedError

    def embedding(self, outputs: Outputs) -> Tensor:
        """Return the embeddings `(B, D)`, float32, that the domains' loss is to change.

        Raises:
            ValueError: If nothing below the embedding learns, so that no loss can change it.
        """
        embedding: Tensor = outputs.embedding.float()
        if not embedding.requires_grad:
            raise ValueError(
                f"{self.name} changes the model's embeddings, and no parameter below them learns. Train the encoder or"
                " a part of it, or give the head layers of its own (model_fields: {projection_size: 128}, or layers:"
                " weighted_sum)."
            )
        return embedding

    def extra_loss(self, outputs: Outputs, batch: BatchRows) -> Tensor | float:
        """Return `domain_loss`; 0 if the weight is 0 or the step holds no ambiguous utterance on any rank."""
        if self.args.domain_weight == 0 or self.effective_counts["ambiguous"] == 0:
            return 0.0
        loss = self.domain_loss(outputs, batch)
        self.record(loss_domain=loss.detach())
        return loss
