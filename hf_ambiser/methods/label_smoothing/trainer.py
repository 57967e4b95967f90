"""Label smoothing (Szegedy et al. 2016, section 7) on consensus labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.trainer import AmbiSERTrainer, Outputs


@dataclass
class LabelSmoothingArguments(AmbiSERTrainingArguments):
    """Arguments of label smoothing.

    Raises:
        ValueError: If a value is not allowed.
    """

    smoothing: float = field(
        default=0.1,
        metadata={
            "help": "epsilon in (0, 1), the share of a label that is spread evenly over all classes; section 7."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.smoothing < 1:
            raise ValueError(
                f"smoothing={self.smoothing} must be above 0 and below 1; without smoothing, take `hard_vote`."
            )


class LabelSmoothingTrainer(AmbiSERTrainer):
    """Cross-entropy on `(1 - epsilon) y + epsilon / K`, y being the consensus label.

    It overrides `correct`: all utterances get the same amount of doubt, however much the raters disagreed.
    """

    name = "label_smoothing"
    arguments_class = LabelSmoothingArguments
    summary = (
        "Cross-entropy on consensus labels of which a small share is spread evenly over all emotions, the same for"
        " every utterance, whatever its raters said."
    )
    paper = Paper(
        key="szegedy2016rethinking",
        authors=(
            "Christian Szegedy",
            "Vincent Vanhoucke",
            "Sergey Ioffe",
            "Jonathon Shlens",
            "Zbigniew Wojna",
        ),
        title="Rethinking the Inception Architecture for Computer Vision",
        year=2016,
        venue="CVPR",
        arxiv="1512.00567",
    )

    args: LabelSmoothingArguments

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Mix the labels `(B, K)` with the uniform distribution."""
        targets, weights = super().correct(outputs, batch)
        share = self.args.smoothing
        return (1 - share) * targets + share / targets.shape[1], weights
