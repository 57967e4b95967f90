"""Multi-classifier interactive learning (Zhou et al.): several classifiers stand for the raters."""

from hf_ambiser.methods.mcil.arguments import MCILArguments
from hf_ambiser.methods.mcil.trainer import MCILTrainer


TRAINER = MCILTrainer
__all__ = ["TRAINER", "MCILArguments", "MCILTrainer"]
