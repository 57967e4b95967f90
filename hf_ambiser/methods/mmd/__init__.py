"""Maximum mean discrepancy between clear and ambiguous embeddings (DaNN, Ghifary et al., 2014)."""

from hf_ambiser.methods.mmd.arguments import MMDArguments
from hf_ambiser.methods.mmd.trainer import MMDTrainer


TRAINER = MMDTrainer
__all__ = ["TRAINER", "MMDArguments", "MMDTrainer"]
