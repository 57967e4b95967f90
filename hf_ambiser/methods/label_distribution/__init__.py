"""Label distribution learning: a divergence between the answer and the shares of the votes."""

from hf_ambiser.methods.label_distribution.arguments import LabelDistributionArguments
from hf_ambiser.methods.label_distribution.trainer import LabelDistributionTrainer


TRAINER = LabelDistributionTrainer
__all__ = ["TRAINER", "LabelDistributionArguments", "LabelDistributionTrainer"]
