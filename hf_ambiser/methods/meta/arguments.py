"""Arguments of meta; each default names its place in the paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


_CHOICES = {
    "sampling": ("none", "over", "under"),
    "initial_labels": ("gold", "soft"),
    "initial_weights": ("eq4", "table3", "expected", "ones"),
    "state_optimizer": ("sgd", "adam"),
}


@dataclass
class MetaArguments(AmbiSERTrainingArguments):
    """Arguments of `MetaTrainer`. The method's page lists our choices where the paper gives no value."""

    of_system: ClassVar[tuple[str, ...]] = ("labels_from",)

    learning_rate: float = field(
        default=1e-3, metadata={"help": "For the network: Adam's default; the paper gives none."}
    )
    num_train_epochs: float = field(
        default=100, metadata={"help": "Network epochs and label epochs together; the paper gives no number."}
    )
    per_device_train_batch_size: int = field(default=32, metadata={"help": "The paper gives none."})
    optim: str = field(default="adamw_torch", metadata={"help": "Without weight decay it is the Adam of section 3.2."})
    weight_decay: float = field(default=0.0, metadata={"help": "Section 3.2 says Adam."})
    learn_labels: bool = field(default=True, metadata={"help": "Learn L, the label logits of every utterance."})
    learn_weights: bool = field(default=True, metadata={"help": "Learn w, the weight of every utterance."})
    initial_labels: str = field(
        default="gold",
        metadata={"help": "L before training: one-hot consensus (section 2.2), or vote shares (`soft`; soft-target)."},
    )
    label_scale: float = field(
        default=1.0,
        metadata={
            "help": "The initial logits are the initial label times this. At the paper's 1, softmax gives the gold"
            " class 0.475 of 4; at 5 it gives 0.98. Used only if labels are learnt."
        },
    )
    initial_weights: str = field(
        default="eq4",
        metadata={
            "help": "w before training, by the largest class of a label: Eq. 4 (mean 1), or count * K / N as Table 3"
            " prints (`table3`); 1 over the `expected` class weight of a soft label, so that the loss is that of"
            " class_weights; or `ones`."
        },
    )
    sampling: str = field(
        default="none",
        metadata={"help": "Balance the classes not by w, but by drawing utterances of rare classes more often (`over`)"
                          " or as many of each class as the rarest has (`under`); section 3.2."},
    )  # fmt: skip
    keep_balance: bool = field(
        default=False,
        metadata={
            "help": "Scale w within each class, so that the class keeps its initial weight in the loss, instead of"
            " over all utterances (Eq. 8). Not in the paper."
        },
    )
    state_optimizer: str = field(
        default="sgd",
        metadata={
            "help": "Optimiser of L and w: `sgd`, or `adam`, whose step does not depend on the size of a loss. The"
            " paper does not say."
        },
    )
    label_learning_rate: float = field(
        default=1.0, metadata={"help": "For L and an utterance's own loss; the paper gives none."}
    )
    weight_learning_rate: float = field(default=0.1, metadata={"help": "For log w; the paper gives none."})
    label_rate_by_weight: bool = field(
        default=False,
        metadata={
            "help": "Multiply the rate of an utterance's label by its w. In Eq. 6 the gradient of l is divided by w,"
            " so that labels of rare classes (w .1) move ten times as fast as others. Not in the paper."
        },
    )
    labels_from: str | None = field(
        default=None,
        metadata={
            "help": "Start from the labels and weights that another run has learnt, instead of the data's: a finished"
            " run's folder, or the name of a system of the same study. Not in the paper."
        },
    )

    def __post_init__(self) -> None:
        self.check_choices(_CHOICES)
        for name in ("label_learning_rate", "weight_learning_rate", "label_scale"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0.")
        if self.fp16 and self.alternates:
            raise ValueError(
                "fp16=True cannot be used: its gradient scaler needs a gradient in every step, and the network has"
                " none in a label epoch. Use bf16=True."
            )
        self._check_balance()
        if self.label_rate_by_weight and (self.state_optimizer == "adam" or not self.learn_labels):
            raise ValueError(
                "label_rate_by_weight=True takes the 1 / w out of a label's step. adam's step has none, and without"
                " learn_labels there is no such step. Set state_optimizer='sgd' and learn_labels=True, or leave it."
            )
        if self.keep_balance and not self.learn_weights:
            raise ValueError(
                "keep_balance=True needs learn_weights=True: otherwise w does not change. Set both or none."
            )
        if self.sampling != "none" and self.alternates:
            raise ValueError(
                f"sampling={self.sampling!r} draws an utterance more or less than once in an epoch, so labels and"
                " weights cannot be learnt. Set learn_labels=False and learn_weights=False, or sampling='none'."
            )
        if self.drop_raters and (self.alternates or self.labels_from is not None):
            raise ValueError(
                f"drop_raters={self.drop_raters} draws votes in each epoch, and learnt labels and weights belong to"
                " labels that stay. Set learn_labels=False, learn_weights=False and no labels_from, or leave"
                " drop_raters out."
            )
        super().__post_init__()

    def _check_balance(self) -> None:
        """Refuse a balance of the classes beside that of w or of sampling, and one that Eq. 6 does not know."""
        asked = [f"class_weights={self.class_weights!r}"] if self.class_weights != "none" else []
        asked += [f"logit_adjustment={self.logit_adjustment}"] if self.logit_adjustment else []
        if asked and (self.sampling != "none" or self.initial_weights != "ones"):
            by = "sampling balances" if self.sampling != "none" else "w balances"
            raise ValueError(
                f"{asked[0]} would balance the classes twice, because {by} them already. Leave it out, or set"
                " initial_weights='ones' and sampling='none'."
            )
        if self.class_weights != "none" and self.alternates:
            raise ValueError(
                f"{asked[0]} cannot be used where labels or weights are learnt: their loss, Eq. 6, has no class"
                " weights. Set learn_labels=False and learn_weights=False, or class_weights='none'."
            )

    @property
    def alternates(self) -> bool:
        """Whether every second epoch is a label epoch."""
        return self.learn_labels or self.learn_weights

    @property
    def target(self) -> str | None:
        """Label column to learn from; None: the method's `target`."""
        return "soft_label" if self.initial_labels == "soft" else None
