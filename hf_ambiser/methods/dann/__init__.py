"""Domain-adversarial training (Ganin et al., 2016)."""

from hf_ambiser.methods.dann.trainer import DANNTrainer


TRAINER = DANNTrainer
__all__ = ["TRAINER", "DANNTrainer"]
