"""Arguments of DivideMix; each default names its place in the paper."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


@dataclass
class DivideMixArguments(AmbiSERTrainingArguments):
    """Arguments of `DivideMixTrainer`; it has the baselines' optimiser.

    Raises:
        ValueError: If a value is not allowed.
    """

    num_train_epochs: float = field(default=300, metadata={"help": "Epochs; 300 in the paper, on images."})
    warmup_epochs: int = field(
        default=10, metadata={"help": "Epochs in which both networks learn all labels; 10 or 30 in the paper."}
    )
    clean_probability: float = field(
        default=0.5,
        metadata={"help": "tau in (0, 1): a label that is clean with at least this probability is kept; section 4."},
    )
    sharpening: float = field(
        default=0.5, metadata={"help": "T in (0, 1], the temperature that sharpens new labels; section 4."}
    )
    noisy_weight: float = field(
        default=25.0,
        metadata={"help": "lambda_u, 0 or more, the weight of utterances with noisy labels; 0 to 150 in the paper."},
    )
    ramp_epochs: int = field(
        default=16, metadata={"help": "Epochs after the warm-up until `noisy_weight` is reached, at least 1."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_epochs < 1:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} must be 1 or more: losses of networks that have learnt nothing"
                " do not tell clean labels from noisy ones."
            )
        if self.max_steps <= 0 and self.warmup_epochs >= self.num_train_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} leaves no epoch of num_train_epochs={self.num_train_epochs:g}, so"
                " no label would ever be divided. Make the warm-up shorter or the training longer."
            )
        if not 0 < self.clean_probability < 1:
            raise ValueError(f"clean_probability={self.clean_probability} must be above 0 and below 1.")
        if not 0 < self.sharpening <= 1:
            raise ValueError(f"sharpening={self.sharpening} must be above 0 and at most 1, which does not sharpen.")
        if not self.noisy_weight >= 0:
            raise ValueError(f"noisy_weight={self.noisy_weight} must be 0 or more.")
        if self.ramp_epochs < 1:
            raise ValueError(f"ramp_epochs={self.ramp_epochs} must be 1 or more.")
