"""The inter-class difference loss (Li et al. 2023), from which SLC's enhanced one comes."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.heard import heard
from hf_ambiser.training.inter_class import inter_class_difference
from hf_ambiser.training.losses import soft_cross_entropy
from hf_ambiser.training.objective_trainer import ObjectiveTrainer
from hf_ambiser.training.papers import Paper


@dataclass
class InterClassArguments(AmbiSERTrainingArguments):
    """Arguments of the inter-class difference loss.

    Raises:
        ValueError: If a value is not allowed.
    """

    margin: float = field(
        default=0.1, metadata={"help": "beta, 0 or more, by which an emotion that was heard leads one that was not."}
    )
    heard_share: float = field(
        default=0.0,
        metadata={
            "help": "An emotion is heard if more than this share of the votes names it, in [0, 1); or if it leads."
        },
    )
    cross_entropy: bool = field(
        default=False, metadata={"help": "Add the cross-entropy against the shares of the votes."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.margin >= 0:
            raise ValueError(f"margin={self.margin} must be 0 or more.")
        if not 0 <= self.heard_share < 1:
            raise ValueError(f"heard_share={self.heard_share} must be 0 or more and less than 1.")


class InterClassTrainer(ObjectiveTrainer):
    """Asks each emotion that raters heard to lead each one that they did not hear, by a margin."""

    name = "inter_class"
    arguments_class = InterClassArguments
    target = "soft_label"
    summary = (
        "Every emotion that was heard must lead, by a margin, every emotion that was not. This loss does not read how"
        " many raters heard it, so the model itself finds how the emotions of an utterance share its answer."
    )
    paper = Paper(
        key="li2023multi",
        authors=("X. Li", "Z. Zhang", "C. Gan", "Y. Xiang"),
        title="Multi-Label Speech Emotion Recognition via Inter-Class Difference Loss Under Response Residual Network",
        year=2023,
        venue="IEEE Transactions on Multimedia",
    )
    variants = {"with_cross_entropy": {"cross_entropy": True}}

    args: InterClassArguments

    def criterion(self, logits: Tensor, targets: Tensor, batch: BatchRows) -> Tensor:
        """Return the loss of each row, `(B,)`, without unit."""
        labels = heard(targets, self.args.heard_share)
        loss = inter_class_difference(logits.softmax(dim=-1), labels, self.args.margin)
        return loss + soft_cross_entropy(logits, targets) if self.args.cross_entropy else loss
