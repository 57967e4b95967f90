"""Shares of the votes, smoothed the more the fewer raters have voted."""

from hf_ambiser.methods.soft_target.trainer import SoftTargetArguments, SoftTargetTrainer


TRAINER = SoftTargetTrainer
__all__ = ["TRAINER", "SoftTargetArguments", "SoftTargetTrainer"]
