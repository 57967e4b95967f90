"""Cross-entropy on the shares of the votes."""

from hf_ambiser.methods.soft_vote.trainer import SoftVoteTrainer


TRAINER = SoftVoteTrainer
__all__ = ["TRAINER", "SoftVoteTrainer"]
