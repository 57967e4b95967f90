"""Arguments of co-teaching; each default names its place in the paper."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


@dataclass
class CoTeachingArguments(AmbiSERTrainingArguments):
    """Arguments of `CoTeachingTrainer`; it has the baselines' optimiser and schedule, so only the selection differs.

    Raises:
        ValueError: If a value is not allowed.
    """

    forget_rate: float = field(
        default=0.2,
        metadata={
            "help": "tau, the share of labels that are taken for noisy and, in the end, not used. Set it to the noise"
            " rate if you know or can estimate it, as the paper does; 0.2 is the lowest rate of its experiments."
        },
    )
    ramp_epochs: int = field(
        default=10, metadata={"help": "T_k, epochs until the kept share has fallen from 1 to 1 - tau; section 4."}
    )
    select: str = field(
        default="batch",
        metadata={
            "help": "Learn from the easiest utterances of the effective `batch` (Algorithm 1), or of all labelled data"
            " by their losses of the last `epoch`."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.forget_rate < 1:
            raise ValueError(f"forget_rate={self.forget_rate} must be 0 or more and less than 1.")
        if self.ramp_epochs < 1:
            raise ValueError(f"ramp_epochs={self.ramp_epochs} must be 1 or more.")
        self.check_choices({"select": ("batch", "epoch")})
