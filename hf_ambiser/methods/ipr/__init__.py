"""Iterative Prototype Refinement (Sun et al., 2024)."""

from hf_ambiser.methods.ipr.arguments import IPRArguments
from hf_ambiser.methods.ipr.trainer import IPRTrainer


TRAINER = IPRTrainer
__all__ = ["TRAINER", "IPRArguments", "IPRTrainer"]
