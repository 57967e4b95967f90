"""Arguments of co-teaching, each with the place in the paper its default comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


@dataclass
class CoTeachingArguments(AmbiSERTrainingArguments):
    """Arguments of `CoTeachingTrainer`; optimiser and schedule are the baselines', so that only the selection differs.

    Raises:
        ValueError: A value that is not allowed.
    """

    forget_rate: float = field(
        default=0.2,
        metadata={
            "help": "tau, the share of labels believed wrong, which in the end is not learnt from. Set it to the noise"
            " rate where that is known or estimated, as the paper does; 0.2 is the lowest rate of its experiments."
        },
    )
    ramp_epochs: int = field(
        default=10, metadata={"help": "T_k, epochs until the share kept has fallen from 1 to 1 - tau; section 4."}
    )
    select: str = field(
        default="batch",
        metadata={
            "help": "Easiest clips of the effective `batch` (Algorithm 1), or of the whole labelled data by their"
            " losses of the last `epoch`."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.forget_rate < 1:
            raise ValueError(f"forget_rate={self.forget_rate} must be 0 or more and less than 1.")
        if self.ramp_epochs < 1:
            raise ValueError(f"ramp_epochs={self.ramp_epochs} must be 1 or more.")
        if self.select not in ("batch", "epoch"):
            raise ValueError(f"select={self.select!r} is not one of ['batch', 'epoch'].")
