"""Dynamic adversarial adaptation (Yu et al., 2019)."""

from hf_ambiser.methods.daan.arguments import DAANArguments
from hf_ambiser.methods.daan.trainer import DAANTrainer


TRAINER = DAANTrainer
__all__ = ["TRAINER", "DAANArguments", "DAANTrainer"]
