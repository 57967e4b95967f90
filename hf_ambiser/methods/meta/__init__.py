"""Meta-learned labels and sample weights (Fujioka et al., 2019)."""

from hf_ambiser.methods.meta.arguments import MetaArguments
from hf_ambiser.methods.meta.trainer import MetaTrainer


TRAINER = MetaTrainer
__all__ = ["TRAINER", "MetaArguments", "MetaTrainer"]
