"""Division into clean and noisy labels by a mixture of the losses (after DivideMix)."""

from hf_ambiser.methods.divide_mix.arguments import DivideMixArguments
from hf_ambiser.methods.divide_mix.trainer import DivideMixTrainer


TRAINER = DivideMixTrainer
__all__ = ["TRAINER", "DivideMixArguments", "DivideMixTrainer"]
