"""Arguments of the rater confusion layers."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


FORMS = ("crowd_layer", "conal")


@dataclass
class RaterConfusionArguments(AmbiSERTrainingArguments):
    """Which layers stand above the network while it is trained.

    Raises:
        ValueError: If a value is not allowed, or cannot act.
    """

    form: str = field(
        default="crowd_layer",
        metadata={
            "help": "`crowd_layer`: a matrix for each rater (Rodrigues & Pereira 2018). `conal`: also one that all"
            " raters have in common, and how much it counts for a rater and an utterance (Chu et al. 2021)."
        },
    )
    rater_rate: float = field(
        default=1.0,
        metadata={"help": "Learning rate of the layers, above 0, as a multiple of `learning_rate`."},
    )
    common_size: int = field(
        default=20,
        metadata={"help": "`conal`: size of the vectors of raters and utterances that decide what is common."},
    )
    own_confusion: float = field(
        default=1e-5,
        metadata={
            "help": "`conal`: lambda, 0 or more; weight of the raters' distance from what they have in common, which"
            " is made large."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices({"form": FORMS})
        if not self.rater_rate > 0:
            raise ValueError(f"rater_rate={self.rater_rate} must be above 0; layers that stay would teach nothing.")
        if self.common_size < 1:
            raise ValueError(f"common_size={self.common_size} must be 1 or more.")
        if not self.own_confusion >= 0:
            raise ValueError(f"own_confusion={self.own_confusion} must be 0 or more.")
        self.refuse_idle("form", "conal", "common_size", "own_confusion")
        if self.drop_raters:
            raise ValueError(
                f"drop_raters={self.drop_raters} leaves votes out of soft labels, and method 'rater_confusion' learns"
                " from the answer of each rater. Leave drop_raters out, or take soft_vote."
            )
