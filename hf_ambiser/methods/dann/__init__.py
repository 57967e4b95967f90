"""Domain-adversarial training (Ganin et al., 2016)."""

from hf_ambiser.methods.dann.trainer import DANNArguments, DANNTrainer


TRAINER = DANNTrainer
__all__ = ["TRAINER", "DANNArguments", "DANNTrainer"]
