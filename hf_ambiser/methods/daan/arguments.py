"""Arguments of DAAN; the page says where each default comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.adversaries import AdversaryArguments


_CHOICES = {"omega": ("local_share", "global_share", "fixed"), "domain_distance": ("error", "loss")}


@dataclass
class DAANArguments(AdversaryArguments):
    """How the global and the class-wise discriminators share the loss.

    Raises:
        ValueError: If a value is not allowed.
    """

    discriminator_dropout: float = field(
        default=0.5,
        metadata={"help": "Dropout after each hidden layer of a discriminator, below 1; 0.5 in the authors' code."},
    )
    omega: str = field(
        default="local_share",
        metadata={
            "help": "The dynamic factor omega, the weight of the class-wise loss: the share of the class-wise domain"
            " distance (the paper's text and code), the share of the global one (Eq. 8 as printed), or `fixed`."
        },
    )
    omega_start: float = field(
        default=0.5, metadata={"help": "omega in the first epoch, and always if it is `fixed`; 0..1."}
    )
    domain_distance: str = field(
        default="error",
        metadata={
            "help": "What the domain distance 2 (1 - 2 e) is computed from: the `error` rate of a discriminator (the"
            " definition), or its `loss` (Eq. 6-7); a negative distance counts as 0."
        },
    )
    reverse_probabilities: bool = field(
        default=False,
        metadata={
            "help": "Whether the reversed gradient of the class-wise discriminators reaches the classifier, too."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(_CHOICES)
        if not 0 <= self.omega_start <= 1:
            raise ValueError(f"omega_start={self.omega_start} must lie in [0, 1].")
        self.refuse_idle("omega", ("local_share", "global_share"), "domain_distance")
