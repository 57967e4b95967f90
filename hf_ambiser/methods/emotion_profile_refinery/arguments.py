"""Arguments of the emotion profile refinery."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


HARD_LABELS = ("profile", "consensus")


@dataclass
class EmotionProfileRefineryArguments(AmbiSERTrainingArguments):
    """How many networks follow one another, and what the later ones learn from.

    Raises:
        ValueError: If a value is not allowed.
    """

    stages: int = field(
        default=3,
        metadata={"help": "Networks that are trained one after the other, at least 2; they share the epochs evenly."},
    )
    hard_share: float = field(
        default=0.0,
        metadata={"help": "Share of a hard label in the target of all stages but the first, in [0, 1]."},
    )
    hard_label: str = field(
        default="profile",
        metadata={
            "help": "The hard label: the leading class of the `profile` (the paper's pseudo-one-hot label), or the"
            " raters' `consensus`."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages < 2:
            raise ValueError(f"stages={self.stages} must be 2 or more; one network alone is `hard_vote`.")
        if not 0 <= self.hard_share <= 1:
            raise ValueError(f"hard_share={self.hard_share} is a share; it must be from 0 to 1.")
        self.check_choices({"hard_label": HARD_LABELS})
        if self.hard_label == "consensus" and self.hard_share in (0, 1):
            raise ValueError(
                f"hard_label='consensus' with hard_share={self.hard_share}: "
                + ("no hard label is used." if self.hard_share == 0 else "no profile is used, so nothing is refined.")
                + " Set hard_share between 0 and 1, or leave hard_label out."
            )
        if self.max_steps > 0:
            raise ValueError(
                f"max_steps={self.max_steps} does not say where a stage ends, because the stages share the epochs."
                " Give num_train_epochs instead."
            )
        if self.num_train_epochs < self.stages:
            raise ValueError(
                f"num_train_epochs={self.num_train_epochs:g} gives some of the {self.stages} stages no epoch. Give as"
                " many epochs as stages, or more."
            )
        if self.head_warmup_epochs and self.head_warmup_epochs >= self.num_train_epochs // self.stages:
            raise ValueError(
                f"head_warmup_epochs={self.head_warmup_epochs} leaves some of the {self.stages} stages of"
                f" num_train_epochs={self.num_train_epochs:g} no epoch in which the encoder learns. Make the warm-up"
                " shorter, or freeze the encoder (freeze: encoder)."
            )
