"""Cross-entropy on consensus labels that are mixed with the uniform distribution."""

from hf_ambiser.methods.label_smoothing.trainer import LabelSmoothingArguments, LabelSmoothingTrainer


TRAINER = LabelSmoothingTrainer
__all__ = ["TRAINER", "LabelSmoothingArguments", "LabelSmoothingTrainer"]
