"""Arguments of multi-classifier interactive learning."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.methods.mcil.new_labels import FORMS
from hf_ambiser.training.pseudo_labels import PseudoLabelArguments


RETRAIN = ("go_on", "afresh")


@dataclass
class MCILArguments(PseudoLabelArguments):
    """Arguments of MCIL; ramp and warm-up are those of IPR, so that only the labels differ.

    Raises:
        ValueError: If a value is not allowed.
    """

    classifiers: int = field(
        default=3, metadata={"help": "How many classifiers there are, at least 2; the first one is the model."}
    )
    new_label: str = field(
        default="votes",
        metadata={
            "help": "The label of an ambiguous utterance: the shares of the classifiers' `votes`, the `mean` of their"
            " probabilities, or the class of the `majority` (the baseline)."
        },
    )
    relabel_epochs: int = field(
        default=0,
        metadata={"help": "Give new labels again after so many epochs; 0: once, when the warm-up is over."},
    )
    retrain: str = field(
        default="go_on",
        metadata={
            "help": "With new labels the classifiers `go_on` from where they are, or begin `afresh` from the weights"
            " that they began with."
        },
    )

    distribution_alignment: bool = field(
        default=False,
        metadata={"help": "Refused by this method: several classifiers give a label, at the end of an epoch."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classifiers < 2:
            raise ValueError(f"classifiers={self.classifiers} must be 2 or more; one alone is `self_training`.")
        self.check_choices({"new_label": FORMS, "retrain": RETRAIN})
        if self.relabel_epochs < 0:
            raise ValueError(f"relabel_epochs={self.relabel_epochs} must be 0 or more.")
        if self.warmup_epochs < 1:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} must be 1 or more: classifiers that have learnt nothing cannot"
                " stand for raters."
            )
        if self.distribution_alignment:
            raise ValueError(
                "distribution_alignment=True moves the labels that one classifier gives at a step, and those of mcil"
                " come from several at the end of an epoch. Leave it out, or take self_training."
            )
        afresh = self.retrain == "afresh" and self.relabel_epochs > 0
        if afresh and self.head_warmup_epochs and self.head_warmup_epochs >= self.relabel_epochs:
            raise ValueError(
                f"head_warmup_epochs={self.head_warmup_epochs}: every {self.relabel_epochs} epochs (relabel_epochs)"
                " the classifiers begin afresh, so the encoder would never learn again. Make the warm-up shorter, or"
                " freeze the encoder (freeze: encoder)."
            )
