"""Arguments of SLC; each default names its place in the paper."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


_CHOICES = {
    "objective": ("joint", "cross_entropy", "inter_class"),
    "inter_class_form": ("y_k", "y_j"),
    "inter_class_label": ("corrected", "votes"),
    "correct_from": ("votes", "last"),
    "weight_decay_form": ("l2", "decoupled"),
}


@dataclass
class SLCArguments(AmbiSERTrainingArguments):
    """Arguments of `SLCTrainer`. The method's page lists our choices where the paper gives no value."""

    learning_rate: float = field(default=1e-5, metadata={"help": "Fixed, in both stages; Table I."})
    adam_epsilon: float = field(default=1e-5, metadata={"help": "Table I."})
    weight_decay: float = field(default=1e-4, metadata={"help": "Table I."})
    num_train_epochs: float = field(
        default=100, metadata={"help": "Maximum number of epochs of the second stage; Table I."}
    )
    per_device_train_batch_size: int = field(
        default=9,
        metadata={
            "help": "Clear utterances in a step. At the paper's counts (6598 clear, 4449 ambiguous) a step then has 16"
            " utterances, as in Table I."
        },
    )
    class_weights: str = field(
        default="inverse_frequency", metadata={"help": "Section V-A; a soft label gets the expectation under it."}
    )
    alpha: float = field(default=0.3, metadata={"help": "Share of the prediction in a corrected label, Eq. 6."})
    beta: float = field(default=0.1, metadata={"help": "Margin of the inter-class difference loss, Eq. 10."})
    objective: str = field(
        default="joint",
        metadata={
            "help": "Table IX: cross-entropy on all utterances and inter-class difference on ambiguous ones (`joint`,"
            " Eq. 11), or one of the two losses alone on all (`cross_entropy`, `inter_class`)."
        },
    )
    inter_class_form: str = field(
        default="y_k", metadata={"help": "Last term of Eq. 10: `- y_k p_k`, or `- y_j p_k` as it is printed (`y_j`)."}
    )
    inter_class_label: str = field(
        default="corrected", metadata={"help": "y of Eq. 10: corrected (section III-B) or the `votes` (Eq. 16)."}
    )
    correct_from: str = field(
        default="votes",
        metadata={
            "help": "What Eq. 6 corrects: the soft label of the `votes`, or the `last` corrected label, so that"
            " corrections accumulate."
        },
    )
    finetune_epochs: int | None = field(
        default=None,
        metadata={
            "help": "Maximum number of epochs of the first stage (temporal branch, clear utterances); 0: no first"
            " stage. Default: num_train_epochs."
        },
    )
    weight_decay_form: str = field(
        default="l2",
        metadata={"help": "`l2`: in the gradient, as in Adam (Table I); `decoupled`: as in AdamW."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(_CHOICES)
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha={self.alpha} must lie in [0, 1].")
        if self.beta < 0:
            raise ValueError(f"beta={self.beta} must be 0 or more.")
        if self.finetune_epochs is not None and self.finetune_epochs < 0:
            raise ValueError(f"finetune_epochs={self.finetune_epochs} must be 0 or more, or None.")
        if self.head_warmup_epochs and self.finetune_epochs and self.head_warmup_epochs >= self.finetune_epochs:
            raise ValueError(
                f"head_warmup_epochs={self.head_warmup_epochs} leaves no epoch of finetune_epochs="
                f"{self.finetune_epochs} in which the encoder learns, and the warm-up is that of both stages. Make it"
                " shorter (it may be a fraction), or the first stage longer."
            )
        if self.drop_raters and self.correct_from == "last":
            raise ValueError(
                f"drop_raters={self.drop_raters} draws votes in each epoch, and correct_from='last' reads the votes"
                " only once. Set correct_from='votes', or leave drop_raters out."
            )
