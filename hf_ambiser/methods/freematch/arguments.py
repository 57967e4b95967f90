"""Arguments of FreeMatch; the page says where each default comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.confident_labels import ConfidentLabelArguments


@dataclass
class FreeMatchArguments(ConfidentLabelArguments):
    """Arguments of `FreeMatchTrainer`.

    Raises:
        ValueError: If a value is not allowed.
    """

    average_decay: float = field(
        default=0.999,
        metadata={"help": "m of the moving averages, what they keep of themselves in a step; 0 or more, below 1."},
    )
    fairness_weight: float = field(
        default=0.01, metadata={"help": "w_f, weight of the fairness of the classes, 0 or more."}
    )
    largest_threshold: float = field(
        default=1.0,
        metadata={
            "help": "Cap of the global threshold, above 0; 1 caps nothing. Public code offers 0.95 as an option."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay={self.average_decay} must be 0 or more and below 1.")
        if self.fairness_weight < 0:
            raise ValueError(f"fairness_weight={self.fairness_weight} must be 0 or more.")
        if not 0 < self.largest_threshold <= 1:
            raise ValueError(f"largest_threshold={self.largest_threshold} must be above 0 and at most 1.")
