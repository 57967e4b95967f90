"""FreeMatch (Wang et al., 2023): thresholds that follow the model, and fairness between classes."""

from hf_ambiser.methods.freematch.arguments import FreeMatchArguments
from hf_ambiser.methods.freematch.trainer import FreeMatchTrainer


TRAINER = FreeMatchTrainer
__all__ = ["TRAINER", "FreeMatchArguments", "FreeMatchTrainer"]
