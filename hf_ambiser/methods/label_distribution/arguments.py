"""Arguments of label distribution learning."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


OBJECTIVES = ("kl", "reverse_kl", "js", "optimal_transport")
DISTANCES = ("votes", "equal")


@dataclass
class LabelDistributionArguments(AmbiSERTrainingArguments):
    """Which divergence is made small, and its parameters.

    Raises:
        ValueError: If a value is not allowed.
    """

    divergence: str = field(
        default="js",
        metadata={
            "help": "`kl` of the votes from the answer (its gradient is that of `soft_vote`), `reverse_kl` of the"
            " answer from the votes, `js` (Jensen-Shannon), or `optimal_transport` with a distance between classes."
        },
    )
    target_smoothing: float = field(
        default=0.01,
        metadata={
            "help": "`reverse_kl`: share of the uniform distribution in the votes' shares, in (0, 1). Without it a"
            " class that nobody voted for costs infinitely much."
        },
    )
    class_distance: str = field(
        default="votes",
        metadata={
            "help": "`optimal_transport`: 1 - cosine of two classes' vote shares over the training utterances"
            " (`votes`), so that confused emotions are near, or 1 between all (`equal`)."
        },
    )
    transport_blur: float = field(
        default=0.05,
        metadata={"help": "`optimal_transport`: weight of the entropy, above 0, in units of the largest distance."},
    )
    transport_steps: int = field(
        default=100, metadata={"help": "`optimal_transport`: Sinkhorn iterations, at least 1."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices({"divergence": OBJECTIVES, "class_distance": DISTANCES})
        if not 0 < self.target_smoothing < 1:
            raise ValueError(f"target_smoothing={self.target_smoothing} must be above 0 and below 1.")
        if not self.transport_blur > 0:
            raise ValueError(f"transport_blur={self.transport_blur} must be above 0.")
        if self.transport_steps < 1:
            raise ValueError(f"transport_steps={self.transport_steps} must be 1 or more.")
        self.refuse_idle("divergence", "reverse_kl", "target_smoothing")
        self.refuse_idle("divergence", "optimal_transport", "class_distance", "transport_blur", "transport_steps")
