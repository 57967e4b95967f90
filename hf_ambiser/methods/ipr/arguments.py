"""Arguments of IPR; each default names its place in the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hf_ambiser.training.pseudo_labels import PseudoLabelArguments


_CHOICES = {
    "prototype_update": ("classifier_agreement", "prototype_agreement", "proportional"),
    "contrastive": ("pseudo_label", "instance", "instance_all_views"),
    "prototype_refresh": ("epoch", "never"),
    "prototype_movers": ("ambiguous", "all"),
}


@dataclass
class IPRArguments(PseudoLabelArguments):
    """Arguments of `IPRTrainer`. The method's page lists our choices where the paper gives no value."""

    earlier_defaults: ClassVar[Mapping[str, Any]] = {"prototype_refresh": "never"}

    gamma: float = field(default=0.99, metadata={"help": "Moving average of the prototypes, Eq. 4; section 3.2."})
    alpha: float = field(default=1.0, metadata={"help": "Weight of labelled cross-entropy, Eq. 6; section 3.2."})
    mu: float = field(default=0.2, metadata={"help": "Weight of the contrastive loss, Eq. 6; section 3.2."})
    contrastive: str = field(
        default="pseudo_label",
        metadata={
            "help": "Positives: all utterances of one pseudo label (section 2.3), or only an utterance's own copy,"
            " against the copies of all (`instance`) or against all utterances and copies (`instance_all_views`)."
        },
    )
    contrast_temperature: float = field(default=0.1, metadata={"help": "tau of Eq. 5; the paper gives none."})
    prototype_update: str = field(
        default="classifier_agreement",
        metadata={
            "help": "Which prototypes an ambiguous utterance moves: that of the class that the classifier gives to"
            " both it and its augmented copy (Eq. 4); the one that is nearest to both (`prototype_agreement`,"
            " introduction); or all, by their share of the soft label (`proportional`, section 3.5)."
        },
    )
    prototype_refresh: str = field(
        default="epoch",
        metadata={
            "help": "When prototypes become the class means of all labelled utterances after the warm-up, too: at the"
            " end of every `epoch` (not in the paper), or `never` (the paper's reading: from then on only Eq. 4 moves"
            " them)."
        },
    )
    prototype_movers: str = field(
        default="ambiguous",
        metadata={
            "help": "Who moves prototypes in Eq. 4: `ambiguous` utterances (the paper), or `all`: a labelled utterance"
            " moves the prototype of its class, with a share of 1."
        },
    )
    gamma_reference_rate: float | None = field(
        default=None,
        metadata={
            "help": "The learning rate at which `gamma` holds (the paper's is 1e-5). At another rate, "
            "gamma^(rate / this) is used, so that prototypes follow faster where the encoder moves faster. Default:"
            " gamma at every rate."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(_CHOICES)
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma} must lie in [0, 1].")
        if self.alpha < 0:
            raise ValueError(f"alpha={self.alpha} is the weight of the labelled cross-entropy; it must be 0 or more.")
        if self.mu < 0:
            raise ValueError(f"mu={self.mu} is the weight of the contrastive loss; it must be 0 (none) or more.")
        if self.contrast_temperature <= 0:
            raise ValueError(f"contrast_temperature={self.contrast_temperature} must be positive.")
        if self.gamma_reference_rate is not None and self.gamma_reference_rate <= 0:
            raise ValueError(
                f"gamma_reference_rate={self.gamma_reference_rate} must be above 0, for example 1e-5; None uses gamma"
                " at every rate."
            )
        if self.warmup_epochs < 1:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} must be 1 or more: an epoch on labelled utterances makes the"
                " prototypes, which then label the ambiguous ones."
            )
