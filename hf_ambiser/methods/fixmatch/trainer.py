"""The FixMatch trainer: one threshold for all classes and the whole training."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_ambiser.training.confident_labels import ConfidentLabelArguments, ConfidentLabelTrainer
from hf_ambiser.training.papers import Paper


@dataclass
class FixMatchArguments(ConfidentLabelArguments):
    """Arguments of `FixMatchTrainer`.

    Raises:
        ValueError: If a value is not allowed.
    """

    threshold: float = field(
        default=0.95, metadata={"help": "tau, the probability from which on an answer is a label; above 0, at most 1."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold} must be above 0 and at most 1; the paper has 0.95.")


class FixMatchTrainer(ConfidentLabelTrainer):
    """Labels an ambiguous utterance by the classifier's answer if its probability is `threshold` or more."""

    name = "fixmatch"
    arguments_class = FixMatchArguments
    summary = (
        "FixMatch. The model learns from clips on which the raters agree. Where it is confident about an ambiguous"
        " clip, whose votes it never sees, its answer becomes the label of a noisy copy of the clip."
    )
    paper = Paper(
        key="sohn2020fixmatch",
        authors=(
            "Kihyuk Sohn",
            "David Berthelot",
            "Chun-Liang Li",
            "Zizhao Zhang",
            "Nicholas Carlini",
            "Ekin D. Cubuk",
            "Alex Kurakin",
            "Han Zhang",
            "Colin Raffel",
        ),
        title="FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence",
        year=2020,
        venue="NeurIPS",
        arxiv="2001.07685",
    )
    # Nine steps make no model confident at 0.95.
    suite_settings = {"threshold": 0.3}
    variants = {"half_weight": {"ambiguous_weight": 0.5, "threshold": 0.4}}

    args: FixMatchArguments

    def thresholds(self) -> Tensor:
        """Return the threshold, the same for each class, `(K,)`."""
        k = self.table.observed.shape[1]
        return torch.full((k,), self.args.threshold, device=self.table.observed.device)
