"""Small-loss co-teaching (Han et al.)."""

from hf_ambiser.methods.co_teaching.arguments import CoTeachingArguments
from hf_ambiser.methods.co_teaching.trainer import CoTeachingTrainer


TRAINER = CoTeachingTrainer
__all__ = ["TRAINER", "CoTeachingArguments", "CoTeachingTrainer"]
