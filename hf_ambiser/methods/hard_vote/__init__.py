"""Cross-entropy on the consensus label, as almost all of SER does."""

from hf_ambiser.methods.hard_vote.trainer import HardVoteTrainer


TRAINER = HardVoteTrainer
__all__ = ["TRAINER", "HardVoteTrainer"]
