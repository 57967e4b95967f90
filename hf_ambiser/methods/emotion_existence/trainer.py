"""Multi-label emotion existence, then the distribution of the votes (Ando et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional as F

from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.heard import heard
from hf_ambiser.training.losses import soft_cross_entropy
from hf_ambiser.training.objective_trainer import ObjectiveTrainer
from hf_ambiser.training.papers import Paper


LABELS = ("any_vote", "share")


@dataclass
class EmotionExistenceArguments(AmbiSERTrainingArguments):
    """The two steps and the label of the first.

    Raises:
        ValueError: If a value is not allowed.
    """

    existence_share: float = field(
        default=0.5,
        metadata={"help": "Share of the epochs, in (0, 1), that learn existence; the others learn the distribution."},
    )
    existence_label: str = field(
        default="any_vote",
        metadata={
            "help": "`any_vote`: an emotion is there if a rater heard it. `share`: as much as the share of raters who"
            " heard it, divided by the largest share (the soft variant)."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.existence_share < 1:
            raise ValueError(
                f"existence_share={self.existence_share} must be above 0 and below 1: both steps need epochs."
            )
        self.check_choices({"existence_label": LABELS})
        if self.max_steps <= 0 and self.existence_epochs >= self.num_train_epochs:
            raise ValueError(
                f"existence_share={self.existence_share} of num_train_epochs={self.num_train_epochs:g} leaves no epoch"
                " that learns the distribution: the first step has whole epochs, one at least. Train longer, or make"
                " existence_share smaller."
            )
        if self.max_steps > 0:
            raise ValueError(
                f"max_steps={self.max_steps} does not say where the first step ends, because existence_share is a"
                " share of the epochs. Give num_train_epochs instead."
            )

    @property
    def existence_epochs(self) -> int:
        """Epochs of the first step."""
        return max(1, round(self.existence_share * self.num_train_epochs))


class EmotionExistenceTrainer(ObjectiveTrainer):
    """Learns for each emotion whether anybody heard it, with a sigmoid each; then the shares of the votes."""

    name = "emotion_existence"
    arguments_class = EmotionExistenceArguments
    target = "soft_label"
    summary = (
        "The network first learns, for each emotion by itself, whether it is there, which is easier than to say how"
        " many raters heard it; from there it learns the shares of the votes."
    )
    paper = Paper(
        key="ando2019speech",
        authors=("Atsushi Ando", "Ryo Masumura", "Hosana Kamiyama", "Satoshi Kobashikawa", "Yushi Aono"),
        title="Speech Emotion Recognition Based on Multi-Label Emotion Existence Model",
        year=2019,
        venue="Interspeech",
    )
    variants = {"soft": {"existence_label": "share"}}

    args: EmotionExistenceArguments

    @property
    def learns_existence(self) -> bool:
        """Whether the running epoch is one of the first step."""
        return self.epoch < self.args.existence_epochs

    @property
    def counted_after(self) -> float:
        """In the first step an answer is not yet a distribution."""
        return self.args.existence_epochs

    def criterion(self, logits: Tensor, targets: Tensor, batch: BatchRows) -> Tensor:
        """Return the mean binary cross-entropy over the classes, or the cross-entropy, `(B,)` in nats."""
        if not self.learns_existence:
            return soft_cross_entropy(logits, targets)
        if self.args.existence_label == "any_vote":
            existence = heard(targets, more_than=0.0)
        else:
            existence = targets / targets.amax(dim=1, keepdim=True).clamp(min=1e-12)
        return F.binary_cross_entropy_with_logits(logits, existence, reduction="none").mean(dim=1)
