"""The inter-class difference loss on its own."""

from hf_ambiser.methods.inter_class.trainer import InterClassArguments, InterClassTrainer


TRAINER = InterClassTrainer
__all__ = ["TRAINER", "InterClassArguments", "InterClassTrainer"]
