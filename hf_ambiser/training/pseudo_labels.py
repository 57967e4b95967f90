"""Shared code of methods that label ambiguous utterances: a warm-up without them, then a growing weight."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.schedules import exponential_ramp
from hf_ambiser.training.trainer import AmbiSERTrainer


@dataclass
class PseudoLabelArguments(AmbiSERTrainingArguments):
    """Schedule of Sun et al. (2024), section 3.2 and Eq. 7."""

    learning_rate: float = field(default=1e-5, metadata={"help": "IPR, section 3.2."})
    num_train_epochs: float = field(default=50, metadata={"help": "e_m; IPR, section 3.2."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Labelled utterances; IPR, section 3.2."})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's own default; the paper gives none."})
    warmup_epochs: int = field(default=10, metadata={"help": "Epochs on labelled utterances only; IPR, section 3.2."})
    beta_max: float = field(default=0.5, metadata={"help": "w_m, cap of the ambiguous weight, Eq. 7; section 3.2."})
    ramp_base: float = field(default=10.0, metadata={"help": "r of Eq. 7; the paper gives none."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_steps <= 0 and self.warmup_epochs >= self.num_train_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} leaves no epoch of num_train_epochs={self.num_train_epochs:g}, so"
                " no ambiguous utterance would ever be used. Make the warm-up shorter (the paper's is a fifth of the"
                " training) or the training longer."
            )


class PseudoLabelTrainer(AmbiSERTrainer):
    """Draws ambiguous utterances after the warm-up and weights them by `beta`."""

    arguments_class = PseudoLabelArguments
    needs_ambiguous = True

    args: PseudoLabelArguments

    def takes_ambiguous(self, epoch: int) -> bool:
        """Whether this epoch draws ambiguous utterances: yes, after the warm-up."""
        return epoch >= self.args.warmup_epochs

    @property
    def beta(self) -> float:
        """Weight of ambiguous cross-entropy in the running epoch, Eq. 7."""
        args = self.args
        return exponential_ramp(self.epoch, args.num_train_epochs, args.beta_max, args.ramp_base)
