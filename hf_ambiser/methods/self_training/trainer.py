"""Self-training, the "baseline+" of Sun et al. (2024), section 3.2."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from hf_ambiser.training.papers import IPR
from hf_ambiser.training.pseudo_labels import PseudoLabelArguments, PseudoLabelTrainer
from hf_ambiser.training.trainer import BatchRows, Outputs


@dataclass
class SelfTrainingArguments(PseudoLabelArguments):
    """Arguments of self-training; ramp and warm-up are those of IPR, so that only the labels differ."""

    pseudo_label: str = field(
        default="hard",
        metadata={
            "help": "The classifier's best class (`hard`, Table 3) or its sharpened probabilities (`soft`, section"
            " 3.2). Unsharpened ones teach nothing: cross-entropy against the model's own answer has gradient zero."
        },
    )
    sharpening: float = field(
        default=0.5, metadata={"help": "Temperature in (0, 1) that sharpens soft pseudo labels; our choice."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices({"pseudo_label": ("soft", "hard")})
        if not 0 < self.sharpening < 1:
            raise ValueError(
                f"sharpening={self.sharpening} must be above 0 and below 1: at 1 the target is the model's own answer,"
                " and the gradient is zero."
            )


class SelfTrainingTrainer(PseudoLabelTrainer):
    """Labels ambiguous utterances with the classifier's answer at the same step.

    It overrides `correct` (targets of ambiguous rows, weight beta of Eq. 7) and has a warm-up; it has no prototypes
    and no contrastive loss.
    """

    name = "self_training"
    arguments_class = SelfTrainingArguments
    summary = (
        "Self-training, the paper's baseline+. The model first learns from clips on which the raters agree; ambiguous"
        " clips, whose votes it never sees, then get the classifier's own answer as their label."
    )
    paper = IPR
    suite_settings = {"warmup_epochs": 1}
    variants = {
        "soft_pseudo_labels": {"pseudo_label": "soft"},
        "aligned": {"distribution_alignment": True},
        "aligned_soft_pseudo_labels": {"distribution_alignment": True, "pseudo_label": "soft"},
    }

    args: SelfTrainingArguments

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Keep labelled rows; give ambiguous rows the classifier's own answer, with weight beta."""
        targets, weights = super().correct(outputs, batch)
        logits = outputs.logits.float()
        if self.args.distribution_alignment:
            logits = self.aligned(self.soft_label(outputs)).log()
        if self.args.pseudo_label == "hard":
            own = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
        else:
            own = torch.softmax(logits / self.args.sharpening, dim=-1)
        ambiguous = batch.ambiguous[:, None]
        return torch.where(ambiguous, own, targets), torch.where(batch.ambiguous, self.beta, weights)

    def soft_label(self, outputs: Outputs) -> Tensor:
        """Return the classifier's probabilities `(B, K)`."""
        return torch.softmax(outputs.logits.float(), dim=-1)
