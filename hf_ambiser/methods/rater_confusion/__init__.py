"""A layer for each rater above the network: what this rater would answer (CrowdLayer, CoNAL)."""

from hf_ambiser.methods.rater_confusion.arguments import RaterConfusionArguments
from hf_ambiser.methods.rater_confusion.trainer import RaterConfusionTrainer


TRAINER = RaterConfusionTrainer
__all__ = ["TRAINER", "RaterConfusionArguments", "RaterConfusionTrainer"]
