"""Batch nuclear-norm maximisation (Cui et al., 2020)."""

from hf_ambiser.methods.bnm.trainer import BNMArguments, BNMTrainer


TRAINER = BNMTrainer
__all__ = ["TRAINER", "BNMArguments", "BNMTrainer"]
