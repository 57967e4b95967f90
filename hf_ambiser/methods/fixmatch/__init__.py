"""FixMatch (Sohn et al., 2020): confident answers are labels for augmented copies."""

from hf_ambiser.methods.fixmatch.trainer import FixMatchArguments, FixMatchTrainer


TRAINER = FixMatchTrainer
__all__ = ["TRAINER", "FixMatchArguments", "FixMatchTrainer"]
