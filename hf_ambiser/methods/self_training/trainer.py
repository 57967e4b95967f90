"""Self-training, the "baseline+" of Sun et al. (2024), section 3.2."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from hf_ambiser.schedules import exponential_ramp
from hf_ambiser.trainer import AmbiSERTrainer, BatchRows, Outputs
from hf_ambiser.training_arguments import AmbiSERTrainingArguments


@dataclass
class SelfTrainingArguments(AmbiSERTrainingArguments):
    """Arguments of self-training; the ramp and the warm-up are IPR's, so that only the labels differ."""

    learning_rate: float = field(default=1e-5, metadata={"help": "IPR, section 3.2."})
    num_train_epochs: float = field(default=50, metadata={"help": "IPR, section 3.2."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Labelled utterances; IPR, section 3.2."})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's own default; the paper gives none."})
    warmup_epochs: int = field(default=10, metadata={"help": "Epochs on labelled utterances only; IPR, section 3.2."})
    pseudo_label: str = field(
        default="hard",
        metadata={
            "help": "The classifier's best class (`hard`, Table 3) or its sharpened probabilities (`soft`, section"
            " 3.2). Unsharpened ones teach nothing: the gradient of cross-entropy against one's own answer is zero."
        },
    )
    sharpening: float = field(
        default=0.5, metadata={"help": "Temperature in (0, 1) that soft pseudo labels are sharpened with; a choice."}
    )
    beta_max: float = field(default=0.5, metadata={"help": "Largest weight of ambiguous utterances; w_m of Eq. 7."})
    ramp_base: float = field(default=10.0, metadata={"help": "r of Eq. 7; the paper gives none."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pseudo_label not in ("soft", "hard"):
            raise ValueError(f"pseudo_label={self.pseudo_label!r} is not one of ['soft', 'hard'].")
        if not 0 < self.sharpening < 1:
            raise ValueError(
                f"sharpening={self.sharpening} must lie between 0 and 1: at 1 the target is the model's own answer,"
                " whose gradient is zero."
            )


class SelfTrainingTrainer(AmbiSERTrainer):
    """Labels ambiguous utterances with what the classifier says of them at this very step.

    Changes `correct` (targets of ambiguous rows, weight beta of Eq. 7) and the warm-up; no prototypes, no contrast.
    """

    name = "self_training"
    arguments_class = SelfTrainingArguments
    needs_ambiguous = True
    paper = "Sun et al., Iterative Prototype Refinement for Ambiguous Speech Emotion Recognition (baseline+)"
    suite_settings = {"warmup_epochs": 1}
    variants = {"soft_pseudo_labels": {"pseudo_label": "soft"}}

    args: SelfTrainingArguments

    def takes_ambiguous(self, epoch: int) -> bool:
        """After the warm-up."""
        return epoch >= self.args.warmup_epochs

    @property
    def beta(self) -> float:
        """Weight of ambiguous utterances in the running epoch, Eq. 7."""
        args = self.args
        return exponential_ramp(self.epoch, args.num_train_epochs, args.beta_max, args.ramp_base)

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Labelled rows as they are; ambiguous rows with the classifier's own answer, weight beta."""
        targets, weights = super().correct(outputs, batch)
        logits = outputs.logits.float()
        if self.args.pseudo_label == "hard":
            own = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
        else:
            own = torch.softmax(logits / self.args.sharpening, dim=-1)
        ambiguous = batch.ambiguous[:, None]
        return torch.where(ambiguous, own, targets), torch.where(batch.ambiguous, self.beta, weights)
