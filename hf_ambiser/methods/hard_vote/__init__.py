"""Cross-entropy on the consensus label, as in most work on speech emotion recognition."""

from hf_ambiser.methods.hard_vote.trainer import HardVoteTrainer


TRAINER = HardVoteTrainer
__all__ = ["TRAINER", "HardVoteTrainer"]
